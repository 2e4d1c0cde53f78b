"""What the holdout says of the candidate."""

from collections.abc import Mapping
from typing import Literal

from tidegate.records.cascade import CascadeReport
from tidegate.records.record import Interval, Record, SplitName
from tidegate.records.scores import CalibrationReport, ReferenceMapping
from tidegate.records.threshold import (
    ClassThreshold,
    OperatingPoint,
    ReviewBand,
    SegmentThreshold,
    Threshold,
)

#: What groups are compared by; `calibration` is the mean score less the share that violates.
GroupMetric = Literal["fpr", "fnr", "precision", "recall", "selection_rate", "calibration"]


class GroupMetrics(Record):
    """One sensitive slice at the threshold; a figure without rows behind it is None.

    `effective_rows` says how many equal rows the `n` weighted ones are worth (Kish), where their
    weights differ.
    """

    column: str
    group: str
    n: int
    violating: int
    effective_rows: float | None = None
    too_small: bool
    precision: float | None = None
    precision_ci: Interval | None = None
    recall: float | None = None
    recall_ci: Interval | None = None
    fpr: float | None = None
    fpr_ci: Interval | None = None
    fnr: float | None = None
    fnr_ci: Interval | None = None
    selection_rate: float | None = None
    selection_rate_ci: Interval | None = None
    mean_score: float | None = None
    calibration: float | None = None
    calibration_ci: Interval | None = None


class GroupPair(Record):
    """`first` less `second`, and an interval for the size of the true difference.

    The lower ends of all pairs hold at once; an upper end holds for its own pair, which is what
    passing needs.
    """

    column: str
    metric: GroupMetric
    first: str
    second: str
    difference: float
    size_ci: Interval
    limit: float | None
    verdict: Literal["pass", "fail", "insufficient_data", "reported"]


class FairnessGap(Record):
    """The largest difference between two groups of one column, with its interval."""

    column: str
    metric: GroupMetric
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
    pairs: tuple[GroupPair, ...] = ()


class Difference(Record):
    """Candidate minus baseline on the same rows."""

    candidate: float
    baseline: float
    difference: float
    difference_ci: Interval


class Discordance(Record):
    """Rows that only one of two models gets right, and McNemar's exact two-sided p-value."""

    rows: int
    candidate_right: int
    baseline_right: int
    p_value: float


class BaselineComparison(Record):
    """The candidate beside the model in service.

    `discordance` is of ``violating``, ``harmless`` and ``all`` rows, where both have a threshold.
    """

    name: str
    kind: Literal["configured", "in_service", "benchmark_model"]
    threshold: float | None
    rows: int
    differences: Mapping[str, Difference]
    note: str | None = None
    discordance: Mapping[str, Discordance] = {}


class GoldenSetFigures(Record):
    """What one candidate does on the golden set; `digest` says which rows it held."""

    digest: str
    rows: int
    violating: int
    average_precision: float
    roc_auc: float
    threshold: float | None
    precision: float | None
    precision_lower_bound: float | None
    recall: float | None
    recall_ci: Interval | None


class PastEvaluation(Record):
    """A line of ``evaluations.jsonl``: a decision, the holdout it went by, the golden set then."""

    run_digest: str
    evaluated_at: str
    algorithm: str
    holdout_digest: str
    decision: Literal["promote", "hold", "insufficient_data"]
    average_precision: float
    golden: GoldenSetFigures | None = None


class GoldenSetReport(Record):
    """The candidate on the golden set, and earlier candidates on the same rows, oldest first."""

    figures: GoldenSetFigures
    baseline: BaselineComparison | None = None
    history: tuple[PastEvaluation, ...] = ()


class Decision(Record):
    """What to do with the candidate, and why."""

    decision: Literal["promote", "hold", "insufficient_data"]
    reasons: tuple[str, ...]


class SliceCondition(Record):
    """Rows whose column has one value."""

    column: str
    value: str


class WorstSlice(Record):
    """Rows that meet all conditions and are scored worse than the others.

    `loss` is the mean squared error of the score; `effect_size` its excess over the other rows in
    standard deviations; `p_adjusted` is corrected for all slices `looked_at`.
    """

    conditions: tuple[SliceCondition, ...]
    n: int
    violating: int
    loss: float
    loss_elsewhere: float
    effect_size: float
    p_adjusted: float
    looked_at: int
    precision: float | None = None
    recall: float | None = None
    fpr: float | None = None


class ConfidentError(Record):
    """A row whose score is far from its label: an error, or a label to look at again."""

    id: str
    label: int
    score: float


class FunctionalityResult(Record):
    """How many cases of one kind of sentence are flagged or left as they should be.

    `pass_rate` is the mean over templates, and so is its interval.
    """

    functionality: str
    violating: bool
    cases: int
    templates: int
    passed: int
    pass_rate: float
    pass_rate_ci: Interval


class IdentityShift(Record):
    """How much higher sentences score that name one identity than the same with another."""

    identity: str
    cases: int
    score_shift: float
    flagged: int
    passed: int


class FunctionalReport(Record):
    """The functional tests; `flip_rate` is the share of templates that an identity swap flips."""

    cases: int
    passed: int
    functionalities: tuple[FunctionalityResult, ...]
    swapped_templates: int = 0
    flipped_templates: int = 0
    flip_rate: float | None = None
    flip_rate_ci: Interval | None = None
    mean_score_range: float | None = None
    identities: tuple[IdentityShift, ...] = ()


class ClassMetrics(Record):
    """One class (the most probable one is said) or task (said from a probability of 0.5 on).

    `n` counts its rows; `average_precision` is None where all rows or none are of it. `intervals`
    are two-sided, by the names of the figures.
    """

    name: str
    n: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    intervals: Mapping[str, Interval] = {}


class MitigationReport(Record):
    """A model trained with one mitigation, judged like the candidate.

    `differences` are this model less the untreated one on the same holdout rows.
    """

    name: str
    algorithm: str
    threshold: float | None
    precision: float | None
    recall: float | None
    fairness: FairnessReport
    groups: tuple[GroupMetrics, ...]
    differences: Mapping[str, Difference]
    decision: Literal["promote", "hold", "insufficient_data"]
    reasons: tuple[str, ...]


class EvaluationReport(Record):
    """``evaluation.json``: the holdout's verdict on the candidate.

    `intervals` are two-sided, with `confidence`, of the figures that need no threshold, by name.
    `classes` and `macro_f1` are of models of classes or of several tasks, `roc_auc_ovo` (the mean
    over pairs of classes) of classes only. `mitigations` are of an untreated model whose audit
    fails, and `untreated` is that model itself beside them; `mitigation` names the one whose model
    this report is about, where it was preferred.
    """

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
    classes: tuple[ClassMetrics, ...] = ()
    macro_f1: float | None = None
    roc_auc_ovo: float | None = None
    holdout_uses: int | None = None
    golden_set: GoldenSetReport | None = None
    worst_slices: tuple[WorstSlice, ...] = ()
    confident_errors: tuple[ConfidentError, ...] = ()
    functional: FunctionalReport | None = None
    review: ReviewBand | None = None
    segments: tuple[SegmentThreshold, ...] = ()
    calibration: CalibrationReport | None = None
    score_reference: ReferenceMapping | None = None
    cascade: CascadeReport | None = None
    class_thresholds: tuple[ClassThreshold, ...] = ()
    mitigations: tuple[MitigationReport, ...] = ()
    mitigation: str | None = None
    untreated: MitigationReport | None = None
    intervals: Mapping[str, Interval] = {}
