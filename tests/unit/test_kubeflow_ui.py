"""What the Kubeflow UI is given to draw."""

from kfp import dsl

from components.kubeflow_ui import log_curves, log_report
from tests.report_sample import evaluation_of
from tidegate.config import PolicyConfig
from tidegate.store import read_json, write_table


def test_the_figures_come_with_their_bounds(tmp_path):
    found = evaluation_of()[0]
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    log_report(metrics, found)
    logged = metrics.metadata
    assert logged["precision"] == found.precision
    assert logged["precision_lower_bound"] == found.precision_lower_bound
    assert (logged["recall_low"], logged["recall_high"]) == found.recall_ci
    against = found.baseline.differences["average_precision"]
    assert logged["average_precision_minus_baseline"] == against.difference
    assert logged["average_precision_minus_baseline_high"] == against.difference_ci[1]
    assert logged["fpr_gap_lang"] == found.fairness.gaps[0].gap
    assert read_json(tmp_path / "metrics") == logged


def test_a_model_without_a_threshold_logs_no_figure_that_does_not_exist(tmp_path):
    found = evaluation_of(strength=0.5)[0]
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    log_report(metrics, found)
    assert "precision" not in metrics.metadata
    assert "recall_low" not in metrics.metadata
    assert metrics.metadata["average_precision"] == found.average_precision


def test_the_roc_curve_and_the_confusion_matrix_are_those_of_the_holdout(tmp_path):
    found, _, holdout = evaluation_of()
    write_table(tmp_path / "scored" / "holdout.parquet", holdout.drop(columns="tiny"))
    curves = dsl.ClassificationMetrics(uri=str(tmp_path / "curves"))
    log_curves(curves, tmp_path, found, PolicyConfig())
    points = curves.metadata["confidenceMetrics"]
    assert points[0]["falsePositiveRate"] == 0
    assert points[-1]["recall"] == 1
    matrix = [row["row"] for row in curves.metadata["confusionMatrix"]["rows"]]
    assert matrix[0][1] + matrix[1][1] == found.flagged
    assert sum(map(sum, matrix)) == found.rows
