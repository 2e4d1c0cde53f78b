"""What an auditor, or a transparency report, asks of a model."""

from collections.abc import Mapping
from typing import Any, Literal

from tidegate.records.cascade import CascadeReport
from tidegate.records.data import Column, DuplicateSummary, Expectation, SplitSummary
from tidegate.records.evaluation import (
    BaselineComparison,
    ClassMetrics,
    FairnessReport,
    FunctionalReport,
    GoldenSetReport,
    GroupMetrics,
    MitigationReport,
    WorstSlice,
)
from tidegate.records.record import Record, SplitName
from tidegate.records.scores import CalibrationReport
from tidegate.records.threshold import ClassThreshold, SegmentThreshold


class Metric(Record):
    """One figure on the holdout; `interval` names how its bounds were made, None without any."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    interval: str | None = None


class LabelProvenance(Record):
    """Where the labels come from and how far each source is trusted.

    `values` counts rows by the label's own spelling; `weights` is empty where every label counts
    alike.
    """

    column: str | None
    violating: tuple[str, ...]
    values: Mapping[str, int]
    source_column: str | None
    weights: Mapping[str, float]


class Approval(Record):
    """Who let a model act on posts, and when (ISO 8601)."""

    approved_by: str
    approved_at: str
    note: str | None = None


class AuditRecord(Record):
    """``audit.json``: what a model is for, what it was made of, what it does, who answers for it.

    `promise` says what the objective promises of the threshold; `policy` is the configuration's
    section as it stood; `approval` is None until someone approves.
    """

    format: Literal[1]
    name: str
    algorithm: str
    decision: Literal["promote", "hold", "insufficient_data"]
    reasons: tuple[str, ...]
    intended_use: str
    uses_ruled_out: tuple[str, ...]
    inputs: tuple[Column, ...]
    group_columns: tuple[str, ...]
    sources: tuple[str, ...]
    splits: Mapping[SplitName, SplitSummary]
    labels: LabelProvenance
    duplicates: DuplicateSummary
    notices: tuple[str, ...]
    data_gate_passed: bool
    data_gate_failures: tuple[Expectation, ...]
    policy: Mapping[str, Any]
    confidence: float
    threshold: float | None
    rows: int
    violating: int
    metrics: tuple[Metric, ...]
    classes: tuple[ClassMetrics, ...] = ()
    groups: tuple[GroupMetrics, ...]
    fairness: FairnessReport
    baseline: BaselineComparison
    promise: str = ""
    holdout_uses: int | None = None
    calibration: CalibrationReport | None = None
    worst_slices: tuple[WorstSlice, ...] = ()
    functional: FunctionalReport | None = None
    golden_set: GoldenSetReport | None = None
    limits: tuple[str, ...]
    lineage: Mapping[str, str]
    approval: Approval | None = None
    segments: tuple[SegmentThreshold, ...] = ()
    class_thresholds: tuple[ClassThreshold, ...] = ()
    untreated: MitigationReport | None = None
    mitigations: tuple[MitigationReport, ...] = ()
    mitigation: str | None = None
    cascade: CascadeReport | None = None

    def metric(self, name: str) -> Metric | None:
        """Return the metric of that name, if it was measured."""
        return next((metric for metric in self.metrics if metric.name == name), None)
