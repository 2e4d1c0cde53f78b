import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import PolicyConfig
from tidegate.evaluation.prior_shift import estimate_prior_shift, offer_threshold


def posts(rows, prevalence, seed, apart=3.0, moved=0.0):
    random = np.random.default_rng(seed)
    truth = random.random(rows) < prevalence
    score = 1 / (1 + np.exp(-(random.normal(size=rows) + apart * truth - 1 + moved)))
    return score, truth.astype(np.int8)


def shift_of(window, reference=None, **named):
    score, label = reference or posts(1500, 0.4, seed=0)
    return estimate_prior_shift(score, label, window, confidence=0.95, **named)


def test_a_prevalence_that_falls_from_two_fifths_to_one_in_twenty_is_found_without_labels():
    found = shift_of(posts(800, 0.05, seed=1)[0])
    assert found.interval[0] < 0.05 < found.interval[1]
    assert found.prevalence == pytest.approx(0.05, abs=0.03)
    assert found.reference_prevalence == pytest.approx(0.4, abs=0.05)
    assert found.fit_p_value > 0.05
    assert found.explained_share > 0.9


def test_harmless_posts_that_score_otherwise_are_no_prior_shift():
    found = shift_of(posts(800, 0.4, seed=1, moved=1.0)[0])
    assert found.fit_p_value < 0.01
    assert found.explained_share < 0.9


def test_intervals_hold_the_prevalence_as_often_as_they_say():
    held = [
        found.interval[0] <= 0.1 <= found.interval[1]
        for seed in range(40)
        for found in [
            shift_of(posts(400, 0.1, 2 * seed + 1)[0], posts(1000, 0.4, 2 * seed), seed=seed)
        ]
    ]
    assert np.mean(held) >= 0.85


@given(st.floats(0.01, 0.99), st.floats(0.1, 10))
@settings(max_examples=15, deadline=None)
def test_only_the_order_of_scores_matters(prevalence, power):
    reference, window = posts(300, 0.4, seed=3), posts(200, prevalence, seed=4)[0]
    plain = shift_of(window, reference)
    bent = shift_of(window**power, (reference[0] ** power, reference[1]))
    assert bent.prevalence == pytest.approx(plain.prevalence, abs=0.02)
    assert 0 <= plain.interval[0] <= plain.interval[1] <= 1


def test_the_offered_threshold_keeps_at_the_new_prevalence_what_the_old_one_broke():
    score, label = posts(3000, 0.4, seed=0)
    rows = (score, label.astype(float), np.ones(len(score)))
    policy = PolicyConfig(min_precision=0.9, confidence=0.95)
    later, truth = posts(20_000, 0.05, seed=1)
    old = 0.5
    shift = shift_of(later, (score, label))
    offer = offer_threshold(rows, shift, policy=policy, threshold=old)
    assert truth[later >= old].mean() < 0.9
    assert not offer.in_service_keeps_promise
    assert offer.offered is not None
    assert offer.offered.value > old
    assert truth[later >= offer.offered.value].mean() >= 0.9


@pytest.mark.parametrize(
    ("reference", "window", "says"),
    [
        (([0.1, 0.2], [0, 0]), [0.3], "violating and harmless rows"),
        (([0.1, 0.2], [0, 1]), [], "the window holds no scores"),
        (([0.1, 0.2], [0, 1]), [np.nan], "scores must be finite"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(reference, window, says):
    with pytest.raises(ValueError, match=says):
        estimate_prior_shift(*reference, window, confidence=0.95)
