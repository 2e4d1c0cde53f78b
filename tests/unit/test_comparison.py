"""Candidate and baseline are compared on the same rows, resampled together."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from tidegate.errors import BadInput
from tidegate.evaluation import comparison
from tidegate.evaluation.comparison import Baseline, compare


def scored(rows=600, seed=0, noise=1.0, ties=False):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(int)
    scores = 1 / (1 + np.exp(-(2 * labels - 1 + noise * rng.normal(size=rows))))
    scores = np.round(scores, 1) if ties else scores
    return pd.DataFrame({"id": np.arange(rows), "label": labels, "weight": 1.0, "score": scores})


def beside(holdout, scores, threshold=0.5):
    return Baseline("old", "in_service", threshold, holdout.assign(score=scores))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_observed_figures_are_those_of_scikit_learn(ties, weighted):
    holdout = scored(ties=ties)
    holdout["weight"] = np.where(holdout["id"] % 2 == 0, 0.4, 1.0) if weighted else 1.0
    found = compare(holdout, 0.6, beside(holdout, 1 - holdout["score"]), confidence=0.95)
    label, score, weight = (holdout[c].to_numpy() for c in ("label", "score", "weight"))
    flagged = score >= 0.6
    expected = {
        "average_precision": average_precision_score(label, score, sample_weight=weight),
        "precision": precision_score(label, flagged, sample_weight=weight),
        "recall": recall_score(label, flagged, sample_weight=weight),
        "roc_auc": roc_auc_score(label, score, sample_weight=weight),
    }
    got = {name: difference.candidate for name, difference in found.differences.items()}
    assert got == pytest.approx(expected)


def test_a_model_beside_itself_differs_by_nothing():
    holdout = scored()
    found = compare(holdout, 0.6, beside(holdout, holdout["score"], 0.6), confidence=0.95)
    for difference in found.differences.values():
        assert difference.difference == 0
        assert difference.difference_ci == (0, 0)


def test_the_interval_covers_the_true_difference_as_often_as_stated():
    # Both models see the label through noise of the same strength: they truly do not differ.
    covered = []
    for seed in range(120):
        holdout = scored(rows=300, seed=seed)
        other = scored(rows=300, seed=seed + 10_000)
        rng = np.random.default_rng(seed + 20_000)
        logits = 2 * holdout["label"] - 1 + rng.normal(size=len(other))
        found = compare(
            holdout, None, beside(holdout, 1 / (1 + np.exp(-logits))), confidence=0.9, resamples=300
        )
        low, high = found.differences["average_precision"].difference_ci
        covered.append(low <= 0 <= high)
    assert 0.8 <= np.mean(covered) <= 0.98


def test_pairing_makes_the_interval_narrower_than_each_models_own_spread():
    holdout = scored(rows=800)
    rng = np.random.default_rng(1)
    near = np.clip(holdout["score"] + 0.01 * rng.normal(size=800), 0, 1)
    low, high = (
        compare(holdout, None, beside(holdout, near), confidence=0.95)
        .differences["average_precision"]
        .difference_ci
    )
    samples = [scored(rows=800, seed=seed) for seed in range(60)]
    spread = np.std([average_precision_score(s["label"], s["score"]) for s in samples])
    assert high - low < 2 * spread


def test_the_same_seed_gives_the_same_interval():
    holdout = scored()
    first, second, other = (
        compare(holdout, 0.5, beside(holdout, holdout["score"] ** 2), confidence=0.95, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == second
    assert first.differences != other.differences


def test_without_both_thresholds_only_the_ranking_is_compared():
    holdout = scored()
    without = beside(holdout, holdout["score"], None)
    found = compare(holdout, 0.5, without, confidence=0.95)
    assert set(found.differences) == {"average_precision", "roc_auc"}
    assert found.discordance == {}


def test_a_threshold_that_flags_nothing_has_no_precision_to_compare():
    holdout = scored()
    found = compare(holdout, 2.0, beside(holdout, holdout["score"]), confidence=0.95)
    assert set(found.differences) == {"average_precision", "recall", "roc_auc"}


def test_precision_is_carried_to_the_stated_prevalence():
    holdout = scored()
    baseline = beside(holdout, holdout["score"])
    here = compare(holdout, 0.5, baseline, confidence=0.95).differences["precision"]
    rare = compare(holdout, 0.5, baseline, confidence=0.95, prevalence=0.01)
    assert rare.differences["precision"].candidate < here.candidate / 3


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda h: h.iloc[1:], "holdout rows in their order"),
        (lambda h: h.iloc[::-1], "holdout rows in their order"),
        (lambda h: h.assign(label=1 - h["label"]), "holdout labels"),
        (lambda h: h.assign(score=np.nan), "scores must be finite"),
    ],
)
def test_a_baseline_on_other_rows_is_refused(other, words):
    holdout = scored()
    baseline = Baseline("old", "configured", 0.5, other(holdout))
    with pytest.raises(BadInput, match=words):
        compare(holdout, 0.5, baseline, confidence=0.95)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_influence_function_gives_the_interval_that_resampled_rows_give(monkeypatch, weighted):
    holdout = scored(rows=6000)
    if weighted:
        holdout["weight"] = np.where(holdout["id"] % 3 == 0, 0.3, 1.0)
    rng = np.random.default_rng(5)
    other = np.clip(holdout["score"] + 0.15 * rng.normal(size=6000), 0, 1)
    baseline = beside(holdout, other, 0.4)
    by_rows = compare(holdout, 0.6, baseline, confidence=0.95).differences
    monkeypatch.setattr(comparison, "_MOST_ROWS", 1000)
    at_once = compare(holdout, 0.6, baseline, confidence=0.95).differences
    for name, of_rows in by_rows.items():
        of_all = at_once[name]
        assert of_all.difference == pytest.approx(of_rows.difference, abs=1e-5)
        width = of_rows.difference_ci[1] - of_rows.difference_ci[0]
        assert of_all.difference_ci == pytest.approx(of_rows.difference_ci, abs=0.12 * width)


def test_a_million_rows_are_compared_in_bounded_time():
    rng = np.random.default_rng(0)
    rows = 1_000_000
    label = (rng.random(rows) < 0.1).astype(int)
    score = 1 / (1 + np.exp(-(2 * label - 1 + rng.normal(size=rows))))
    holdout = pd.DataFrame({"label": label, "score": score})
    begin = time.process_time()
    compare(holdout, 0.6, beside(holdout, score**2), confidence=0.95)
    assert time.process_time() - begin < 5


def test_five_thousand_rows_take_a_few_seconds():
    holdout = scored(rows=5000)
    begin = time.process_time()
    compare(holdout, 0.5, beside(holdout, holdout["score"] ** 2), confidence=0.95)
    assert time.process_time() - begin < 5
