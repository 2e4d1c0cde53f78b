"""The frozen types that cross a step boundary."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

SplitName = Literal["train", "validation", "holdout"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "holdout")

# A snapshot's tables keep the user's column names; the roles stand beside them under names that
# no user column has, so that a column called "label" can still be what the user meant by it.
ID, TIME, LABEL, WEIGHT = "_id", "_time", "_label", "_weight"
GROUP_PREFIX = "_group_"


class Record(BaseModel):
    """A frozen value; an unknown field is a defect."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Interval = tuple[float, float]

# --- data ------------------------------------------------------------------------------------


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
    one profile a feature column and one a group, under `GROUP_PREFIX` + name.
    """

    name: str
    digest: str
    columns: tuple[Column, ...]
    groups: tuple[str, ...]
    splits: Mapping[SplitName, SplitSummary]
    label_values: Mapping[str, int]
    duplicates: DuplicateSummary
    notices: tuple[str, ...] = ()
    profiles: Mapping[str, ColumnProfile] = {}
    source_digest: str = ""


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


class FeatureSet(Record):
    """The fitted featurizer and the matrices of one snapshot.

    The folder holds ``features.json`` (this record), ``featurizer/`` and, a split, the CSR
    matrix ``SPLIT.npz`` of shape (rows, `feature_count`) with the role columns ``SPLIT.parquet``.
    """

    snapshot_digest: str
    feature_count: int
    block_sizes: Mapping[str, int]


# --- search ----------------------------------------------------------------------------------

Params = Mapping[str, bool | int | float | str]


class CurvePoint(Record):
    """What a trial reported after one step (boosting rounds, epochs or solver passes)."""

    step: int
    train_log_loss: float
    validation_log_loss: float
    validation_average_precision: float


class TrialResult(Record):
    """One trial, as Katib and the local search both tell it."""

    number: int
    algorithm: str
    params: Params
    status: Literal["succeeded", "early_stopped", "failed", "out_of_time"]
    average_precision: float | None = None
    log_loss: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    seconds: float
    error: str | None = None


class SearchResult(Record):
    """Every trial, the winner and the benchmark model."""

    trials: tuple[TrialResult, ...]
    best: int
    benchmark: int
    seconds: float
    stopped_by: Literal["trials", "minutes"]


# --- cost -------------------------------------------------------------------------------------


# --- candidate -------------------------------------------------------------------------------


class BaselineModel(Record):
    """The model that a candidate is compared with.

    `bundle` is None for the benchmark model, which every search trains; `threshold` is then
    chosen on its own validation scores. `note` says why a wanted baseline was not used.
    """

    kind: Literal["configured", "in_service", "benchmark_model"]
    name: str
    version: str | None = None
    bundle: str | None = None
    threshold: float | None = None
    note: str | None = None


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


# --- evaluation ------------------------------------------------------------------------------


#: What the folds' scores of training rows are used for when a threshold is chosen.
TrainingEvidence = Literal["validation", "start", "combined"]


Objective = Literal["max_recall", "max_precision", "max_fpr", "min_cost"]


class Threshold(Record):
    """A cut on the score and what is promised of it.

    `evidence` says what showed it, and `effective_rows` how many independent flagged rows that is
    worth. For another objective than `max_recall`, `min_precision` is 0 and `promised` is the
    recall, the false-positive rate, or the cost a post of doing nothing, that `promised_bound`
    keeps to with `confidence`.
    """

    value: float
    min_precision: float
    confidence: float
    precision: float
    precision_lower_bound: float
    recall: float
    flagged: int
    evidence: TrainingEvidence = "validation"
    effective_rows: float | None = None
    objective: Objective = "max_recall"
    promised: float | None = None
    promised_bound: float | None = None


class OperatingPoint(Record):
    """The best point that the data reach when the promise cannot be made.

    `rows_needed` is how many labelled rows in all would show it, where there are `rows` now; None
    where the sample never reaches it.
    """

    threshold: float
    precision: float
    precision_lower_bound: float
    recall: float
    flagged: int
    rows: int | None = None
    rows_needed: int | None = None


class ReviewBand(Record):
    """Posts between `threshold` and `act_threshold` go to people.

    `recall_with_review` counts the violating posts acted on and those that reviewers see.
    """

    threshold: float
    act_threshold: float | None
    reviews_per_day: float
    reviews_per_day_upper_bound: float
    capacity: float
    confidence: float
    precision: float
    recall_with_review: float


class SegmentThreshold(Record):
    """One segment's threshold; `risk` is its share of one minus the policy's confidence."""

    segment: str
    rows: int
    violating: int
    risk: float
    threshold: Threshold | None
    best_reachable: OperatingPoint | None


class CalibrationMap(Record):
    """A rising map of scores to probabilities.

    ``platt`` and ``beta``: sigmoid(a log s - b log(1 - s) + c) with `coefficients` (a, b, c);
    ``isotonic`` and ``venn_abers``: straight lines between `knots` and their `values`.
    """

    method: Literal["identity", "platt", "beta", "isotonic", "venn_abers"]
    coefficients: tuple[float, ...] = ()
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


class ReliabilityBin(Record):
    """Neighbouring scores: their mean, and the share of violating rows among them."""

    rows: int
    score: float
    violating: float
    violating_ci: Interval


class CalibrationReport(Record):
    """Whether scores are probabilities, on the holdout, as they are and as the map makes them.

    `log_losses` are cross-validated on validation, where the map was chosen and fitted.
    """

    log_losses: Mapping[str, float]
    map: CalibrationMap
    curve: tuple[ReliabilityBin, ...]
    error: float
    error_ci: Interval
    mapped_error: float
    mapped_error_ci: Interval
    rows: int


class ScoreShift(Record):
    """The share of rows that a client's threshold flags on each model's own scale."""

    score: float
    flagged_by_reference: float
    flagged_unmapped: float


class ReferenceMapping(Record):
    """The model's scores on the scale of the model in service.

    Straight lines between `knots` and `values`. `distance` is the largest difference between the
    shares that one threshold flags on the two unmapped scales.
    """

    reference: str
    knots: tuple[float, ...]
    values: tuple[float, ...]
    distance: float
    shifts: tuple[ScoreShift, ...]


class PrevalenceEstimate(Record):
    """The share of violating posts in production, from a labelled sample of `labelled` posts.

    `classical` and its interval use labels alone, `prevalence` the scores of all posts as well
    where `method` says so.
    """

    prevalence: float
    interval: Interval
    classical: float
    classical_ci: Interval
    method: Literal["horvitz_thompson", "prediction_powered"]
    labelled: int
    population: int
    confidence: float


class GroupMetrics(Record):
    """One sensitive slice at the threshold; a figure without rows behind it is None."""

    column: str
    group: str
    n: int
    violating: int
    too_small: bool
    precision: float | None = None
    precision_ci: Interval | None = None
    recall: float | None = None
    recall_ci: Interval | None = None
    fpr: float | None = None
    fpr_ci: Interval | None = None
    fnr: float | None = None
    fnr_ci: Interval | None = None


class FairnessGap(Record):
    """The largest difference between two groups of one column, with its interval."""

    column: str
    metric: Literal["fpr", "fnr", "precision", "recall"]
    highest: str
    lowest: str
    gap: float
    gap_ci: Interval
    limit: float | None
    verdict: Literal["pass", "fail", "insufficient_data", "reported"]


class FairnessReport(Record):
    """Whether the groups are treated alike, as far as the data can tell."""

    verdict: Literal["pass", "fail", "insufficient_data", "not_assessed"]
    gaps: tuple[FairnessGap, ...] = ()
    notes: tuple[str, ...] = ()


class Difference(Record):
    """Candidate minus baseline on the same rows."""

    candidate: float
    baseline: float
    difference: float
    difference_ci: Interval


class BaselineComparison(Record):
    """The candidate beside the model in service."""

    name: str
    kind: Literal["configured", "in_service", "benchmark_model"]
    threshold: float | None
    rows: int
    differences: Mapping[str, Difference]
    note: str | None = None


class Decision(Record):
    """What to do with the candidate, and why."""

    decision: Literal["promote", "hold", "insufficient_data"]
    reasons: tuple[str, ...]


class EvaluationReport(Record):
    """``evaluation.json``: the holdout's verdict on the candidate."""

    name: str
    algorithm: str
    average_precision: float
    roc_auc: float
    log_loss: float
    brier_score: float
    threshold: float | None
    min_precision: float
    confidence: float
    precision: float | None
    precision_lower_bound: float | None
    recall: float | None
    recall_ci: Interval | None
    flagged: int | None
    rows: int
    violating: int
    validation_threshold: Threshold | None
    best_reachable: OperatingPoint | None
    prevalence: Mapping[SplitName, float]
    groups: tuple[GroupMetrics, ...]
    fairness: FairnessReport
    baseline: BaselineComparison
    decision: Literal["promote", "hold", "insufficient_data"]
    reasons: tuple[str, ...]
    review: ReviewBand | None = None
    segments: tuple[SegmentThreshold, ...] = ()
    calibration: CalibrationReport | None = None
    score_reference: ReferenceMapping | None = None


