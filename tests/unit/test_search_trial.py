import json
import re

import numpy as np
import pytest

from tidegate import store
from tidegate.features.matrices import load_features
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.models.quality import average_precision, log_loss
from tidegate.records import TrialResult
from tidegate.search.medianstop import StopRule
from tidegate.search.trial import main, run_trial

LOGISTIC, XGBOOST = algorithm("logistic"), algorithm("xgboost")


def arguments(features, out):
    return ["--features", str(features), "--algorithm", "logistic", "--out", str(out)]


def words(**changed):
    return [f"{name}={value}" for name, value in {**LOGISTIC.defaults, **changed}.items()]


def trial(features, out, chosen=LOGISTIC, **more):
    points = []
    result = run_trial(
        features,
        chosen,
        chosen.defaults,
        setting=Setting(),
        out=out,
        report=points.append,
        **more,
    )
    return result, points


def test_a_trial_measures_its_saved_model_on_the_weighted_validation_rows(features, tmp_path):
    roles = store.read_table(features / "validation.parquet")
    roles["_weight"] = np.linspace(0.1, 2, len(roles))
    store.write_table(features / "validation.parquet", roles)
    result, points = trial(features, tmp_path / "out")
    score = LOGISTIC.load(tmp_path / "out" / "model").predict_proba(
        load_features(features, "validation")[0]
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
    assert (
        main(
            [
                *arguments(features, tmp_path / "out"),
                *words(C=0.5, class_weight="balanced"),
            ]
        )
        == 0
    )
    result = store.read_record(tmp_path / "out" / "result.json", TrialResult)
    assert result.params == {**LOGISTIC.defaults, "C": 0.5, "class_weight": "balanced"}
    # The pattern is the collector's own (Katib, pkg/metricscollector/v1beta1/common/const.go).
    found = re.findall(
        r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)", capsys.readouterr().out
    )
    assert {name for name, _ in found} == {"average_precision", "log_loss"}
    last = dict(found)
    assert float(last["average_precision"]) == pytest.approx(result.average_precision, abs=1e-6)
    assert float(last["log_loss"]) == pytest.approx(result.log_loss, abs=1e-6)


def test_as_a_katib_job_it_refuses_words_outside_the_space(features, tmp_path, capsys):
    assert main([*arguments(features, tmp_path), *words(C=1000)]) == 2
    assert capsys.readouterr().err == "C: must be in [0.01, 100.0], got 1000; mend the value\n"
    assert main([*arguments(features, tmp_path), "C"]) == 2
    assert "expected name=value" in capsys.readouterr().err


def test_as_a_katib_job_it_writes_its_curve_as_it_comes(features, tmp_path, monkeypatch):
    class KilledError(BaseException):
        pass

    def print_one(precision, loss, told=[]):  # noqa: B006
        told.append(precision)
        if len(told) == 2:
            raise KilledError

    monkeypatch.setattr("tidegate.search.trial._tell", print_one)
    told = [f"{name}={value}" for name, value in XGBOOST.defaults.items()]
    chosen = ["--features", str(features), "--algorithm", "xgboost", "--out", str(tmp_path)]
    with pytest.raises(KilledError):
        main([*chosen, *told])
    points = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [1, 11]
    assert not (tmp_path / "result.json").exists()


def test_as_a_katib_job_it_says_in_its_folder_why_it_crashed(tmp_path):
    with pytest.raises(FileNotFoundError):
        main([*arguments(tmp_path / "nowhere", tmp_path / "out"), *words(C=0.5)])
    result = store.read_record(tmp_path / "out" / "result.json", TrialResult)
    assert result.status == "failed"
    assert result.params == {**LOGISTIC.defaults, "C": 0.5}
    assert result.error.startswith("FileNotFoundError: ")


@pytest.mark.parametrize(("reports", "status"), [("2/9", "early_stopped"), ("9/9", "succeeded")])
def test_a_trial_of_few_reports_is_cut_short_and_one_of_all_is_whole(
    features, tmp_path, reports, status
):
    told = [f"{name}={value}" for name, value in XGBOOST.defaults.items()]
    chosen = ["--features", str(features), "--algorithm", "xgboost", "--out", str(tmp_path)]
    assert main([*chosen, "--reports", reports, *told]) == 0
    result = store.read_record(tmp_path / "result.json", TrialResult)
    assert result.status == status
    assert (len(result.curve) == 2) is (status == "early_stopped")
    assert (tmp_path / "model").is_dir() is (status == "succeeded")


@pytest.mark.parametrize("reports", ["3", "0/3", "x/3", "3/"])
def test_reports_that_are_no_share_are_refused(features, tmp_path, capsys, reports):
    assert main([*arguments(features, tmp_path), "--reports", reports, *words()]) == 2
    assert "--reports: expected N/OF" in capsys.readouterr().err


def test_a_resumable_algorithm_is_told_where_the_trial_before_left_its_state(
    features, tmp_path, plugin
):
    plugin(
        "resuming",
        """
        def build(params, setting):
            rounds = setting.state / "rounds"
            before = int(rounds.read_text()) if rounds.exists() else 0
            rounds.write_text(str(before + 1))
            return LOGISTIC.build(params, setting)

        RESUMING = replace(LOGISTIC, name="resuming", build=build, resumable=True)
        """,
    )
    state = tmp_path / "state"
    state.mkdir()
    words = [f"{name}={value}" for name, value in LOGISTIC.defaults.items()]
    for number in range(2):
        out = str(tmp_path / f"out{number}")
        chosen = ["--features", str(features), "--algorithm", "resuming", "--out", out]
        assert main([*chosen, "--state", str(state), *words]) == 0
    assert (state / "rounds").read_text() == "2"
