"""The frozen types that cross a step boundary, a module a stage."""

from tidegate.records.candidate import BaselineModel, BundleManifest, Candidate, Release
from tidegate.records.data import (
    GROUP_PREFIX,
    ID,
    LABEL,
    TIME,
    WEIGHT,
    Column,
    ColumnProfile,
    DuplicateSummary,
    Expectation,
    FeatureSet,
    Snapshot,
    SplitSummary,
    ValidationReport,
)
from tidegate.records.evaluation import (
    BaselineComparison,
    Decision,
    Difference,
    EvaluationReport,
    FairnessGap,
    FairnessReport,
    GroupMetrics,
    OperatingPoint,
    Threshold,
)
from tidegate.records.monitoring import DriftReport, DriftTest
from tidegate.records.outcome import RunOutcome
from tidegate.records.record import SPLITS, Interval, Record, SplitName
from tidegate.records.search import CurvePoint, Params, SearchResult, TrialResult

__all__ = [
    "GROUP_PREFIX",
    "ID",
    "LABEL",
    "SPLITS",
    "TIME",
    "WEIGHT",
    "BaselineComparison",
    "BaselineModel",
    "BundleManifest",
    "Candidate",
    "Column",
    "ColumnProfile",
    "CurvePoint",
    "Decision",
    "Difference",
    "DriftReport",
    "DriftTest",
    "DuplicateSummary",
    "EvaluationReport",
    "Expectation",
    "FairnessGap",
    "FairnessReport",
    "FeatureSet",
    "GroupMetrics",
    "Interval",
    "OperatingPoint",
    "Params",
    "Record",
    "Release",
    "RunOutcome",
    "SearchResult",
    "Snapshot",
    "SplitName",
    "SplitSummary",
    "Threshold",
    "TrialResult",
    "ValidationReport",
]