class BundleManifest(Record):
    """``bundle.json``: what serves, under which contract, and the digests that prove it.

    A bundle that evaluation has not seen yet has no threshold and no promise (None).
    `probe_scores` are the scores of rows that every bundle makes up for itself.
    """

    name: str
    version: str
    format: Literal[1]
    created_at: str
    algorithm: str
    params: Params
    inputs: tuple[Column, ...]
    threshold: float | None
    min_precision: float | None
    confidence: float | None
    snapshot_digest: str
    files: Mapping[str, str]
    libraries: Mapping[str, str]
    probe_scores: tuple[float, ...] = ()


class Release(Record):
    """``current.json`` of the local model store: the version in service and how it came there."""

    name: str
    version: str
    run_digest: str
    released_at: str
    previous: str | None


# --- monitoring ------------------------------------------------------------------------------


class DriftTest(Record):
    """One test of the window against the reference."""

    name: str
    features: int
    drifted: bool
    p_value: float
    threshold: float
    distance: float | None
    moved_features: tuple[str, ...] = ()


class DriftReport(Record):
    """``drift.json``: whether the window moved away from the training reference."""

    bundle_version: str
    drifted: bool
    reference_rows: int
    window_rows: int
    tests: tuple[DriftTest, ...]
    seconds: float


# --- runs on a cluster -----------------------------------------------------------------------


class RunOutcome(Record):
    """``outcomes/RUN.json`` of the workspace: how a run on the cluster ended."""

    run: str
    state: str
    error: str | None
    recorded_at: str
