"""What is promised of a filter, and that it is kept: label-free, exact, refused where unshown."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import CascadeConfig
from tidegate.evaluation.cascade import (
    choose_pass_through,
    fewest_flagged,
    measure_filter,
    tolerated,
)
from tidegate.pass_through import filtered_scores, load_of_queue, pass_through_at, stops

RULES = CascadeConfig(max_recall_loss=0.02, overload_recall_loss=0.2)
CUT = 0.5


def rows(count, seed=0, agreement=6.0):
    """Light and heavy scores that agree on most rows."""
    random = np.random.default_rng(seed)
    margin = random.normal(-2, 2, count)
    heavy = 1 / (1 + np.exp(-margin))
    light = 1 / (1 + np.exp(-margin + random.normal(size=count) * 6 / agreement))
    return light, heavy


def chosen(evidence, rules=RULES, confidence=0.95):
    return choose_pass_through(evidence, CUT, rules, confidence=confidence)


def test_a_fifth_of_a_percent_takes_1497_flagged_rows_without_a_loss():
    assert fewest_flagged(0.002, 0.95) == 1497
    assert tolerated(1496, 0.002, 0.95) is None
    assert tolerated(1497, 0.002, 0.95) == 0


def chance_of_at_most(few, rows, loss):
    return sum(math.comb(rows, k) * loss**k * (1 - loss) ** (rows - k) for k in range(few + 1))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 900), st.floats(0.001, 0.3), st.sampled_from([0.8, 0.95, 0.99]))
def test_as_many_are_tolerated_as_would_be_rare_if_too_many_were_lost(flagged, loss, confidence):
    most = tolerated(flagged, loss, confidence)
    if most is not None:
        assert chance_of_at_most(most, flagged, loss) <= 1 - confidence + 1e-9
    more = 0 if most is None else most + 1
    assert chance_of_at_most(more, flagged, loss) > 1 - confidence - 1e-9


def test_the_promise_is_kept_as_often_as_it_says():
    # The light score of flagged rows is uniform here: the true loss at p is p itself.
    random, kept = np.random.default_rng(0), 0
    samples = 400
    for _ in range(samples):
        light = random.random(900)
        report = chosen({"validation": (light, np.ones(900))}, confidence=0.9)
        assert report.pass_through is not None
        kept += report.pass_through <= RULES.max_recall_loss
    assert kept / samples >= 0.9 - 3 * math.sqrt(0.09 / samples)


def test_too_few_flagged_rows_are_a_refusal_that_counts_them():
    light, heavy = rows(300)
    flagged = int((heavy >= CUT).sum())
    report = chosen({"validation": (light, heavy)}, CascadeConfig())
    assert report.pass_through is None
    assert report.curve == ()
    assert "takes 1,497 rows that the model flags and did not learn from, some " in report.reason
    assert f"there are {flagged}" in report.reason


def test_rows_without_labels_can_settle_it():
    few, many = rows(300), rows(20_000, seed=1)
    assert chosen({"validation": few}, CascadeConfig()).pass_through is None
    report = chosen({"validation": few, "unlabelled": many}, CascadeConfig())
    assert report.pass_through is not None
    assert report.loss_upper_bound <= 0.002
    assert report.evidence["unlabelled"].rows == 20_000
    low, high = report.share_saved_ci
    assert 0 < low < report.share_saved < high < 1


def test_evidence_that_the_configuration_leaves_out_counts_for_nothing():
    many = rows(20_000, seed=1)
    rules = CascadeConfig(evidence=("validation",))
    report = chosen({"validation": rows(300), "unlabelled": many}, rules)
    assert report.pass_through is None
    assert set(report.evidence) == {"validation"}


def test_training_rows_that_flatter_are_left_out():
    worse, better = rows(3000, agreement=2.0), rows(9000, seed=1, agreement=60.0)
    report = chosen({"validation": worse, "training": better})
    assert set(report.evidence) == {"validation"}
    same = chosen({"validation": rows(3000), "training": rows(9000, seed=1)})
    assert set(same.evidence) == {"validation", "training"}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 20.0), st.floats(0, 1), st.floats(0, 1))
def test_the_knob_never_stops_fewer_rows_under_more_load_and_never_a_flag(seed, agreement, a, b):
    light, heavy = rows(2500, seed, agreement)
    report = chosen({"validation": (light, heavy)})
    assert pass_through_at(report.curve, 0.0) == report.pass_through
    low, high = (pass_through_at(report.curve, load) for load in sorted((a, b)))
    assert report.pass_through <= low <= high <= CUT
    score = filtered_scores(light, heavy, high)
    stopped = stops(light, high)
    assert not (score[stopped] >= CUT).any()
    assert (score[~stopped] == heavy[~stopped]).all()
    order = np.argsort(light[stopped])
    assert (np.diff(score[stopped][order]) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.001, 0.2), st.floats(0.001, 0.2))
def test_a_stricter_promise_never_stops_more(seed, one, other):
    strict, lax = (
        CascadeConfig(max_recall_loss=loss, overload_recall_loss=0.3)
        for loss in sorted((one, other))
    )
    evidence = {"validation": rows(2500, seed)}
    first, second = (chosen(evidence, rules).pass_through for rules in (strict, lax))
    assert first is None or first <= second


@pytest.mark.parametrize("load", [-1.0, 2.0])
def test_beyond_its_ends_the_knob_stays_at_them(load):
    curve = chosen({"validation": rows(2500)}).curve
    assert pass_through_at(curve, load) == curve[0 if load < 0 else -1].pass_through


def test_a_queue_says_how_heavy_the_load_is():
    told = [load_of_queue(n, comfortable=20, full=40) for n in (0, 20, 30, 40, 1000)]
    assert told == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_the_holdout_counts_what_the_filter_loses():
    light, heavy = np.array([0.1, 0.1, 0.9, 0.1, 0.9]), np.array([0.9, 0.9, 0.9, 0.2, 0.1])
    found = measure_filter(
        light, heavy, [1, 0, 1, 1, 0], threshold=0.5, pass_through=0.5, confidence=0.95
    )
    assert (found.rows, found.stopped, found.flagged, found.flagged_lost) == (5, 3, 3, 2)
    assert found.recall_lost == pytest.approx(1 / 3)
    assert 1 / 3 < found.recall_lost_upper_bound < 1
