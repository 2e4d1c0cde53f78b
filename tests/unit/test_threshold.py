"""The promise: of the rows flagged, at least the floor are violating, with stated confidence."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tidegate.evaluation.threshold import (
    best_reachable,
    choose_threshold,
    empirical_threshold,
    minimum_flagged,
)


def population(rows, rng, power=2.0):
    """Scores whose true chance of a violation is known: score ** power at its lowest."""
    scores = rng.random(rows)
    return scores, (rng.random(rows) < chance(scores, power)).astype(int)


def chance(scores, power=2.0):
    return 0.02 + 0.96 * scores**power


def true_precision(cut):
    grid = np.linspace(cut, 1, 4001)
    return float(chance(grid).mean())


@st.composite
def scored_rows(draw):
    rows = draw(st.integers(40, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([3, 20, 10_000]))
    scores = np.round(rng.random(rows) * levels) / levels
    labels = (rng.random(rows) < chance(scores, draw(st.sampled_from([0.3, 1.0, 4.0])))).astype(int)
    return scores, labels


floors = st.sampled_from([0.3, 0.5, 0.7, 0.8, 0.9, 0.95])


# --- the promise -----------------------------------------------------------------------------


def test_the_promise_holds_in_at_least_the_stated_share_of_samples():
    rng = np.random.default_rng(7)
    kept, certified = [], 0
    for _ in range(400):
        threshold = choose_threshold(*population(1500, rng), min_precision=0.8)
        certified += threshold is not None
        kept.append(threshold is None or true_precision(threshold.value) >= 0.8)
    assert certified > 350
    assert np.mean(kept) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 400)


def test_the_plain_rule_breaks_it_about_every_second_time():
    rng = np.random.default_rng(7)
    kept = [
        true_precision(empirical_threshold(*population(1500, rng), min_precision=0.8)) >= 0.8
        for _ in range(400)
    ]
    assert 0.3 < np.mean(kept) < 0.65


@pytest.mark.parametrize(
    ("rows", "floor", "below"), [(500, 0.9, 0.9), (1000, 0.9, 0.3), (400, 0.8, 0.0)]
)
def test_a_start_taken_from_the_base_rate_costs_no_confidence_in_its_worst_case(rows, floor, below):
    # Precision lies a hair under the floor at every threshold of the upper 40 %, so that the
    # very first test is of a false promise and every certificate is an error.
    rng = np.random.default_rng(11)
    errors = 0
    for _ in range(800):
        scores = rng.random(rows)
        labels = rng.random(rows) < np.where(scores > 0.6, floor - 1e-9, below)
        errors += choose_threshold(scores, labels, min_precision=floor) is not None
    assert errors / 800 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 800)


def test_the_promise_carries_to_a_stated_prevalence():
    # Sampled at 30 % violating, promised at 5 %: the true production precision is known.
    rng = np.random.default_rng(3)
    kept, certified = [], 0
    for _ in range(300):
        labels = (rng.random(2000) < 0.3).astype(int)
        scores = rng.beta(np.where(labels, 5, 1), np.where(labels, 1, 4))
        threshold = choose_threshold(scores, labels, min_precision=0.7, prevalence=0.05)
        if threshold is None:
            continue
        certified += 1
        flagged_violating = 0.05 * (1 - threshold.value**5)
        flagged_harmless = 0.95 * (1 - threshold.value) ** 4
        kept.append(flagged_violating / (flagged_violating + flagged_harmless) >= 0.7)
    assert certified > 250
    assert np.mean(kept) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / certified)


def test_the_bound_is_the_exact_binomial_one():
    rng = np.random.default_rng(0)
    scores, labels = population(2000, rng)
    threshold = choose_threshold(scores, labels, min_precision=0.7)
    right = int(labels[scores >= threshold.value].sum())
    tail = binom.sf(right - 1, threshold.flagged, threshold.precision_lower_bound)
    assert tail == pytest.approx(0.05, abs=1e-9)


# --- small samples and where the sequence starts ---------------------------------------------


@pytest.mark.parametrize(("floor", "fewest"), [(0.9, 29), (0.95, 59), (0.5, 5), (0.99, 299)])
def test_the_fewest_flagged_rows_are_those_whose_all_right_passes(floor, fewest):
    assert minimum_flagged(floor, 0.95) == fewest
    assert floor**fewest <= 0.05 < floor ** (fewest - 1)


def test_no_finite_number_of_rows_shows_a_floor_of_one():
    assert minimum_flagged(1.0, 0.95) is None
    perfect = np.arange(1000) >= 500
    assert choose_threshold(perfect.astype(float), perfect, min_precision=1.0) is None


def test_perfect_scores_certify_with_the_fewest_rows_and_not_with_one_less():
    def perfect(violating):
        labels = np.r_[np.ones(violating), np.zeros(900)]
        return labels + np.linspace(0, 0.5, labels.size), labels

    threshold = choose_threshold(*perfect(29), min_precision=0.9)
    assert threshold.flagged == 29
    assert threshold.recall == threshold.precision == 1.0
    assert choose_threshold(*perfect(28), min_precision=0.9) is None


def test_a_mistake_at_the_very_top_does_not_end_the_search_when_many_rows_violate():
    rng = np.random.default_rng(5)
    scores, labels = population(4000, rng, power=1.0)
    labels[np.argsort(-scores)[:2]] = 0
    assert choose_threshold(scores, labels, min_precision=0.6).recall > 0.3


def test_without_violating_rows_there_is_no_threshold():
    assert choose_threshold(np.linspace(0, 1, 200), np.zeros(200), min_precision=0.5) is None


# --- what always holds -----------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(scored_rows(), floors)
def test_the_record_says_what_the_cut_does(rows, floor):
    scores, labels = rows
    threshold = choose_threshold(scores, labels, min_precision=floor)
    if threshold is None:
        return
    flagged = scores >= threshold.value
    assert threshold.flagged == flagged.sum()
    assert threshold.precision == pytest.approx(labels[flagged].mean())
    assert threshold.recall == pytest.approx(labels[flagged].sum() / labels.sum())
    assert floor <= threshold.precision_lower_bound <= threshold.precision


@settings(max_examples=150, deadline=None)
@given(scored_rows(), floors, floors)
def test_a_higher_floor_never_gives_a_lower_threshold_from_the_same_start(rows, one, other):
    scores, labels = rows
    low, high = sorted((one, other))
    if minimum_flagged(high, 0.95) > labels.sum() / 4:
        return
    strict = choose_threshold(scores, labels, min_precision=high)
    loose = choose_threshold(scores, labels, min_precision=low)
    assert strict is None or (loose is not None and loose.value <= strict.value)


@settings(max_examples=100, deadline=None)
@given(scored_rows(), floors, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_the_rows_does_not_matter(rows, floor, random, weighted):
    scores, labels = rows
    weights = np.where(np.arange(scores.size) % 3 == 0, 0.3, 0.9) if weighted else None
    order = np.array(random.sample(range(scores.size), scores.size))
    shuffled = choose_threshold(
        scores[order],
        labels[order],
        min_precision=floor,
        weights=None if weights is None else weights[order],
    )
    assert shuffled == choose_threshold(scores, labels, min_precision=floor, weights=weights)


@settings(max_examples=100, deadline=None)
@given(scored_rows(), floors, st.sampled_from([np.exp, np.cbrt, lambda s: 1000 * s - 7]))
def test_a_strictly_increasing_change_of_scale_flags_the_same_rows(rows, floor, change):
    scores, labels = rows
    before = choose_threshold(scores, labels, min_precision=floor)
    after = choose_threshold(change(scores), labels, min_precision=floor)
    assert (before is None) == (after is None)
    if before is not None:
        assert np.array_equal(scores >= before.value, change(scores) >= after.value)


@settings(max_examples=100, deadline=None)
@given(scored_rows(), floors, st.sampled_from([0.1, 0.3, 1.0, 7.0]))
def test_equal_weights_are_no_weights(rows, floor, weight):
    scores, labels = rows
    weights = np.full(scores.size, weight)
    assert choose_threshold(scores, labels, min_precision=floor, weights=weights) == (
        choose_threshold(scores, labels, min_precision=floor)
    )


@settings(max_examples=100, deadline=None)
@given(scored_rows(), floors)
def test_a_row_of_weight_zero_is_no_row(rows, floor):
    scores, labels = rows
    weights = (np.arange(scores.size) % 4 > 0).astype(float)
    kept = weights > 0
    assert choose_threshold(scores, labels, min_precision=floor, weights=weights) == (
        choose_threshold(scores[kept], labels[kept], min_precision=floor)
    )


def test_less_trusted_labels_prove_less():
    scores = np.linspace(0, 1, 400)
    labels = (scores > 0.9).astype(int)
    halved = np.where(labels == 1, 0.5, 1.0)
    assert choose_threshold(scores, labels, min_precision=0.9) is not None
    assert choose_threshold(scores, labels, min_precision=0.9, weights=halved) is None


def test_scores_that_are_all_equal_flag_all_or_nothing():
    scores = np.full(300, 0.5)
    assert choose_threshold(scores, np.ones(300), min_precision=0.9).flagged == 300
    assert choose_threshold(scores, np.arange(300) % 2, min_precision=0.9) is None


def test_a_stated_prevalence_equal_to_the_samples_changes_nothing():
    scores, labels = population(2000, np.random.default_rng(1))
    plain = choose_threshold(scores, labels, min_precision=0.6)
    stated = choose_threshold(scores, labels, min_precision=0.6, prevalence=labels.mean())
    assert stated.value == plain.value
    assert stated.precision == pytest.approx(plain.precision)


def test_the_best_reachable_point_has_the_highest_bound():
    scores, labels = population(500, np.random.default_rng(2), power=1.0)
    assert choose_threshold(scores, labels, min_precision=0.99) is None
    best = best_reachable(scores, labels)
    flagged = scores >= best.threshold
    assert best.flagged == flagged.sum()
    assert best.precision == pytest.approx(labels[flagged].mean())
    for cut in (0.5, 0.8, 0.95):
        rows, right = (scores >= cut).sum(), labels[scores >= cut].sum()
        assert binom.sf(right - 1, rows, best.precision_lower_bound + 1e-3) >= 0.05


def test_a_million_rows_take_a_couple_of_seconds():
    scores, labels = population(1_000_000, np.random.default_rng(0))
    begin = time.process_time()
    assert choose_threshold(scores, labels, min_precision=0.8) is not None
    assert time.process_time() - begin < 4


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "labels", "options", "words"),
    [
        ([0.1, float("nan")], [0, 1], {}, "scores must be finite, got 1 NaN"),
        ([0.1, 0.2], [0, 2], {}, "labels must be 0 or 1, got 2"),
        ([0.1, 0.2], [0, float("nan")], {}, "labels must be 0 or 1, got nan"),
        ([0.1, 0.2], [0], {}, "must be flat and of one length"),
        ([], [], {}, "at least one row"),
        ([0.1, 0.2], [0, 1], {"min_precision": 95}, r"must be in \(0, 1\], got 95; write 0.95"),
        ([0.1, 0.2], [0, 1], {"min_precision": 0.0}, "min_precision must be"),
        ([0.1, 0.2], [0, 1], {"confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
        ([0.1, 0.2], [0, 1], {"prevalence": 0.0}, "prevalence must be"),
        ([0.1, 0.2], [0, 1], {"weights": [1.0]}, "one value a row"),
        ([0.1, 0.2], [0, 1], {"weights": [0.0, 0.0]}, "not all 0"),
        ([0.1, 0.2], [0, 1], {"weights": [-1.0, 1.0]}, "at least 0"),
    ],
)
def test_input_that_breaks_a_rule_is_refused_with_rule_value_and_remedy(
    scores, labels, options, words
):
    with pytest.raises(ValueError, match=words) as error:
        choose_threshold(scores, labels, **{"min_precision": 0.9, **options})
    assert "; write " in str(error.value)
