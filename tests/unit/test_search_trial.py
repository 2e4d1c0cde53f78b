import re

import numpy as np
import pytest
import scipy.sparse as sp

from tidegate import store
from tidegate.models.catalogue import algorithm
from tidegate.models.quality import average_precision, log_loss
from tidegate.records import TrialResult
from tidegate.search.medianstop import StopRule
from tidegate.search.trial import main, run_trial

LOGISTIC, XGBOOST = algorithm("logistic"), algorithm("xgboost")


def arguments(features, out):
    return ["--features", str(features), "--algorithm", "logistic", "--out", str(out)]


def trial(features, out, chosen=LOGISTIC, **more):
    points = []
    result = run_trial(
        features, chosen, chosen.defaults, seed=0, threads=1, out=out, report=points.append, **more
    )
    return result, points


def test_a_trial_measures_its_saved_model_on_the_weighted_validation_rows(features, tmp_path):
    roles = store.read_table(features / "validation.parquet")
    roles["_weight"] = np.linspace(0.1, 2, len(roles))
    store.write_table(features / "validation.parquet", roles)
    result, points = trial(features, tmp_path / "out")
    score = LOGISTIC.load(tmp_path / "out" / "model").predict_proba(
        sp.load_npz(features / "validation.npz")
    )[:, 1]
    y, weight = roles["_label"].to_numpy(), roles["_weight"].to_numpy()
    assert result.status == "succeeded"
    assert result.average_precision == pytest.approx(average_precision(y, score, weight))
    assert result.log_loss == pytest.approx(log_loss(y, score, weight))
    assert result.average_precision != pytest.approx(average_precision(y, score, np.ones(len(y))))
    assert result.curve == tuple(points)


def test_training_rows_are_weighted(features, tmp_path):
    plain, _ = trial(features, tmp_path / "plain")
    roles = store.read_table(features / "train.parquet")
    roles["_weight"] = np.where(np.arange(len(roles)) < 100, 1.0, 0.0)
    store.write_table(features / "train.parquet", roles)
    weighted, _ = trial(features, tmp_path / "weighted")
    assert weighted.average_precision != plain.average_precision


def test_a_trial_below_the_floor_is_stopped_at_its_start_step_and_leaves_no_model(
    features, tmp_path
):
    rule = StopRule(floor=1.1, start_step=2)
    result, points = trial(features, tmp_path, XGBOOST, stop_rule=rule)
    assert (result.status, len(points)) == ("early_stopped", 2)
    assert result.average_precision == points[-1].validation_average_precision
    assert not (tmp_path / "model").exists()


def test_a_trial_above_the_floor_goes_on(features, tmp_path):
    rule = StopRule(floor=0.0, start_step=2)
    result, points = trial(features, tmp_path, XGBOOST, stop_rule=rule)
    assert result.status == "succeeded"
    assert len(points) > 2


def test_as_a_katib_job_it_prints_what_the_collector_reads(features, tmp_path, capsys):
    assert main([*arguments(features, tmp_path / "out"), "C=0.5", "class_weight=balanced"]) == 0
    result = store.read_record(tmp_path / "out" / "result.json", TrialResult)
    assert result.params == {"C": 0.5, "class_weight": "balanced"}
    # The pattern is the collector's own (Katib, pkg/metricscollector/v1beta1/common/const.go).
    found = re.findall(
        r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)", capsys.readouterr().out
    )
    assert {name for name, _ in found} == {"average_precision", "log_loss"}
    last = dict(found)
    assert float(last["average_precision"]) == pytest.approx(result.average_precision, abs=1e-6)
    assert float(last["log_loss"]) == pytest.approx(result.log_loss, abs=1e-6)


def test_as_a_katib_job_it_refuses_words_outside_the_space(features, tmp_path, capsys):
    assert main([*arguments(features, tmp_path), "C=1000", "class_weight=none"]) == 2
    assert capsys.readouterr().err == "C: must be in [0.01, 100.0], got 1000; mend the value\n"
    assert main([*arguments(features, tmp_path), "C"]) == 2
    assert "expected name=value" in capsys.readouterr().err
