"""Which columns become features, how they are stored, and what they hold."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.config import DataConfig, PublishedSplit
from tidegate.data.labels import value_name
from tidegate.data.sources import require_column
from tidegate.errors import BadInput
from tidegate.records import (
    CLASS,
    GROUP_PREFIX,
    ID,
    LABEL,
    TASK_PREFIX,
    TIME,
    WEIGHT,
    Column,
    ColumnProfile,
)

Stored = Literal["numeric", "string", "list", "datetime", "other"]

_OURS = frozenset({ID, TIME, LABEL, WEIGHT, CLASS})
_OUR_PREFIXES = (GROUP_PREFIX, TASK_PREFIX)
# A string column is an identifier or free text, not a category, beyond both of these.
_MAX_DISTINCT_SHARE = 0.5
_MAX_DISTINCT = 50
_IDENTIFIER = re.compile(r"(^|[_\W])(id|Id|ID)s?$|[a-z]I[Dd]s?$")
_MAX_LISTED_CATEGORIES = 500


def stored_kind(values: "pd.Series[Any]") -> Stored:
    """Tell how a column's values are stored."""
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return "numeric"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "datetime"
    present = values.dropna()
    if len(present) and isinstance(present.iloc[0], list | tuple | np.ndarray):
        return "list"
    inferred = pd.api.types.infer_dtype(present, skipna=True)
    if inferred in {"string", "empty"}:
        return "string"
    if inferred in {"boolean", "integer", "floating", "decimal", "mixed-integer-float"}:
        return "numeric"
    if inferred in {"datetime", "datetime64", "date"}:
        return "datetime"
    if isinstance(values.dtype, pd.CategoricalDtype):
        return stored_kind(values.astype(object))
    return "other"


def role_columns(config: DataConfig) -> dict[str, str]:
    """Return the columns that have a role of their own, with the configuration key that says so."""
    roles = dict.fromkeys(config.tasks, "data.tasks")
    if config.label:
        roles[config.label] = "data.label"
    for column, key in (
        (config.id, "data.id"),
        (config.time, "data.time"),
        (config.label_source, "data.label_source"),
    ):
        if column is not None:
            roles[column] = key
    if isinstance(config.split, PublishedSplit):
        roles[config.split.column] = "data.split"
    elif config.split.group is not None:
        roles[config.split.group] = "data.split.group"
    return roles


def check_columns(columns: Sequence[str], config: DataConfig) -> None:
    """Raise `BadInput` when a column that the configuration names is missing or used twice."""
    roles = role_columns(config)
    named = [(column, key) for column, key in roles.items() if key != "data.tasks"]
    named += [(column, "data.tasks") for column in config.tasks]
    named += [(column, "data.text") for column in config.text]
    named += [(column, "data.groups") for column in config.groups]
    if config.columns != "auto":
        named += [(column, "data.columns") for column in config.columns]
    for column, key in named:
        require_column(column, columns, key)
        if named.count((column, key)) > 1:
            raise BadInput(key, f"column {column!r} is named twice", "take one of them out")
    for column, key in named:
        features = key in {"data.text", "data.columns"}
        if features and (column in _OURS or column.startswith(_OUR_PREFIXES)):
            raise BadInput(key, f"{column!r} is a name that Tidegate uses itself", "rename it")
        if (features or key == "data.tasks") and roles.get(column, key) != key:
            raise BadInput(
                key, f"column {column!r} is also {roles[column]}", "take it out of one of the two"
            )


def choose_columns(
    table: pd.DataFrame, train: npt.NDArray[np.bool_], config: DataConfig
) -> tuple[tuple[Column, ...], list[str]]:
    """Choose the feature columns of a table by type.

    Parameters
    ----------
    table : DataFrame
        The user's columns.
    train : ndarray of bool, shape (rows,)
        The training rows: a column that is constant or nearly unique is so there.

    Returns
    -------
    tuple
        The features, text first, and a notice for every column that was passed over.
    """
    chosen = [Column(name=name, kind="text") for name in config.text]
    taken = {*role_columns(config), *config.text, *config.ignore}
    if not config.use_groups_as_features:
        taken.update(config.groups)
    notices = [
        f"ignored column {name!r} is not in the table"
        for name in config.ignore
        if name not in table.columns
    ]
    asked = None if config.columns == "auto" else set(config.columns)
    for name in table.columns:
        if name in taken or (asked is not None and name not in asked):
            continue
        kind, reason = _feature_kind(table[name], train, named=asked is not None)
        numbered = kind == "numeric" and table[name].nunique() > _MAX_DISTINCT
        if numbered and asked is None and _IDENTIFIER.search(name):
            kind, reason = None, "is a number named like an identifier"
        if name in _OURS or name.startswith(_OUR_PREFIXES):
            kind, reason = None, "has a name that Tidegate uses itself"
        if kind is None:
            notices.append(f"column {name!r} {reason} and is not a feature")
        else:
            chosen.append(Column(name=name, kind=kind))
    return tuple(chosen), notices


