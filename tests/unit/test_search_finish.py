"""What a search leaves beside its trials: the ensemble's limits, folds' scores, a light model."""

import numpy as np
import pandas as pd
import pytest

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.features.matrices import load_features
from tidegate.models.catalogue import algorithm, load_model
from tidegate.models.interface import Setting
from tidegate.models.quality import average_precision
from tidegate.records import SearchResult, TrialResult
from tidegate.search.finish import finish
from tidegate.search.tasks import Room
from tidegate.search.trial import run_trial

LOGISTIC, XGBOOST = algorithm("logistic"), algorithm("xgboost")
POINTS = (
    (LOGISTIC, LOGISTIC.defaults),
    (XGBOOST, XGBOOST.defaults),
    (LOGISTIC, {**LOGISTIC.defaults, "C": 0.1}),
)


@pytest.fixture
def searched(features, tmp_path):
    """A search's folder and result after three trials, before its final stage."""
    for split, rows in (("train", 300), ("validation", 150)):
        texts = pd.DataFrame({"text": [f"{split} {number}" for number in range(rows)]})
        store.write_table(features / f"{split}_texts.parquet", texts)
    out = tmp_path / "search"
    trials = []
    for number, (chosen, params) in enumerate(POINTS):
        folder = out / "trials" / f"{number:03d}"
        folder.mkdir(parents=True)
        trial = run_trial(
            features,
            chosen,
            params,
            number=number,
            setting=Setting(),
            out=folder,
            report=lambda point: None,
        )
        trials.append(trial)
    best = max(trials, key=lambda trial: trial.average_precision).number
    result = SearchResult(
        trials=tuple(trials), best=best, benchmark=0, seconds=1, stopped_by="trials"
    )
    return out, result


def finished(features, searched, seconds=120, trials=None, **told):
    out, result = searched
    config = SearchConfig.model_validate({"trials": 3, **told})
    if trials:
        result = result.model_copy(update={"trials": trials})
    return finish(result, features, config, out, Room(2, 1, lambda: seconds))


def timed(searched, *milliseconds):
    return tuple(
        trial.model_copy(update={"serving_ms": ms})
        for trial, ms in zip(searched[1].trials, milliseconds, strict=True)
    )


def test_the_members_scoring_times_add_up_to_no_more_than_the_limit(features, searched):
    trials = timed(searched, 4.0, 4.0, 4.0)
    for limit, most in ((9.0, 2), (5.0, 1)):
        result = finished(features, searched, trials=trials, max_serving_ms=limit)
        best = result.trials[result.best]
        assert best.serving_ms <= limit
        assert len(best.params) <= most or best.algorithm != "ensemble"


def test_a_model_that_is_too_slow_to_serve_cannot_win(features, searched):
    _, result = searched
    slow = [99.0 if number == result.best else 1.0 for number in range(3)]
    found = finished(features, searched, trials=timed(searched, *slow), max_serving_ms=5)
    assert found.best != result.best


def test_a_limit_that_no_trial_keeps_is_refused_with_the_quickest(features, searched):
    with pytest.raises(BadInput, match=r"no trial scores a row in 1 ms, the quickest took 2\.0"):
        finished(features, searched, trials=timed(searched, 3.0, 2.0, 4.0), max_serving_ms=1)


def test_an_ensemble_scores_and_costs_what_its_members_do(features, searched, monkeypatch):
    monkeypatch.setattr(
        "tidegate.search.ensemble.select_members", lambda *_, **__: {1: 0.75, 0: 0.25}
    )
    result = finished(features, searched, trials=timed(searched, 1.0, 2.0, 3.0))
    best = result.trials[result.best]
    assert (best.algorithm, best.serving_ms) == ("ensemble", 3.0)
    X, roles = load_features(features, "validation")
    together = load_model("ensemble", searched[0] / "trials" / "003" / "model")
    y, weight = roles["_label"].to_numpy(), roles["_weight"].to_numpy()
    score = together.predict_proba(X)[:, 1]
    assert best.average_precision == pytest.approx(average_precision(y, score, weight), abs=1e-6)


def test_every_training_row_is_scored_by_a_model_that_never_saw_it(features, searched, capsys):
    finished(features, searched, crossfit_folds=3, ensemble_members=1)
    assert "cross-fitted scores: written" in capsys.readouterr().out
    with np.load(searched[0] / "crossfit.npz", allow_pickle=False) as found:
        fold, train, validation = found["fold"], found["train"], found["validation"]
    _, roles = load_features(features, "train")
    y = roles["_label"].to_numpy()
    assert fold.shape == train.shape == y.shape
    assert sorted(set(fold)) == [0, 1, 2]
    assert validation.shape == (3, 150)
    best = searched[1].trials[searched[1].best]
    model = load_model(best.algorithm, searched[0] / "trials" / f"{best.number:03d}" / "model")
    known = model.predict_proba(load_features(features, "train")[0])[:, 1]
    ones = np.ones(len(y))
    # The winner knows the rows by heart; honest scores rank them worse, and not at random.
    assert y.mean() + 0.1 < average_precision(y, train, ones) < average_precision(y, known, ones)


def test_rows_of_one_text_share_a_fold(features, searched):
    texts = [f"text {number // 3}" for number in range(300)]
    store.write_table(features / "train_texts.parquet", pd.DataFrame({"text": texts}))
    finished(features, searched, crossfit_folds=4, ensemble_members=1)
    with np.load(searched[0] / "crossfit.npz", allow_pickle=False) as found:
        fold = found["fold"]
    assert (fold.reshape(100, 3) == fold[::3, None]).all()


@pytest.mark.parametrize("folds", [0, 3])
def test_a_distilled_model_is_light_and_ranks_like_its_teacher(features, searched, folds):
    result = finished(features, searched, distill=True, crossfit_folds=folds)
    student = store.read_record(searched[0] / "distilled" / "result.json", TrialResult)
    assert student.algorithm == "logistic"
    assert student.serving_ms > 0
    teacher = result.trials[result.best]
    assert student.average_precision > teacher.average_precision - 0.15
    model = load_model("logistic", searched[0] / "distilled" / "model")
    assert model.predict_proba(load_features(features, "validation")[0]).shape == (150, 2)


def test_unlabelled_rows_teach_too(features, searched):
    X, roles = load_features(features, "train")
    store.write_table(features / "unlabelled.parquet", roles[["_id"]])
    (features / "unlabelled").mkdir()
    (features / "unlabelled" / "00.npz").write_bytes((features / "train" / "00.npz").read_bytes())
    finished(features, searched, distill=True)
    student = store.read_record(searched[0] / "distilled" / "result.json", TrialResult)
    assert student.status == "succeeded"
    assert X.rows == 300


def test_extras_that_the_minutes_do_not_hold_are_left_out_and_said(features, searched, capsys):
    finished(features, searched, seconds=0, crossfit_folds=3, distill=True)
    out = capsys.readouterr().out
    assert "cross-fitted scores: left out, 0 s were not enough" in out
    assert "the distilled model: left out, 0 s were not enough" in out
    assert not (searched[0] / "crossfit.npz").exists()
    assert not (searched[0] / "distilled").exists()
