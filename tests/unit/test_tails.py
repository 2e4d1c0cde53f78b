"""P-values at small levels: every way that chance may deal the rows to two sides is counted."""

from itertools import combinations, product
from math import comb, prod

import numpy as np
import pytest
from scipy.stats import ks_2samp

from tidegate.monitoring.tails import (
    drawn_p_value,
    higher_ranks,
    homogeneity,
    kolmogorov_smirnov,
)


def deals(pooled, taken):
    """Yield both sides of every deal of pooled values, so many of them to the second side."""
    for chosen in combinations(range(len(pooled)), taken):
        new = np.zeros(len(pooled), dtype=bool)
        new[list(chosen)] = True
        yield pooled[~new], pooled[new]


def assert_holds(p_values, weights, levels):
    for level in levels:
        assert weights[p_values <= level].sum() <= level * (1 + 1e-9), level


@pytest.mark.parametrize("pooled", [np.arange(12.0), np.array([0.0] * 5 + [1, 1, 2, 3, 4, 5, 6])])
def test_distances_of_distribution_functions_are_as_rare_as_they_say(pooled):
    p_values = np.array([kolmogorov_smirnov(*sides, distance=1) for sides in deals(pooled, 6)])
    assert_holds(p_values, np.full(len(p_values), 1 / len(p_values)), np.unique(p_values))
    assert p_values.min() < 0.03, "the farthest deals are found"


def test_a_bound_stands_in_where_rows_are_too_many_to_count_paths():
    rng = np.random.default_rng(0)
    few = rng.normal(size=1000), rng.normal(0.2, size=1000)
    many = rng.normal(size=2000), rng.normal(0.2, size=2000)
    for sides in (few, many):
        exact, distance = ks_2samp(*sides, method="exact")[1::-1]
        found = kolmogorov_smirnov(*sides, distance=distance)
        assert exact * (1 - 1e-9) <= found <= 1.3 * exact


@pytest.mark.parametrize(("margin", "taken"), [((6, 4, 3), 5), ((20, 1, 1), 3)])
def test_counts_of_few_rows_alarm_no_more_often_than_their_level(margin, taken):
    level = 0.01
    tables = [t for t in product(*(range(n + 1) for n in margin)) if sum(t) == taken]
    ways = np.array([prod(comb(n, k) for n, k in zip(margin, t, strict=True)) for t in tables])
    weights = ways / comb(sum(margin), taken)
    p_values = np.array(
        [
            homogeneity(
                np.array(margin) - table, np.array(table), approximate=0.0, level=level, seed=seed
            )
            for seed, table in enumerate(tables)
        ]
    )
    # Draws blur a p-value near the level; the ends of the halves lie well below and above it.
    assert_holds(p_values, weights, [level / 2, level])
    assert weights.sum() == pytest.approx(1)


def test_a_new_category_is_found_among_a_thousand_old_ones():
    old, window = np.full(1001, 20), np.full(1001, 4)
    old[-1], window[-1] = 0, 30
    alike = {"approximate": 0.9, "level": 1e-5, "seed": 0}
    assert homogeneity(old, window, **alike) < 1e-10, "whatever all categories together say"
    window[-1] = 0
    assert homogeneity(old, window, **alike) == 0.9


def test_a_small_change_of_every_category_is_found_by_all_of_them_together():
    before, after = np.full(20, 200), np.full(20, 200)
    after[::2] += 80
    found = homogeneity(before, after, approximate=0.0, level=1e-3, seed=0)
    assert found <= 1e-3


@pytest.mark.parametrize("pooled", [np.arange(14.0), np.array([0.0] * 12 + [1.0, 2.0])])
def test_ranks_are_as_rare_as_they_say_with_ties_or_without(pooled):
    level = 0.01
    p_values = np.array(
        [
            higher_ranks(new, old, level=level, seed=seed)[0]
            for seed, (old, new) in enumerate(deals(pooled, 3))
        ]
    )
    share = (p_values <= level).mean()
    blur = 3 * np.sqrt(level / len(p_values))  # each p-value is drawn anew
    assert share <= level + blur
    assert higher_ranks(np.arange(10.0) + 20, np.arange(10.0), level=level, seed=0)[0] <= level


def test_draws_go_on_to_twice_the_inverse_of_the_level_and_end_early_where_they_may():
    made = []
    p_value = drawn_p_value(lambda draws: made.append(draws) or 0, 1e-3)
    assert 2000 <= sum(made) <= 2400
    assert p_value == 1 / (sum(made) + 1)
    made.clear()
    assert drawn_p_value(lambda draws: made.append(draws) or draws // 2, 1e-3) > 0.4
    assert sum(made) <= 400
