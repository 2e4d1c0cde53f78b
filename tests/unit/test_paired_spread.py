"""The variance of a paired difference without resampling rows, and figures from counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tidegate.evaluation import paired_spread
from tidegate.evaluation.paired_spread import (
    average_precision,
    placed,
    rate_draws,
    roc_auc,
    variance_of_difference,
)

MOMENTS = {"average_precision": average_precision, "roc_auc": roc_auc}


def rows(n, seed, *, levels=None, crowded=False):
    rng = np.random.default_rng(seed)
    label = np.append((rng.random(n - 2) < 0.3).astype(float), [0.0, 1.0])
    score = rng.normal(size=n) + label
    if crowded:
        # All but one score lie in one cell of any even grid.
        score = np.append(score[:-1] * 1e-9, 1.0)
    if levels:
        score = np.round(score * levels) / levels
    return score, label, np.where(rng.random(n) < 0.5, 0.4, 1.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 2, 50]), st.booleans(), st.booleans())
def test_the_figures_are_those_of_scikit_learn_on_any_scale(seed, levels, crowded, exact):
    score, label, weight = rows(60, seed, levels=levels, crowded=crowded)
    found = placed(score, label, weight, exact=exact)
    assert average_precision(found)[0] == pytest.approx(
        average_precision_score(label, score, sample_weight=weight), abs=2e-5
    )
    assert roc_auc(found)[0] == pytest.approx(
        roc_auc_score(label, score, sample_weight=weight), abs=2e-5
    )


@pytest.mark.parametrize("name", MOMENTS)
def test_the_influence_is_what_one_more_row_moves_the_figure_by(name):
    score, label, weight = rows(200, 1)
    found = placed(score, label, weight, exact=True)
    value, influence = MOMENTS[name](found)
    for row in (0, 7, 100, 199):
        step = 1e-6 * (np.arange(200) == row)
        moved = MOMENTS[name](placed(score, label, weight + step, exact=True))[0]
        assert (moved - value) / 1e-6 == pytest.approx(influence[found.key[row]], abs=1e-4)


def test_a_grid_and_every_score_for_itself_give_one_variance(monkeypatch):
    first, label, weight = rows(20_000, 2)
    second = first + np.random.default_rng(3).normal(size=first.size)

    def variance(exact):
        pair = [placed(s, label, weight, exact=exact) for s in (first, second)]
        one, two = ((own, average_precision(own)[1]) for own in pair)
        return variance_of_difference(one, two, weight)

    expected = variance(exact=True)
    assert variance(exact=False) == pytest.approx(expected, rel=1e-3)
    # Crowded cells are taken apart, tied ones stay whole.
    monkeypatch.setattr(paired_spread, "_CELLS", 64)
    assert placed(first, label, weight).mass.shape[0] > 10_000
    assert placed(np.round(first), label, weight).mass.shape[0] == 64
    assert variance(exact=False) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("weighted", [False, True])
def test_resampled_counts_spread_as_resampled_rows_do(weighted):
    score, label, weight = rows(1500, 4)
    weight = weight if weighted else np.ones(1500)
    other = score + np.random.default_rng(5).normal(size=1500)
    flagged = score > 1, other > 0.8
    one, two = rate_draws(flagged, label, weight, resamples=20_000, seed=0)
    drawn = np.random.default_rng(6).poisson(1.0, size=(5000, 1500)) * weight
    for name, column in (("precision", None), ("recall", label)):
        spread = []
        for own in flagged:
            base = own.astype(float) if column is None else column
            spread.append((drawn @ (own * label)) / (drawn @ base))
        by_rows = np.std(spread[0] - spread[1])
        assert np.std((one[name] - two[name])[1:]) == pytest.approx(by_rows, rel=0.05)
    seen = np.average(label[flagged[0]], weights=weight[flagged[0]])
    assert one["precision"][0] == pytest.approx(seen)


def test_the_variance_of_a_difference_of_areas_is_delongs():
    rng = np.random.default_rng(1)
    label = (rng.random(80) < 0.3).astype(float)
    shared = rng.normal(size=80)
    pair = [np.round(1.2 * label + shared + rng.normal(size=80), 1) for _ in range(2)]

    def components(score):
        wins = score[label == 1][:, None] - score[label == 0][None, :]
        kernel = (wins > 0) + 0.5 * (wins == 0)
        return kernel.mean(axis=1), kernel.mean(axis=0)

    (v10, v01), (w10, w01) = (components(score) for score in pair)
    expected = np.var(v10 - w10) / v10.size + np.var(v01 - w01) / v01.size
    weight = np.ones(80)
    one, two = (
        (own, roc_auc(own)[1]) for own in (placed(s, label, weight, exact=True) for s in pair)
    )
    assert variance_of_difference(one, two, weight) == pytest.approx(expected)