def _feature_kind(
    values: "pd.Series[Any]", train: npt.NDArray[np.bool_], *, named: bool
) -> tuple[Literal["numeric", "categorical"] | None, str]:
    stored = stored_kind(values)
    if stored not in {"numeric", "string"}:
        return None, {"list": "holds lists", "datetime": "holds times"}.get(
            stored, "holds nested or mixed values"
        )
    present = values[train].dropna()
    distinct = int(present.nunique())
    if distinct == 0:
        return None, "is empty in training"
    if distinct == 1 and len(present) == int(train.sum()):
        return None, "has one value only in training"
    if stored == "numeric":
        if not named and _counts_rows(present):
            return None, "counts the rows in the order they were collected"
        return "numeric", ""
    if not named and distinct > _MAX_DISTINCT and distinct > _MAX_DISTINCT_SHARE * len(present):
        return None, f"looks like an identifier or free text ({distinct} different values)"
    return "categorical", ""


def _counts_rows(values: "pd.Series[Any]") -> bool:
    if len(values) <= _MAX_DISTINCT or not pd.api.types.is_integer_dtype(values):
        return False
    return bool(
        values.is_unique and (values.is_monotonic_increasing or values.is_monotonic_decreasing)
    )


def as_numeric(values: "pd.Series[Any]") -> npt.NDArray[np.float64]:
    """Return float64 with NaN for what is missing or infinite."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def as_names(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return strings, None for what is missing."""
    return pd.Series([value_name(value) for value in values], index=values.index, dtype=object)


def as_name_lists(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return lists of strings, None for what is missing."""

    def names(value: object) -> list[str] | None:
        if isinstance(value, list | tuple | np.ndarray):
            return [name for name in map(value_name, value) if name is not None]
        single = value_name(value)
        return None if single is None else [single]

    return pd.Series([names(value) for value in values], index=values.index, dtype=object)


def profile_columns(
    train: pd.DataFrame, columns: Sequence[Column], groups: Sequence[str]
) -> dict[str, ColumnProfile]:
    """Describe every feature and group of the training table of a snapshot."""
    profiles = {}
    for column in columns:
        values = train[column.name]
        if column.kind == "categorical":
            profiles[column.name] = _category_profile(values)
            continue
        if column.kind == "text":
            null_share = float((values.str.strip() == "").mean())
            numbers = values.str.len()
        else:
            null_share = float(values.isna().mean())
            numbers = values.dropna()
        profiles[column.name] = ColumnProfile(
            null_share=null_share,
            minimum=float(numbers.min()),
            mean=float(numbers.mean()),
            maximum=float(numbers.max()),
        )
    for group in groups:
        profiles[GROUP_PREFIX + group] = _category_profile(train[GROUP_PREFIX + group])
    return profiles


def _category_profile(values: "pd.Series[Any]") -> ColumnProfile:
    counts = values.explode().dropna().value_counts()
    names = sorted(counts.index, key=lambda name: (-int(counts[name]), str(name)))
    listed = tuple(names) if len(names) <= _MAX_LISTED_CATEGORIES else None
    return ColumnProfile(null_share=float(values.isna().mean()), categories=listed)


def read_texts(table: pd.DataFrame, config: DataConfig, notices: list[str]) -> dict[str, list[str]]:
    """Return the text columns with "" for what is missing."""
    texts = {}
    for name in config.text:
        if stored_kind(table[name]) != "string":
            raise BadInput("data.text", f"column {name!r} does not hold text", "name another")
        values = table[name].astype(object)
        texts[name] = values.where(values.notna(), "").tolist()
    empty = np.ones(len(table), dtype=np.bool_)
    for values in texts.values():
        empty &= np.fromiter((not value.strip() for value in values), np.bool_, len(table))
    if texts and empty.all():
        raise BadInput(
            "data.text", f"every text in {', '.join(config.text)} is empty", "name another column"
        )
    if texts and empty.any():
        notices.append(f"{int(empty.sum())} rows have an empty text")
    return texts


def stored_column(
    table: pd.DataFrame, text: dict[str, list[str]], column: Column
) -> "pd.Series[Any] | npt.NDArray[np.float64] | list[str]":
    """Return a feature column as a snapshot stores it; a text column from `text`."""
    if column.kind == "text":
        return text[column.name]
    values = table[column.name]
    return as_numeric(values) if column.kind == "numeric" else as_names(values)
