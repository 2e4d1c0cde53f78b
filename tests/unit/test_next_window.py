"""A threshold for the posts that come next: old labels, the newest scores, no retrain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.evaluation.next_window import next_window_threshold
from tidegate.evaluation.prior_shift import estimate_prior_shift, mixture_prevalence

FLOOR, UPCOMING = 0.8, 4000


def world(rng, rows, prevalence):
    label = (rng.random(rows) < prevalence).astype(np.float64)
    return rng.normal(2.2 * label, 1.0), label


def chosen(labelled, latest, *, confidence=0.95, weight=None):
    score, label = labelled
    trust = np.ones(len(score)) if weight is None else weight
    return next_window_threshold(
        (score, label, trust),
        latest,
        upcoming=UPCOMING,
        min_precision=FLOOR,
        confidence=confidence,
    )


def kept_share(prevalence, confidence, worlds=80):
    """Return in how many worlds the next window's own precision is above the floor."""
    kept, recall = [], []
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        labelled, latest = world(rng, 2500, 0.15), world(rng, 2000, prevalence)[0]
        cut = chosen(labelled, latest, confidence=confidence).threshold
        score, label = world(rng, UPCOMING, prevalence)
        flagged = score >= cut
        kept.append(label[flagged].mean() >= FLOOR)
        recall.append(label[flagged].sum() / label.sum())
    return np.mean(kept), np.mean(recall)


@pytest.mark.parametrize("prevalence", [0.15, 0.08])
def test_the_next_window_keeps_the_floor_about_as_often_as_asked(prevalence):
    kept, recall = kept_share(prevalence, 0.9)
    assert kept >= 0.82
    assert recall > 0.2


def test_more_violating_posts_lower_the_cut_and_fewer_raise_it():
    rng = np.random.default_rng(0)
    labelled = world(rng, 3000, 0.15)
    cuts = [chosen(labelled, world(rng, 3000, share)[0]).threshold for share in (0.05, 0.15, 0.4)]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[0] > cuts[-1]


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_more_confidence_never_lowers_the_cut(seed):
    rng = np.random.default_rng(seed)
    labelled, latest = world(rng, 1500, 0.2), world(rng, 800, 0.2)[0]
    surer, bolder = (chosen(labelled, latest, confidence=c) for c in (0.95, 0.6))
    if min(surer.precision_lower_bound, bolder.precision_lower_bound) >= FLOOR:
        assert surer.threshold >= bolder.threshold


def test_rows_of_no_weight_are_as_good_as_absent():
    rng = np.random.default_rng(1)
    score, label = world(rng, 1500, 0.2)
    stray = np.append(score, rng.normal(3, 1, 300)), np.append(label, np.zeros(300))
    weight = np.append(np.ones(1500), np.full(300, 1e-9))
    latest = world(rng, 1000, 0.2)[0]
    plain, weighed = chosen((score, label), latest), chosen(stray, latest, weight=weight)
    assert weighed.precision == pytest.approx(plain.precision, abs=0.02)


def test_where_no_cut_keeps_the_floor_the_nearest_is_named():
    rng = np.random.default_rng(2)
    label = (rng.random(1000) < 0.1).astype(np.float64)
    found = chosen((rng.random(1000), label), rng.random(500))
    assert found.precision_lower_bound < FLOOR


def test_the_prevalence_alone_is_that_of_the_whole_estimate():
    rng = np.random.default_rng(3)
    score, label = world(rng, 1000, 0.3)
    latest = world(rng, 900, 0.1)[0]
    whole = estimate_prior_shift(score, label, latest, confidence=0.95)
    assert mixture_prevalence(score, label, latest) == whole.prevalence
