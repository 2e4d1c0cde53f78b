"""The winning model: as a candidate, as a bundle, and in service."""

from collections.abc import Mapping
from typing import Literal

from tidegate.records.data import Column, Target
from tidegate.records.record import Record, SplitName
from tidegate.records.search import Params
from tidegate.records.serving import DecisionRule


class BaselineModel(Record):
    """The model that a candidate is compared with.

    `bundle` is None for the benchmark model, which every search trains; `threshold` is then
    chosen on its own validation scores. `rule` is what the bundle serves by beside its threshold.
    `note` says why a wanted baseline was not used.
    """

    kind: Literal["configured", "in_service", "benchmark_model"]
    name: str
    version: str | None = None
    bundle: str | None = None
    threshold: float | None = None
    note: str | None = None
    rule: DecisionRule = DecisionRule()


class Candidate(Record):
    """The winning trial, ready to be judged.

    The folder holds ``candidate.json`` (this record), ``bundle/``, and the scored tables
    ``scored/SPLIT.parquet`` and ``baseline/SPLIT.parquet`` of validation and holdout.
    """

    name: str
    algorithm: str
    params: Params
    groups: tuple[str, ...]
    prevalence: Mapping[SplitName, float]
    baseline: BaselineModel


class TreatedModel(Record):
    """``treated.json``: the winner's recipe, trained with one mitigation."""

    name: str
    algorithm: str
    params: Params


class BundleManifest(Record):
    """``bundle.json``: what serves, under which contract, and the digests that prove it.

    A bundle that evaluation has not seen yet has no threshold and no promise (None).
    `probe_scores` are the scores of rows that every bundle makes up for itself; `source_digest` is
    of the bytes that the snapshot was read from (empty where they were not told). `history` names
    the inputs that a new account has none of. `rules_before` are the versions of the same model
    under the rules that it served with before, oldest first.
    """

    name: str
    version: str
    format: Literal[1]
    created_at: str
    algorithm: str
    params: Params
    inputs: tuple[Column, ...]
    target: Target = Target()
    threshold: float | None
    min_precision: float | None
    confidence: float | None
    snapshot_digest: str
    source_digest: str = ""
    files: Mapping[str, str]
    libraries: Mapping[str, str]
    probe_scores: tuple[float, ...] = ()
    rule: DecisionRule = DecisionRule()
    history: tuple[str, ...] = ()
    rules_before: tuple[str, ...] = ()

    @property
    def same_scores(self) -> tuple[str, ...]:
        """The versions that score every row as this one does."""
        return (*self.rules_before, self.version)

    @property
    def paths(self) -> Mapping[str, tuple[str, ...]]:
        """The inputs that a request of each path must have."""
        names = tuple(column.name for column in self.inputs)
        new = tuple(name for name in names if name not in self.history)
        return {"full": names, "new_account": new} if self.history else {"full": names}


class Release(Record):
    """``current.json`` of the local model store: the version in service and how it came there.

    `source_digest` is that of the bundle: which data it learned from.
    """

    name: str
    version: str
    run_digest: str
    released_at: str
    previous: str | None
    source_digest: str = ""
