"""Scores as probabilities, and scores that keep their meaning across retrains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.decision_rule import apply_map, to_reference
from tidegate.evaluation.calibration import (
    calibrate,
    calibration_error,
    cross_validated_losses,
    fit_map,
    reliability_curve,
)
from tidegate.evaluation.score_scale import reference_mapping
from tidegate.records import CalibrationMap

METHODS = ("identity", "platt", "beta", "isotonic", "venn_abers")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(rng, rows, distort=lambda p: p):
    """Scores whose true chance of a violation is `distort(score)`."""
    score = rng.beta(1, 2, rows)
    return score, (rng.random(rows) < distort(score)).astype(float), np.ones(rows)


def logit(p):
    return np.log(p) - np.log1p(-p)


DISTORTIONS = {
    "sigmoid": lambda p: sigmoid(2.5 * logit(p) + 0.7),
    "skewed": lambda p: p**2 / (p**2 + (1 - p) ** 0.7),
    "stepped": lambda p: np.where(p < 0.3, 0.05, np.where(p < 0.6, 0.5, 0.9)),
}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_the_chosen_map_recovers_the_true_chances(name):
    rng = np.random.default_rng(1)
    chance = DISTORTIONS[name]
    report = calibrate(drawn(rng, 4000, chance), drawn(rng, 4000, chance), confidence=0.95)
    score = rng.beta(1, 2, 2000)
    off = np.abs(apply_map(report.map, score) - chance(score))
    assert off.mean() < 0.03
    assert report.mapped_error < report.error
    assert report.mapped_error_ci[0] <= 0.02
    assert report.error_ci[0] > 0.02


def test_calibrated_scores_are_left_nearly_as_they_are():
    rng = np.random.default_rng(2)
    report = calibrate(drawn(rng, 3000), drawn(rng, 3000), confidence=0.95)
    assert report.error_ci[0] == 0.0
    grid = np.linspace(0.05, 0.8, 50)
    assert np.abs(apply_map(report.map, grid) - grid).max() < 0.07


def test_a_straight_sigmoid_beats_a_stepwise_map_on_few_rows():
    losses = cross_validated_losses(
        drawn(np.random.default_rng(3), 300, lambda p: sigmoid(2 * logit(p)))
    )
    assert losses["platt"] < losses["isotonic"]
    assert losses["platt"] < losses["identity"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
def test_no_map_ever_falls_or_leaves_the_unit_interval(seed, method):
    rng = np.random.default_rng(seed)
    rows = drawn(rng, 150, lambda p: np.clip(rng.uniform(-1, 1) + p, 0.05, 0.95))
    grid = np.linspace(0, 1, 501)
    mapped = apply_map(fit_map(method, rows), grid)
    assert (np.diff(mapped) >= -1e-12).all()
    assert ((mapped >= 0) & (mapped <= 1)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_map_is_json_and_back(method):
    fitted = fit_map(method, drawn(np.random.default_rng(4), 500))
    again = CalibrationMap.model_validate_json(fitted.model_dump_json())
    grid = np.linspace(0, 1, 11)
    assert np.array_equal(apply_map(again, grid), apply_map(fitted, grid))


# Venn-Abers adds one fully trusted row, which is another share of weighted rows than of repeated.
@pytest.mark.parametrize("method", METHODS[:-1])
def test_weights_act_as_repetition(method):
    score, label, _ = drawn(np.random.default_rng(5), 400)
    times = np.where(np.arange(400) % 3 == 0, 2, 1)
    weighted = fit_map(method, (score, label, times.astype(float)))
    repeated = fit_map(
        method, (np.repeat(score, times), np.repeat(label, times), np.ones(int(times.sum())))
    )
    grid = np.linspace(0.05, 0.95, 19)
    tolerance = 1e-6 if method == "isotonic" else 2e-3
    assert apply_map(weighted, grid) == pytest.approx(apply_map(repeated, grid), abs=tolerance)


def test_the_curve_holds_every_row_once_and_its_intervals_hold_the_truth():
    rng = np.random.default_rng(6)
    inside, total = 0, 0
    for _ in range(60):
        rows = drawn(rng, 1000)
        curve = reliability_curve(rows, confidence=0.95)
        assert sum(part.rows for part in curve) == 1000
        # Calibrated by construction: the mean score of a bin is its expected share.
        inside += sum(p.violating_ci[0] <= p.score <= p.violating_ci[1] for p in curve)
        total += len(curve)
    assert inside / total >= 0.93


def test_rows_of_one_score_stay_in_one_bin_whatever_their_order():
    rng = np.random.default_rng(12)
    score, label, _ = drawn(rng, 600)
    rows = (np.round(score, 1), label, rng.choice([0.3, 1.0], 600))
    shuffle = rng.permutation(600)
    curve = reliability_curve(rows, confidence=0.95)
    assert sum(part.rows for part in curve) == 600
    ranked, ends = np.sort(rows[0]), np.cumsum([part.rows for part in curve])[:-1]
    assert len(curve) > 3
    assert (ranked[ends - 1] < ranked[ends]).all()
    again = reliability_curve((rows[0][shuffle], label[shuffle], rows[2][shuffle]), confidence=0.95)
    assert [part.rows for part in again] == [part.rows for part in curve]
    found = [part.violating for part in curve]
    assert [part.violating for part in again] == pytest.approx(found)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.1])
def test_the_errors_interval_covers_it_whether_or_not_the_scores_are_calibrated(shift):
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(250):
        score = rng.uniform(0.1, 0.8, 1000)
        label = (rng.random(1000) < score + shift).astype(float)
        _, (low, high) = calibration_error((score, label, np.ones(1000)), confidence=0.9)
        covered.append(low <= shift <= high)
    assert np.mean(covered) >= 0.9 - 2 * np.sqrt(0.9 * 0.1 / 250)


# --- the scale that clients know -------------------------------------------------------------


def test_a_clients_threshold_flags_the_same_share_after_a_retrain():
    rng = np.random.default_rng(8)
    truth = rng.normal(size=20_000)
    before = sigmoid(2 * truth + rng.normal(size=20_000))
    after = sigmoid(0.8 * truth - 1 + 0.2 * rng.normal(size=20_000))
    mapping = reference_mapping(after[:10_000], before[:10_000], name="v1")
    assert mapping.distance > 0.2
    for cut in (0.3, 0.5, 0.8, 0.9, 0.95):
        unmapped = np.mean(after[10_000:] >= cut)
        mapped = np.mean(to_reference(mapping, after[10_000:]) >= cut)
        wanted = np.mean(before[10_000:] >= cut)
        assert mapped == pytest.approx(wanted, abs=0.015)
        assert abs(mapped - wanted) <= abs(unmapped - wanted)


def test_the_same_model_is_mapped_to_itself():
    score = np.random.default_rng(9).random(5000)
    mapping = reference_mapping(score, score, name="v1")
    assert mapping.distance == 0
    assert to_reference(mapping, score) == pytest.approx(score)
    assert all(s.flagged_by_reference == s.flagged_unmapped for s in mapping.shifts)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 50, 10_000]))
def test_the_order_of_rows_survives_the_map_even_with_ties(seed, levels):
    rng = np.random.default_rng(seed)
    score = np.round(rng.random(300) * levels) / levels
    mapping = reference_mapping(score, rng.random(300) ** 3, name="v1")
    mapped = to_reference(mapping, np.sort(score))
    assert (np.diff(mapped) >= 0).all()
