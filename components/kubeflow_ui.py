"""What the Kubeflow UI draws: scalar metrics, the ROC curve and the confusion matrix."""

from collections.abc import Mapping
from pathlib import Path

from kfp import dsl

from tidegate.evaluation.measurement import confusion, roc_points
from tidegate.records import EvaluationReport
from tidegate.store import read_table, write_json

_SHOWN = (
    "average_precision",
    "roc_auc",
    "log_loss",
    "threshold",
    "precision",
    "precision_lower_bound",
    "recall",
)


def log_metrics(metrics: dsl.Metrics, figures: Mapping[str, float | None]) -> None:
    """Log figures; one that does not exist is left out."""
    shown = {name: value for name, value in figures.items() if value is not None}
    for name, value in shown.items():
        metrics.log_metric(name, value)
    # The local cache takes an artifact that has no file for one that was lost.
    write_json(Path(metrics.path), shown)


def log_report(metrics: dsl.Metrics, report: EvaluationReport) -> None:
    """Log the report's key figures."""
    log_metrics(metrics, {name: getattr(report, name) for name in _SHOWN})


def log_curves(curves: dsl.ClassificationMetrics, folder: Path, report: EvaluationReport) -> None:
    """Log the holdout's ROC curve and, where a threshold exists, its confusion matrix."""
    holdout = read_table(folder / "scored" / "holdout.parquet")
    false_positive_rates, recalls, cuts = zip(*roc_points(holdout), strict=True)
    curves.log_roc_curve(list(false_positive_rates), list(recalls), list(cuts))
    if report.threshold is not None:
        matrix = [list(row) for row in confusion(holdout, report.threshold)]
        curves.log_confusion_matrix(["not violating", "violating"], matrix)
    write_json(Path(curves.path), curves.metadata)
