"""What the Kubeflow UI draws: scalar metrics, the ROC curve and the confusion matrix."""

from collections.abc import Mapping
from pathlib import Path

from kfp import dsl

from tidegate.config import PolicyConfig
from tidegate.evaluation.measurement import confusion, roc_points
from tidegate.evaluation.served_rule import served_cuts
from tidegate.records import EvaluationReport
from tidegate.store import read_table, write_json

_SHOWN = (
    "average_precision",
    "roc_auc",
    "log_loss",
    "brier_score",
    "threshold",
    "precision",
    "precision_lower_bound",
    "recall",
    "min_precision",
    "confidence",
    "rows",
    "violating",
    "flagged",
)


def log_metrics(metrics: dsl.Metrics, figures: Mapping[str, float | None]) -> None:
    """Log figures; one that does not exist is left out."""
    shown = {name: value for name, value in figures.items() if value is not None}
    for name, value in shown.items():
        metrics.log_metric(name, value)
    # The local cache takes an artifact that has no file for one that was lost.
    write_json(Path(metrics.path), shown)


def log_report(metrics: dsl.Metrics, report: EvaluationReport) -> None:
    """Log the report's key figures with their bounds, the baseline's differences and the gaps."""
    log_metrics(metrics, report_figures(report))


def report_figures(report: EvaluationReport) -> dict[str, float | None]:
    """Return the report's figures under flat names, as the run comparison of the UI lists them."""
    figures: dict[str, float | None] = {name: getattr(report, name) for name in _SHOWN}
    for name, (low, high) in report.intervals.items():
        figures[f"{name}_low"], figures[f"{name}_high"] = low, high
    if report.recall_ci is not None:
        figures["recall_low"], figures["recall_high"] = report.recall_ci
    for name, found in report.baseline.differences.items():
        figures[f"{name}_minus_baseline"] = found.difference
        low, high = found.difference_ci
        figures[f"{name}_minus_baseline_low"] = low
        figures[f"{name}_minus_baseline_high"] = high
    for gap in report.fairness.gaps:
        if gap.limit is not None:
            figures[f"{gap.metric}_gap_{gap.column}"] = gap.gap
            low, high = gap.gap_ci
            figures[f"{gap.metric}_gap_{gap.column}_low"] = low
            figures[f"{gap.metric}_gap_{gap.column}_high"] = high
    return figures


def log_curves(
    curves: dsl.ClassificationMetrics, folder: Path, report: EvaluationReport, policy: PolicyConfig
) -> None:
    """Log the holdout's ROC curve and, where anything is flagged, the served confusion matrix."""
    holdout = read_table(folder / "scored" / "holdout.parquet")
    false_positive_rates, recalls, cuts = zip(*roc_points(holdout), strict=True)
    curves.log_roc_curve(list(false_positive_rates), list(recalls), list(cuts))
    served = served_cuts(report.threshold, report.segments, holdout, policy)
    if served is not None:
        matrix = [list(row) for row in confusion(holdout, served)]
        curves.log_confusion_matrix(["not violating", "violating"], matrix)
    write_json(Path(curves.path), curves.metadata)
