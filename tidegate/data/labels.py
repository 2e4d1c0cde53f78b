"""From the user's label and task columns to what a model learns, with a weight a row."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.config import DataConfig, LabelValue
from tidegate.errors import BadInput
from tidegate.records import Target

_BINARY = {"0": 0, "1": 1, "false": 0, "true": 1}
# The output of several tasks without a label of their own: any of them.
_ANY_TASK = "violating"
_MOST_CLASSES = 100
# Above this a "label" is more likely a text or an id, and its values must not be printed.
_MAX_SHOWN_VALUES = 20


def value_name(value: object) -> str | None:
    """Return one spelling for a value however it was stored (1, 1.0, True); None if missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NaT:
        return None
    if value is pd.NA:
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def read_labels(names: Sequence[str], config: DataConfig) -> npt.NDArray[np.int8]:
    """Map label names to 0 and 1.

    Parameters
    ----------
    names : sequence of str
        Labels as `value_name` spells them, none missing.

    Raises
    ------
    BadInput
        If a value is neither 0/1 nor sorted by ``violating``, or only one class is there.
    """
    found = sorted(set(names))
    if config.violating is None:
        unknown = [name for name in found if name.casefold() not in _BINARY]
        if unknown:
            raise BadInput(
                "data.label",
                f"column {config.label!r} has {_shown(found)}, which are not 0/1",
                "say which count as violating, for example violating: [VALUE]",
            )
        of_name = {name: _BINARY[name.casefold()] for name in found}
    else:
        violating = {_wanted(value, found, config.label) for value in config.violating}
        of_name = {name: int(name in violating) for name in found}
    labels = np.fromiter((of_name[name] for name in names), dtype=np.int8, count=len(names))
    if len(set(of_name.values())) < 2:
        kind = "violating" if len(labels) and labels[0] else "not violating"
        raise BadInput(
            "data.label",
            f"column {config.label!r} has one class only: every row is {kind}",
            "add rows of the other class, or mend data.violating",
        )
    return labels


def read_tasks(
    table: pd.DataFrame, config: DataConfig
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Read the 0/1 task columns.

    Returns
    -------
    tuple
        One int8 column a task, and which rows have none of them filled.

    Raises
    ------
    BadInput
        If a row has another value than 0 and 1, or some of its tasks and not all.
    """
    if not config.tasks:
        return pd.DataFrame(index=table.index), np.zeros(len(table), dtype=np.bool_)
    names = {task: [value_name(value) for value in table[task]] for task in config.tasks}
    absent = pd.DataFrame({task: [name is None for name in names[task]] for task in names})
    empty = absent.all(axis=1).to_numpy()
    read = {}
    for task, column in names.items():
        found = sorted({name for name in column if name is not None})
        if any(name.casefold() not in _BINARY for name in found):
            raise BadInput(
                "data.tasks",
                f"column {task!r} has {_shown(found)}, which are not 0/1",
                "name 0/1 columns, or write task: multiclass with this column as label",
            )
        missing = int((absent[task].to_numpy() & ~empty).sum())
        if missing:
            raise BadInput(
                "data.tasks",
                f"{missing} rows have no value in column {task!r} but in other tasks",
                "fill them",
            )
        read[task] = np.array([_BINARY.get((n or "0").casefold(), 0) for n in column], np.int8)
    return pd.DataFrame(read, index=table.index), empty


def target_of(
    names: Sequence[str], train: npt.NDArray[np.bool_], tasks: pd.DataFrame, config: DataConfig
) -> Target:
    """Return what a model learns from these rows.

    Parameters
    ----------
    names : sequence of str
        Labels as `value_name` spells them.
    train : ndarray of bool, shape (rows,)
        The training rows.
    tasks : DataFrame
        From `read_tasks`; without columns where there are no tasks.

    Raises
    ------
    BadInput
        If a class or a side of a task has no training row, or ``data.classes`` and the label's
        values differ.
    """
    if config.task == "binary":
        return Target()
    if config.task == "multilabel":
        outputs = (config.label or _ANY_TASK, *config.tasks)
        for task in config.tasks:
            if tasks[task][train].nunique() < 2:
                raise BadInput(
                    "data.tasks",
                    f"column {task!r} has one value only in the training rows",
                    "leave it out, or add rows",
                )
        return Target(kind="multilabel", outputs=outputs, violating=outputs[:1])
    found = sorted(set(names))
    classes = tuple(found)
    if config.classes is not None:
        classes = tuple(_wanted(value, found, config.label, "classes") for value in config.classes)
        unlisted = [name for name in found if name not in classes]
        if unlisted:
            raise BadInput(
                "data.classes",
                f"lacks the value {unlisted[0][:40]!r} of column {config.label!r}",
                "list it, or take its rows out",
            )
    if len(classes) > _MOST_CLASSES or len(set(classes)) < len(classes):
        raise BadInput(
            "data.label",
            f"column {config.label!r} has {len(classes)} classes, at most {_MOST_CLASSES} "
            "different ones can be learned",
            "name a column of classes",
        )
    for name in sorted(set(classes) - {n for n, used in zip(names, train, strict=True) if used}):
        raise BadInput(
            "data.label",
            f"no training row has the class {name[:40]!r}",
            "add rows of it, or take the others out",
        )
    violating = {_wanted(value, found, config.label) for value in config.violating or ()}
    return Target(
        kind="multiclass",
        outputs=classes,
        violating=tuple(name for name in classes if name in violating),
    )


def _wanted(value: LabelValue, found: Sequence[str], column: str, key: str = "violating") -> str:
    name = value_name(value)
    if name in found:
        return str(name)
    if isinstance(value, bool):
        # YAML reads an unquoted yes, no, on or off as a boolean.
        word = next((f for f in found if f.casefold() in {"yes", "no", "on", "off"}), None)
        if word:
            raise BadInput(
                f"data.{key}",
                f"YAML reads an unquoted word such as yes as {value}; column {column!r} has words",
                f"put the value in quotes, for example {key}: ['yes']",
            )
    near = difflib.get_close_matches(str(name), found, n=1, cutoff=0.5)
    raise BadInput(
        f"data.{key}",
        f"value {value!r} never occurs in column {column!r}, which has {_shown(found)}",
        f"did you mean {near[0]!r}?" if near else "write one of those values",
    )


def _shown(found: Sequence[str]) -> str:
    if len(found) > _MAX_SHOWN_VALUES:
        return f"{len(found)} different values"
    return "the values " + ", ".join(repr(name[:40]) for name in found)


def read_weights(
    sources: "pd.Series[Any] | None", weights: Mapping[str, float], rows: int
) -> npt.NDArray[np.float64]:
    """Return the trust in each row's label by where it came from; 1 where nothing is said.

    Raises
    ------
    BadInput
        If ``label_weights`` names a source that no row has while a row has one spelt much like
        it. A source that is merely absent this time (a week without appeals) is no mistake.
    """
    if sources is None:
        return np.ones(rows)
    names = [value_name(value) for value in sources]
    found = sorted({name for name in names if name is not None})
    for source in weights:
        unweighted = [name for name in found if name not in weights]
        near = difflib.get_close_matches(source, unweighted, n=1, cutoff=0.5)
        if source not in found and near:
            raise BadInput(
                "data.label_weights",
                f"no row has the label source {source!r}; there are {_shown(found)}",
                f"did you mean {near[0]!r}?",
            )
    return np.fromiter(
        (1.0 if name is None else weights.get(name, 1.0) for name in names),
        dtype=np.float64,
        count=rows,
    )
