"""Evidence that may be read at any time: it errs no more often than it says, and it finds harm."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.evaluation.sequential import (
    MeanSums,
    asymptotic_bounds,
    difference_above,
    difference_bounds,
    is_shown,
    mean_above,
    mean_bounds,
    paired_above,
    paired_bounds,
    share_above,
    share_bounds,
)

PATHS, ROWS, ERROR = 200, 300, 0.1
#: Three standard errors above the stated error of so many paths.
TOLERATED = ERROR + 3 * np.sqrt(ERROR * (1 - ERROR) / PATHS)
N = np.arange(1, ROWS + 1)


def ever(log_evidence) -> float:
    """Return the share of paths on which the evidence ever sufficed, read after every row."""
    return float(is_shown(log_evidence, ERROR).any(axis=-1).mean())


@pytest.mark.parametrize("share", [0.01, 0.3, 0.95])
def test_a_share_is_refuted_at_its_truth_no_more_often_than_stated_over_all_times(share):
    hits = (np.random.default_rng(1).random((PATHS, ROWS)) < share).cumsum(axis=1)
    assert ever(share_above(hits, N, share)) <= TOLERATED
    assert ever(share_above(N - hits, N, 1 - share)) <= TOLERATED


@pytest.mark.parametrize(("first", "second"), [(0.02, 0.02), (0.4, 0.3)])
def test_a_difference_of_unequal_streams_keeps_its_error(first, second):
    rng = np.random.default_rng(2)
    hits = (rng.random((PATHS, ROWS)) < first).cumsum(axis=1)
    others = rng.binomial(19, second, (PATHS, ROWS)).cumsum(axis=1)
    assert ever(difference_above(hits, N, others, 19 * N, first - second)) <= TOLERATED
    assert ever(difference_above(others, 19 * N, hits, N, second - first)) <= TOLERATED


def test_a_paired_difference_keeps_its_error():
    draw = np.random.default_rng(3).random((PATHS, ROWS))
    gains, losses = (draw < 0.1).cumsum(axis=1), (draw > 0.95).cumsum(axis=1)
    assert ever(paired_above(gains, losses, N, 0.05)) <= TOLERATED
    assert ever(paired_above(losses, gains, N, -0.05)) <= TOLERATED


def test_a_mean_of_rows_observed_with_known_probability_keeps_its_error():
    rng = np.random.default_rng(4)
    violating = rng.random((PATHS, ROWS)) < 0.8
    chance = np.where(rng.random((PATHS, ROWS)) < 0.5, 1.0, 0.2)
    weight = (rng.random((PATHS, ROWS)) < chance) / chance
    sums = MeanSums(
        *(
            part.cumsum(axis=1)
            for part in (
                np.ones_like(weight),
                weight,
                weight * violating,
                weight**2,
                weight**2 * violating,
                weight**2 * violating,
            )
        )
    )
    assert ever(mean_above(sums, 0.8, max_weight=5.0)) <= TOLERATED
    mirrored = MeanSums(sums.rows, sums.w, -sums.wx, sums.ww, -sums.wwx, sums.wwxx)
    assert ever(mean_above(mirrored, -0.8, low=-1.0, high=0.0, max_weight=5.0)) <= TOLERATED


def test_an_asymptotic_interval_of_a_skewed_mean_keeps_its_error_after_the_first_rows():
    values = np.random.default_rng(5).exponential(3.0, (PATHS, 4 * ROWS))
    n = np.arange(1, 4 * ROWS + 1)
    mean = values.cumsum(axis=1) / n
    variance = (values**2).cumsum(axis=1) / n - mean**2
    low, high = asymptotic_bounds(mean, np.sqrt(variance / n), n, ERROR, tuned_rows=1000)
    missed = ((low > 3.0) | (high < 3.0))[:, 100:].any(axis=1).mean()
    assert missed <= TOLERATED


def test_harm_is_found_within_a_few_hundred_rows():
    assert is_shown(share_above(15, 300, 0.01), 1e-4)
    assert is_shown(difference_above(15, 300, 20, 5700), 1e-4)
    assert is_shown(paired_above(60, 0, 300, 0.1), 1e-3)
    assert is_shown(mean_above(MeanSums.of(np.repeat([1.0, 0.0], [100, 200])), 0.1), 1e-4)


@settings(max_examples=10, deadline=None)
@given(
    rows=st.integers(1, 5000),
    others=st.integers(1, 5000),
    share=st.floats(0, 1),
    other=st.floats(0, 1),
)
def test_every_interval_holds_its_estimate_and_one_of_less_error_is_wider(
    rows, others, share, other
):
    k, j = round(share * rows), round(other * others)
    for bounds, estimate in (
        (lambda error: share_bounds(k, rows, error), k / rows),
        (lambda error: difference_bounds(k, rows, j, others, error), k / rows - j / others),
        (lambda error: paired_bounds(k, rows - k, rows, error), (2 * k - rows) / rows),
        (lambda error: mean_bounds(MeanSums(rows, rows, k, rows, k, k), error), k / rows),
    ):
        low, high = bounds(0.1)
        wider_low, wider_high = bounds(0.001)
        assert wider_low - 1e-9 <= low <= estimate + 1e-9
        assert estimate - 1e-9 <= high <= wider_high + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 400),
    hits=st.floats(0, 1),
    others=st.integers(1, 400),
    other_hits=st.floats(0, 1),
    limit=st.floats(0.001, 0.9),
)
def test_evidence_rises_with_every_hit_and_falls_with_the_limit(
    rows, hits, others, other_hits, limit
):
    k, j = round(hits * (rows - 1)), round(other_hits * others)
    higher = min(limit + 0.05, 0.99)
    tolerance = 1e-6
    assert share_above(k + 1, rows, limit) >= share_above(k, rows, limit) - tolerance
    assert share_above(k, rows, limit) >= share_above(k, rows, higher) - tolerance
    assert (
        paired_above(k + 1, 0, rows, limit) >= paired_above(k, min(1, rows - k), rows, limit)
    ) or k == rows
    step = difference_above(k, rows, j, others, limit)
    assert step >= difference_above(k, rows, j, others, higher) - tolerance


def test_nothing_seen_is_no_evidence_and_an_interval_of_everything():
    assert share_above(0, 0, 0.1) == pytest.approx(0)
    assert difference_above(0, 0, 5, 10) <= 0
    assert mean_above(MeanSums(), 0.1) == pytest.approx(0)
    assert share_bounds(0, 0, 0.05) == pytest.approx((0, 1), abs=1e-9)
    assert paired_bounds(0, 0, 0, 0.05) == pytest.approx((-1, 1), abs=1e-9)
    assert mean_bounds(MeanSums(), 0.05) == pytest.approx((0, 1), abs=1e-9)


def test_sums_travel_as_json_and_add_up_in_any_order():
    rng = np.random.default_rng(6)
    values, weights = rng.random(50), rng.uniform(0, 3, 50)
    whole = MeanSums.of(values, weights)
    order = rng.permutation(50)
    parts = MeanSums.of(values[order[:20]], weights[order[:20]])
    kept = MeanSums(*json.loads(json.dumps(parts.as_list())))
    parts = kept.plus(MeanSums.of(values[order[20:]], weights[order[20:]]))
    assert parts.as_list() == pytest.approx(whole.as_list())
    assert whole.mean == pytest.approx(np.average(values, weights=weights))
    assert np.isnan(MeanSums().mean)


def test_a_weighted_mean_of_limits_other_than_one_is_held_on_its_own_scale():
    values = np.random.default_rng(7).uniform(-20, 60, 4000)
    low, high = mean_bounds(MeanSums.of(values), 0.05, low=-20, high=60)
    assert low < 20 < high
    assert high - low < 6
