import numpy as np
import pandas as pd
import pytest

from tidegate.config import MonitorConfig, PolicyConfig
from tidegate.monitoring.detection import detect_drift
from tidegate.monitoring.diagnosis import diagnose, estimate_mix, signals_of
from tidegate.monitoring.hypotheses import distance, weights_of_inputs, weights_of_mix
from tidegate.monitoring.open_tests import OpenTests
from tidegate.monitoring.quality import disagreeing, expected_quality, labelled_quality

POLICY = PolicyConfig(min_precision=0.85, confidence=0.9)
CONFIG = MonitorConfig(engine="open", max_rows=200, examples=3)
THRESHOLD = 0.7


def world(rows, seed, *, prevalence=0.5, moved=0.0, turned=0.0):
    """Draw rows of two inputs; the first says whether they violate, `turned` of them otherwise."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < prevalence).astype(np.int8)
    first = rng.normal(np.where(label == 1, 1.6, -1.6), 1.0)
    second = rng.normal(moved, 1.0, rows)
    label = np.where(rng.random(rows) < turned, 1 - label, label)
    frame = pd.DataFrame(
        {
            "component_00": first,
            "component_01": second,
            "score": 1 / (1 + np.exp(-3.2 * first)),
            "label": label,
        }
    )
    frame.index = [f"row-{seed}-{i}" for i in range(rows)]
    return frame


REFERENCE = world(2000, seed=0)


def diagnosed(window, *, labelled=None, level=0.01):
    seen = window.drop(columns="label")
    tests = detect_drift(
        REFERENCE.drop(columns="label"),
        seen,
        engine=OpenTests(0),
        level=level,
        config=CONFIG,
        bundle_version="v",
    )
    prior = estimate_mix(REFERENCE, seen, policy=POLICY, config=CONFIG)
    return diagnose(
        REFERENCE,
        seen,
        tests,
        labelled,
        prior,
        policy=POLICY,
        config=CONFIG,
        threshold=THRESHOLD,
    )


def test_a_window_like_the_reference_shows_nothing_and_asks_for_nothing():
    window = world(1000, seed=1)
    found = diagnosed(window, labelled=window.iloc[:400])
    assert found.kind == "none"
    assert signals_of(found, model="m", window="w") == ()
    truth = window["label"][window["score"] >= THRESHOLD].mean()
    assert found.expected.precision == pytest.approx(truth, abs=0.04)


@pytest.mark.parametrize("with_labels", [False, True])
def test_a_new_share_of_violating_posts_is_prior_shift_with_a_threshold_for_it(with_labels):
    window = world(1500, seed=2, prevalence=0.1)
    found = diagnosed(window, labelled=window.iloc[:500] if with_labels else None)
    assert found.kind == "prior_shift"
    assert found.prior.interval[0] < window["label"].mean() < found.prior.interval[1]
    assert found.offer.offered.value > THRESHOLD
    flagged = window[window["score"] >= found.offer.offered.value]
    assert flagged["label"].mean() >= POLICY.min_precision
    (signal,) = signals_of(found, model="m", window="w")
    assert signal.cause == "prior_shift"
    assert signal.evidence["offered_threshold"] == found.offer.offered.value
    assert "fell from" in found.says


def test_expected_precision_knows_the_new_mix():
    window = world(4000, seed=3, prevalence=0.1)
    found = diagnosed(window)
    truth = window["label"][window["score"] >= THRESHOLD].mean()
    assert truth < 0.82
    low, high = found.expected.precision_interval
    assert low - 0.03 < truth < high + 0.03
    assert found.expected.assumption.startswith("violating posts look as they did")


@pytest.mark.parametrize("with_labels", [False, True])
def test_posts_that_look_different_and_are_judged_as_before_are_covariate_shift(with_labels):
    window = world(1000, seed=4, moved=0.8)
    found = diagnosed(window, labelled=window.iloc[:400] if with_labels else None)
    assert found.kind == "covariate_shift"
    assert found.moved_features == ("component_01",)
    assert len(found.example_ids) == 3
    named = window.loc[list(found.example_ids), "component_01"]
    assert named.min() > 2, "examples are the rows least like the reference"
    assert ("no labels say yet" in found.says) is not with_labels


def test_labels_that_turn_where_inputs_stay_are_concept_drift():
    window = world(1000, seed=5, turned=0.3)
    found = diagnosed(window, labelled=window.iloc[:500])
    assert not any("alarm" in line and "p =" in line for line in found.evidence)
    assert found.kind == "concept_drift"
    (signal,) = signals_of(found, model="m", window="w")
    assert signal.cause == "concept_drift"
    odd = window.loc[list(found.example_ids)]
    assert ((odd["label"] - odd["score"]).abs() > 0.9).all()


def test_labels_that_turn_while_inputs_move_are_concept_drift_still():
    window = world(1500, seed=6, moved=0.8, turned=0.3)
    assert diagnosed(window, labelled=window.iloc[:800]).kind == "concept_drift"


def test_labels_of_a_stationary_stream_seldom_alarm_however_often_they_are_read():
    alarms = 0
    for seed in range(40):
        stream = world(300, seed=100 + seed)
        for rows in (60, 120, 300):
            found = labelled_quality(
                REFERENCE,
                stream.iloc[:rows],
                hypotheses={"no change": np.ones(len(REFERENCE))},
                threshold=THRESHOLD,
                error=0.05,
            )
            if disagreeing(found, "no change"):
                alarms += 1
                break
    assert alarms <= 5, "the stated error is 0.05, of 40 streams two"


def test_a_score_that_moves_where_no_input_does_is_unclear():
    window = world(1000, seed=7).assign(score=lambda f: f["score"] ** 3 * 0.7 + 0.1)
    found = diagnosed(window)
    assert found.kind in {"unclear", "prior_shift"}
    assert found.kind == "unclear"
    (signal,) = signals_of(found, model="m", window="w")
    assert (signal.cause, signal.says) == ("unclear", found.says)


def test_reweighting_the_classes_gives_the_wanted_share():
    violating = np.array([True, False, False, True, False])
    trust = np.array([1.0, 0.5, 1.0, 0.25, 1.0])
    weights = weights_of_mix(violating, trust, 0.2)
    assert weights[violating].sum() / weights.sum() == pytest.approx(0.2)


def test_weights_of_inputs_pull_the_reference_towards_the_window():
    window = world(1000, seed=8, moved=0.7)
    inputs = weights_of_inputs(REFERENCE, window, seed=0)
    mean = np.average(REFERENCE["component_01"], weights=inputs.weights)
    assert mean == pytest.approx(0.7, abs=0.15)


def test_distances_of_numbers_and_categories_are_those_of_their_definitions():
    from scipy.stats import ks_2samp

    first, second = REFERENCE["component_00"], world(500, seed=9, prevalence=0.3)["component_00"]
    even = np.ones(len(first))
    assert distance(first, second, even) == pytest.approx(ks_2samp(first, second).statistic)
    before = pd.Series(["a", "a", "b", None], dtype=object)
    after = pd.Series(["a", "c", "c", "c"], dtype=object)
    assert distance(before, after, np.ones(4)) == pytest.approx(0.75)


def test_without_a_threshold_nothing_is_flagged_and_nothing_is_promised():
    window = world(200, seed=10)
    found = expected_quality(
        REFERENCE,
        window,
        weights=np.ones(len(REFERENCE)),
        threshold=None,
        confidence=0.9,
        assumption="a",
        seed=0,
    )
    assert (found.flagged, found.precision, found.precision_interval) == (0, None, None)
