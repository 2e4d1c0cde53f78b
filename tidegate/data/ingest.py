"""From the user's table to a content-digested snapshot of train, validation and holdout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidegate import store
from tidegate.config import DataConfig, PublishedSplit, SplitRule
from tidegate.data import splits
from tidegate.data.columns import (
    as_name_lists,
    as_names,
    check_columns,
    choose_columns,
    profile_columns,
    read_texts,
    stored_column,
    stored_kind,
)
from tidegate.data.duplicates import find_duplicates
from tidegate.data.functional_suite import as_rows, read_suites
from tidegate.data.labels import read_labels, read_tasks, read_weights, target_of
from tidegate.data.leaks import leak_notices
from tidegate.data.retrain_data import mix_training_rows
from tidegate.data.sources import digest_sources, read_source, require_column
from tidegate.data.times import read_times
from tidegate.data.unlabelled import read_unlabelled
from tidegate.errors import BadInput
from tidegate.records import (
    CLASS,
    GROUP_PREFIX,
    ID,
    LABEL,
    SPLITS,
    TASK_PREFIX,
    TIME,
    UNLABELLED,
    WEIGHT,
    Column,
    Snapshot,
    SplitName,
    SplitSummary,
    Target,
)

__all__ = ["digest_sources", "ingest", "load_snapshot", "read_source", "read_split"]

_RECORD = "snapshot.json"
# Keys that name other tables, or leave the labelled rows as they are.
_NO_SETTINGS = {"source", "golden_set", "functional_tests", "unlabelled", "history"}


def ingest(config: DataConfig, *, name: str, source_digest: str, out: Path) -> Snapshot:
    """Read, check and divide the user's table, and write the snapshot to `out`.

    Parameters
    ----------
    config : DataConfig
        Where the rows are and what their columns mean.
    name : str
        Name of the snapshot: the run's.
    source_digest : str
        Digest of the sources' bytes (`digest_sources`), kept as provenance.
    out : Path
        Folder to write; it appears whole or not at all.

    Raises
    ------
    BadInput
        If the table cannot be read or cannot become three parts with both classes in each.
    """
    text_like = {*config.text, *config.groups, *([config.id] if config.id else [])}
    table = read_source(config.source, as_text=text_like)
    check_columns(list(table.columns), config)
    snapshot, tables = build_snapshot(table, config, name=name, source_digest=source_digest)
    golden, unlabelled = None, None
    if config.golden_set is not None:
        golden = read_golden_set(config, snapshot.columns)
        snapshot = snapshot.model_copy(
            update={"notices": (*snapshot.notices, *_known_texts(golden, tables, config))}
        )
    if config.unlabelled:
        known = [tables["validation"], tables["holdout"], *([] if golden is None else [golden])]
        unlabelled, notice = read_unlabelled(config, snapshot.columns, tables["train"], known)
        snapshot = snapshot.model_copy(
            update={
                "digest": store.digest_json([snapshot.digest, _table_digest(unlabelled)]),
                "notices": (*snapshot.notices, notice),
                "unlabelled_rows": len(unlabelled),
            }
        )
    functional = None
    if config.functional_tests:
        functional = as_rows(read_suites(config.functional_tests), snapshot.columns)
    with store.new_directory(out) as folder:
        if functional is not None:
            store.write_table(folder / "functional.parquet", functional)
        if golden is not None:
            store.write_table(folder / "golden.parquet", golden)
        if unlabelled is not None:
            store.write_table(folder / f"{UNLABELLED}.parquet", unlabelled)
        for split, frame in tables.items():
            store.write_table(folder / f"{split}.parquet", frame)
        store.write_record(folder / _RECORD, snapshot)
    return snapshot


def read_golden_set(config: DataConfig, columns: Sequence[Column]) -> pd.DataFrame:
    """Read the golden set in the layout of a split; it needs the label and the feature columns.

    Raises
    ------
    BadInput
        If a column is missing, or the set lacks one of the two classes.
    """
    where = "data.golden_set"
    uri = config.golden_set or ""
    text_like = {*config.text, *config.groups, *([config.id] if config.id else [])}
    table = read_source((uri,), as_text=text_like)
    there = set(table.columns)
    for name in (*([config.label] if config.label else config.tasks), *(c.name for c in columns)):
        require_column(name, there, where)
    # What only training asks for may be missing: the set is for looking, not for learning.
    own = config.model_copy(
        update={
            "id": config.id if config.id in there else None,
            "time": config.time if config.time in there else None,
            "groups": tuple(group for group in config.groups if group in there),
            "label_source": None,
            "label_weights": {},
        }
    )
    try:
        roles, names, _, _ = _read_roles(table, own)
    except BadInput as error:
        raise BadInput(where, f"{uri}: {error.problem}", error.mend) from None
    known = names.notna().to_numpy()
    table, roles = table[known].reset_index(drop=True), roles[known].reset_index(drop=True)
    text = read_texts(table, config, [])
    return roles.assign(**{column.name: stored_column(table, text, column) for column in columns})


def _known_texts(
    golden: pd.DataFrame, tables: dict[SplitName, pd.DataFrame], config: DataConfig
) -> list[str]:
    """Say how many golden rows a model could have learned by heart."""
    texts = list(config.text)
    if not texts:
        return []
    learned = {tuple(row) for row in tables["train"][texts].itertuples(index=False)}
    known = sum(tuple(row) in learned for row in golden[texts].itertuples(index=False))
    if not known:
        return []
    return [f"{known} of {len(golden)} rows of data.golden_set have a text that training holds"]


def load_snapshot(folder: Path) -> Snapshot:
    """Read the record of a snapshot that `ingest` wrote.

    Raises
    ------
    BadInput
        If the folder holds none.
    """
    try:
        return store.read_record(folder / _RECORD, Snapshot)
    except FileNotFoundError:
        raise BadInput(
            str(folder / _RECORD), "no such snapshot", "name a folder that a run wrote"
        ) from None
    except ValueError:
        raise BadInput(
            str(folder / _RECORD), "not a snapshot of this version", "run ingest again"
        ) from None


def read_split(folder: Path, split: SplitName) -> pd.DataFrame:
    """Read one table of a snapshot, in the layout that `Snapshot` documents."""
    return store.read_table(folder / f"{split}.parquet")


def build_snapshot(
    table: pd.DataFrame, config: DataConfig, *, name: str, source_digest: str
) -> tuple[Snapshot, dict[SplitName, pd.DataFrame]]:
    """Turn a table whose columns are checked into a snapshot and its three tables."""
    roles, names, tasks, notices = _read_roles(table, config)
    kept = names.notna().to_numpy()
    codes = _assign(table[kept], roles[kept], config)
    decided = codes != splits.UNDECIDED
    if not decided.all():
        why = (
            f"whose {config.split.column!r} says neither train, validation nor test"
            if isinstance(config.split, PublishedSplit)
            else f"without a time in {config.time!r}, which the split goes by"
        )
        notices.append(f"dropped {int((~decided).sum())} rows {why}")
        kept[kept] = decided
        codes = codes[decided]
    table, roles, names, tasks = (
        part[kept].reset_index(drop=True) for part in (table, roles, names, tasks)
    )
    rule = "column" if isinstance(config.split, PublishedSplit) else config.split.by
    labels = roles[LABEL].to_numpy()
    splits.require_both_classes(codes, labels, rule)

    text = read_texts(table, config, notices)
    joined = ["\n".join(parts) for parts in zip(*text.values(), strict=True)] or [""] * len(table)
    keep, duplicates = find_duplicates(joined, codes, drop=config.split.deduplicate)
    splits.require_both_classes(codes[keep], labels[keep], rule)

    columns, passed_over = choose_columns(table, codes == splits.TRAIN, config)
    notices += passed_over
    _require_history(config.history, columns)
    target = target_of(names.tolist(), keep & (codes == splits.TRAIN), tasks, config)
    whole = _with_target(roles, names, tasks, target)
    whole = whole.assign(**{column.name: stored_column(table, text, column) for column in columns})
    tables: dict[SplitName, pd.DataFrame] = {
        split: whole[keep & (codes == code)].reset_index(drop=True)
        for code, split in enumerate(SPLITS)
    }
    if config.mix is not None:
        tables["train"], told = mix_training_rows(tables["train"], config, config.mix)
        notices.append(told)
    train = tables["train"]
    notices += leak_notices(train, columns, train[LABEL].to_numpy())
    content = {split: _table_digest(frame) for split, frame in tables.items()}
    unused = {"mix"} if config.mix is None else set()
    settings = config.model_dump(mode="json", exclude=_NO_SETTINGS | unused)
    return Snapshot(
        name=name,
        digest=store.digest_json({"tables": content, "config": settings}),
        columns=columns,
        groups=config.groups,
        splits={split: _summary(frame) for split, frame in tables.items()},
        label_values={str(k): int(v) for k, v in sorted(names[keep].value_counts().items())},
        target=target,
        duplicates=duplicates,
        notices=tuple(notices),
        profiles=profile_columns(train, columns, config.groups),
        source_digest=source_digest,
        history=config.history,
    ), tables


def _require_history(history: Sequence[str], columns: Sequence[Column]) -> None:
    kinds = {column.name: column.kind for column in columns}
    for name in history:
        if kinds.get(name, "text") == "text":
            problem = f"{name!r} is no numeric or categorical feature column"
            raise BadInput("data.history", problem, "name columns that a new account has none of")


def _with_target(
    roles: pd.DataFrame, names: "pd.Series[Any]", tasks: pd.DataFrame, target: Target
) -> pd.DataFrame:
    """Return the role columns with what the model learns, where that is more than the label."""
    if target.kind == "multiclass":
        number = {name: np.int8(place) for place, name in enumerate(target.outputs)}
        return roles.assign(**{CLASS: names.map(number).astype(np.int8)})
    if target.kind == "multilabel":
        return roles.join(tasks.add_prefix(TASK_PREFIX))
    return roles


def _read_names(table: pd.DataFrame, tasks: pd.DataFrame, empty: Any, config: DataConfig) -> Any:
    """Return the label names, None where missing; without a label column, of any task."""
    if config.label:
        return as_names(table[config.label])
    names = pd.Series(np.where(tasks.any(axis=1), "1", "0"), index=table.index, dtype=object)
    return names.mask(empty, None)


def _read_roles(
    table: pd.DataFrame, config: DataConfig
) -> tuple[pd.DataFrame, "pd.Series[Any]", pd.DataFrame, list[str]]:
    """Return role columns, label names (None where missing), 0/1 tasks and the notices."""
    notices = []
    tasks, empty = read_tasks(table, config)
    names = _read_names(table, tasks, empty, config)
    if config.label and config.tasks:
        names = names.mask(empty, None)
    unlabelled = names.isna().to_numpy()
    if unlabelled.all():
        raise BadInput(
            "data.label",
            f"column {config.label or config.tasks[0]!r} is empty",
            "name the column of labels",
        )
    if unlabelled.any():
        notices.append(f"dropped {int(unlabelled.sum())} rows without a label")
    labels = np.zeros(len(table), dtype=np.int8)
    labels[~unlabelled] = read_labels(list(names[~unlabelled]), config)
    roles = {ID: _read_ids(table, config)}
    if config.time is not None:
        roles[TIME] = times = read_times(table[config.time], config.time)
        by_time = isinstance(config.split, SplitRule) and config.split.by == "time"
        if times.isna().any() and not by_time:
            notices.append(f"{int(times.isna().sum())} rows have no time in {config.time!r}")
    roles[LABEL] = pd.Series(labels, index=table.index)
    sources = None if config.label_source is None else table[config.label_source]
    roles[WEIGHT] = pd.Series(
        read_weights(sources, config.label_weights, len(table)), index=table.index
    )
    for group in config.groups:
        lists = stored_kind(table[group]) == "list"
        roles[GROUP_PREFIX + group] = (as_name_lists if lists else as_names)(table[group])
    return pd.DataFrame(roles), names, tasks, notices


def _read_ids(table: pd.DataFrame, config: DataConfig) -> "pd.Series[Any]":
    if config.id is None:
        return pd.Series([str(row) for row in range(len(table))], dtype=object)
    ids = as_names(table[config.id])
    if ids.isna().any():
        raise BadInput(
            "data.id",
            f"{int(ids.isna().sum())} rows have no value in column {config.id!r}",
            "fill them, or leave data.id out to use row numbers",
        )
    repeated = int(ids.duplicated().sum())
    if repeated:
        raise BadInput(
            "data.id",
            f"{repeated} rows repeat an id of column {config.id!r}",
            "make ids unique, or leave data.id out to use row numbers",
        )
    return ids


def _assign(table: pd.DataFrame, roles: pd.DataFrame, config: DataConfig) -> splits.Codes:
    rule = config.split
    if isinstance(rule, PublishedSplit):
        return splits.read_published(table[rule.column].tolist(), rule.column)
    ids: list[str] = roles[ID].tolist()
    if rule.by == "random":
        return splits.split_at_random(ids, rule)
    if rule.by == "group":
        groups = as_names(table[rule.group])
        # A row without a group stands alone; the prefixes keep it apart from any real group.
        keys = [
            f"row {row}" if group is None else f"group {group}"
            for row, group in zip(ids, groups, strict=True)
        ]
        return splits.split_by_group(keys, rule)
    timed = roles[TIME].notna().to_numpy()
    if not timed.any():
        raise BadInput(
            "data.time",
            f"column {config.time!r} is empty, and the split is by time",
            "name another column, or write split: {by: random}",
        )
    codes = np.full(len(table), splits.UNDECIDED, dtype=np.int8)
    codes[timed] = splits.split_by_time(roles[TIME][timed].astype("int64").to_numpy(), rule)
    return codes


def _table_digest(frame: pd.DataFrame) -> str:
    """Digest every value and the order of rows and columns, not the bytes of a file format."""
    columns: list[Sequence[object]] = []
    for name in frame.columns:
        values = frame[name]
        if pd.api.types.is_datetime64_any_dtype(values):
            values = values.astype("int64")
        columns.append([name, str(values.dtype), store.digest_json(values.tolist())])
    return store.digest_json(columns)


def _summary(frame: pd.DataFrame) -> SplitSummary:
    violating = int(frame[LABEL].sum())
    times = frame[TIME].dropna() if TIME in frame else pd.Series([], dtype=object)
    return SplitSummary(
        rows=len(frame),
        violating=violating,
        prevalence=violating / len(frame),
        time_start=times.min().isoformat() if len(times) else None,
        time_end=times.max().isoformat() if len(times) else None,
    )
