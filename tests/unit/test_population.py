"""The violating share of production from a designed sample, and how many labels it takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.evaluation.population import (
    Stratum,
    estimate_prevalence,
    labels_needed,
    weighted_prevalence,
)

EDGES = ((0.0, 0.1), (0.1, 0.4), (0.4, 1.01))


def production(rng, posts=100_000):
    score = rng.beta(0.4, 4, posts)
    return score, (rng.random(posts) < 0.9 * score).astype(float)


def drawn(rng, score, label, each, powered=True):
    strata = []
    for low, high in EDGES:
        inside = np.flatnonzero((score >= low) & (score < high))
        picked = rng.choice(inside, each)
        strata.append(
            Stratum(
                size=inside.size,
                labels=label[picked],
                scores=score[picked] if powered else None,
                mean_score=float(score[inside].mean()) if powered else None,
            )
        )
    return strata


@pytest.mark.parametrize("stratified", [True, False])
def test_the_intervals_cover_the_truth_and_the_scores_make_them_narrower(stratified):
    rng = np.random.default_rng(1)
    score, label = production(rng)
    truth = label.mean()
    covered, classical, narrower = [], [], []
    for _ in range(500):
        strata = drawn(rng, score, label, 250)
        if not stratified:
            picked = rng.integers(0, score.size, 750)
            strata = [Stratum(score.size, label[picked], score[picked], float(score.mean()))]
        found = estimate_prevalence(strata, confidence=0.9)
        covered.append(found.interval[0] <= truth <= found.interval[1])
        classical.append(found.classical_ci[0] <= truth <= found.classical_ci[1])
        narrower.append(np.diff(found.interval)[0] / np.diff(found.classical_ci)[0])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.035)
    assert np.mean(classical) == pytest.approx(0.9, abs=0.035)
    # Strata by score have most of what the scores can say.
    assert np.mean(narrower) < (0.995 if stratified else 0.92)


def test_a_sample_drawn_by_score_is_not_read_as_it_stands():
    rng = np.random.default_rng(2)
    score, label = production(rng)
    strata = drawn(rng, score, label, 400)
    naive = np.mean([np.mean(stratum.labels) for stratum in strata])
    found = estimate_prevalence(strata, confidence=0.95)
    assert abs(found.prevalence - label.mean()) < 0.02 < abs(naive - label.mean())


def test_unequal_chances_are_weighted_back():
    rng = np.random.default_rng(3)
    score, label = production(rng, 50_000)
    chance = np.clip(0.004 + 0.06 * score, 0, 1)
    covered = []
    for _ in range(400):
        picked = rng.random(score.size) < chance
        found = weighted_prevalence(
            label[picked], chance[picked], population=score.size, confidence=0.9
        )
        covered.append(found.interval[0] <= label.mean() <= found.interval[1])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.04)


def test_useless_scores_are_left_aside():
    rng = np.random.default_rng(4)
    label = (rng.random(500) < 0.1).astype(float)
    found = estimate_prevalence([Stratum(10_000, label, 1 - label, 0.9)], confidence=0.95)
    assert found.method == "horvitz_thompson"
    assert found.prevalence == found.classical
    assert found.interval == found.classical_ci


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=4))
def test_the_estimate_lies_within_its_interval_even_where_nothing_or_everything_violates(counts):
    strata = [
        Stratum(1000, np.r_[np.ones(right), np.zeros(max(total - right, 0))])
        for right, total in counts
        if max(right, total) > 0
    ]
    found = estimate_prevalence(strata, confidence=0.95)
    low, high = found.interval
    assert 0 <= low <= found.prevalence <= high <= 1
    assert high > low


def test_the_labels_asked_for_give_the_width_wished_for():
    rng = np.random.default_rng(5)
    score, label = production(rng)
    members = {f"{low}": (score >= low) & (score < high) for low, high in EDGES}
    guess = {name: (int(own.sum()), float(label[own].mean())) for name, own in members.items()}
    needed = labels_needed(guess, width=0.02, confidence=0.95)
    strata = [
        Stratum(int(own.sum()), label[rng.choice(np.flatnonzero(own), needed[name])])
        for name, own in members.items()
    ]
    low, high = estimate_prevalence(strata, confidence=0.95).interval
    assert high - low == pytest.approx(0.02, rel=0.15)
    # Labels go where the posts are uncertain, not where they are many.
    per_post = {name: needed[name] / guess[name][0] for name in guess}
    assert per_post["0.4"] > per_post["0.0"]


def test_half_the_width_takes_four_times_the_labels():
    strata = {"all": (10**7, 0.05)}
    wide = labels_needed(strata, width=0.02, confidence=0.95)["all"]
    narrow = labels_needed(strata, width=0.01, confidence=0.95)["all"]
    assert narrow == pytest.approx(4 * wide, rel=0.01)


def test_a_stratum_without_labels_is_refused():
    with pytest.raises(ValueError, match="1 to 100 labels, got 0"):
        estimate_prevalence([Stratum(100, [])], confidence=0.95)
    with pytest.raises(ValueError, match=r"chance in \(0, 1\]"):
        weighted_prevalence([1, 0], [0.5, 0.0], population=10, confidence=0.95)
