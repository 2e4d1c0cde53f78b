"""The snapshot and the data gate's verdict."""

from collections.abc import Mapping
from typing import Final, Literal

from tidegate.records.record import Record, SplitName

# A snapshot's tables keep the user's column names; the roles stand beside them under names that
# no user column has, so that a column called "label" can still be what the user meant by it.
ID, TIME, LABEL, WEIGHT = "_id", "_time", "_label", "_weight"
GROUP_PREFIX = "_group_"
# The table of a snapshot, and of a feature set, whose rows have no labels.
UNLABELLED: Final = "unlabelled"
# A scored table's columns that rows can be told apart by when errors are looked for.
SLICE_PREFIX = "_slice_"
# What a model learns where that is more than violating or not: the number of the row's class, or
# one 0/1 column a task.
CLASS, TASK_PREFIX = "_class", "_task_"


class Target(Record):
    """What a model's outputs mean.

    ``binary`` has the two classes of `LABEL`; ``multiclass`` the classes that `CLASS` numbers;
    ``multilabel`` one task an output, the first of which is `LABEL` itself. A row's score is the
    sum of the probabilities of the `violating` outputs.
    """

    kind: Literal["binary", "multiclass", "multilabel"] = "binary"
    outputs: tuple[str, ...] = ("not violating", "violating")
    violating: tuple[str, ...] = ("violating",)


class Column(Record):
    """One feature column of a snapshot."""

    name: str
    kind: Literal["text", "numeric", "categorical"]


class SplitSummary(Record):
    """What one split of a snapshot holds."""

    rows: int
    violating: int
    prevalence: float
    time_start: str | None = None
    time_end: str | None = None


class ColumnProfile(Record):
    """What one column holds on the training split; the norm that later data are held against.

    `minimum`, `mean` and `maximum` are of the values, and for text of the length in characters.
    `categories` are the values of a categorical or group column, most frequent first, and None
    where there are too many to list.
    """

    null_share: float
    minimum: float | None = None
    mean: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None


class DuplicateSummary(Record):
    """Repeated texts within training and across the splits.

    A near duplicate has shingles of Jaccard similarity `near_similarity` or more with a training
    text without being equal to one. The counts are taken before anything is dropped.
    """

    exact_within_train: int
    exact_train_validation: int
    exact_train_holdout: int
    near_train_validation: int
    near_train_holdout: int
    dropped_validation: int
    dropped_holdout: int
    near_similarity: float


class Snapshot(Record):
    """The content-digested tables of one run.

    The folder holds ``snapshot.json`` (this record) and one Parquet file a split, with the
    feature columns under their own names and the roles under `ID`, `TIME`, `LABEL` (int8 0/1),
    `WEIGHT` (float64) and `GROUP_PREFIX` + name (string, or list of strings).
    `label_values` counts the rows of each label as the user's column spells it; `profiles` holds
    one profile a feature column and one a group, under `GROUP_PREFIX` + name. With
    `unlabelled_rows` there is ``unlabelled.parquet`` too: feature columns and `ID`, no label.
    `history` names the feature columns that a new account has none of.
    """

    name: str
    digest: str
    columns: tuple[Column, ...]
    groups: tuple[str, ...]
    splits: Mapping[SplitName, SplitSummary]
    label_values: Mapping[str, int]
    target: Target = Target()
    duplicates: DuplicateSummary
    notices: tuple[str, ...] = ()
    profiles: Mapping[str, ColumnProfile] = {}
    source_digest: str = ""
    unlabelled_rows: int = 0
    history: tuple[str, ...] = ()


class Expectation(Record):
    """One expectation and what the data answered."""

    split: SplitName
    name: str
    column: str | None
    severity: Literal["critical", "warning"]
    passed: bool
    unexpected_count: int | None = None
    observed: str | None = None
    expected: str | None = None


class ValidationReport(Record):
    """The data gate's verdict."""

    passed: bool
    expectations: tuple[Expectation, ...]

    @property
    def failures(self) -> tuple[Expectation, ...]:
        """Expectations that the data broke, critical ones first."""
        broken = [e for e in self.expectations if not e.passed]
        return tuple(sorted(broken, key=lambda e: e.severity != "critical"))


class FeatureBlock(Record):
    """One transformer's features of one column.

    `name` is ``column:transformer``; models choose blocks by `family` (``words``, ``chars``,
    ``embedding``, ``statistics``, ``tabular``); `width` counts features.
    """

    name: str
    column: str
    family: str
    width: int


class FeatureSet(Record):
    """The fitted featurizer and the matrices of one snapshot.

    The folder holds ``features.json`` (this record), ``featurizer/`` and, a split, the role
    columns ``SPLIT.parquet``, the cleaned texts ``SPLIT_texts.parquet`` and ``SPLIT/NN.npz`` (CSR)
    or ``SPLIT/NN.npy`` (dense), the matrix of the block of that number; for a snapshot's unlabelled
    rows the same, whose only role is `ID`. `cleaning` counts the training rows that each rule
    changed, by ``column:rule``.
    """

    snapshot_digest: str
    target: Target = Target()
    blocks: tuple[FeatureBlock, ...]
    cleaning: Mapping[str, int] = {}

    @property
    def feature_count(self) -> int:
        """Features of all blocks together."""
        return sum(block.width for block in self.blocks)
