import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given
from hypothesis import strategies as st

from tidegate.models.selection import select_columns


def matrix(*columns):
    return sp.csr_matrix(np.column_stack(columns).astype(np.float32))


def test_the_columns_that_tell_the_classes_apart_are_chosen():
    random = np.random.default_rng(0)
    y = (random.random(500) < 0.3).astype(np.int8)
    noise = random.random((500, 8)) < 0.1
    helpful, harmful = (y == 1) & (random.random(500) < 0.4), (y == 0) & (random.random(500) < 0.4)
    X = matrix(noise, helpful, harmful)
    np.testing.assert_array_equal(select_columns(X, y, np.ones(500), 2), [8, 9])


def test_a_column_that_most_rows_fill_is_kept_whatever_its_correlation():
    random = np.random.default_rng(0)
    y = (random.random(500) < 0.5).astype(np.int8)
    number = np.where(y == 1, random.choice([-2.0, 2.0], 500), random.normal(0, 0.1, 500))
    word = y * (random.random(500) < 0.5)
    np.testing.assert_array_equal(select_columns(matrix(number, word), y, np.ones(500), 1), [0, 1])


def test_a_constant_column_is_never_chosen():
    y = np.tile([0, 1], 50).astype(np.int8)
    np.testing.assert_array_equal(
        select_columns(matrix(np.full(100, 0.3), y), y, np.ones(100), 2), [1]
    )


def test_a_matrix_of_constants_leaves_one_column_to_learn_from():
    y = np.tile([0, 1], 5).astype(np.int8)
    np.testing.assert_array_equal(
        select_columns(matrix(np.zeros(10), np.ones(10)), y, np.ones(10), 2), [0]
    )


@given(st.integers(0, 1000), st.integers(1, 12))
def test_the_choice_is_that_of_numpys_correlation_on_repeated_rows(seed, count):
    random = np.random.default_rng(seed)
    y = np.tile([0, 1], 20).astype(np.int8)
    values = random.normal(size=(40, 12)) * (random.random((40, 12)) < 0.4)
    times = random.integers(1, 4, 40)
    chosen = select_columns(matrix(values), y, times.astype(np.float64), count)
    repeated = np.repeat(values, times, axis=0)
    filled = (repeated != 0).mean(axis=0)
    assume((np.abs(filled - 0.5) > 1e-9).all())
    mostly_filled = filled > 0.5
    strength = np.abs(np.corrcoef(repeated.T, np.repeat(y, times))[-1, :-1])
    expected = set(np.argsort(-strength)[:count]) | set(np.flatnonzero(mostly_filled))
    assert set(chosen) == expected
    assert (np.diff(chosen) > 0).all()


def test_weights_decide_which_column_is_chosen():
    y = np.array([0, 1, 0, 1], dtype=np.int8)
    X = matrix([0, 1, 0, 0], [0, 0, 0, 1])
    first = select_columns(X, y, np.array([1, 9, 9, 1.0]), 1)
    second = select_columns(X, y, np.array([1, 1, 9, 9.0]), 1)
    assert (first.tolist(), second.tolist()) == ([0], [1])


@pytest.mark.parametrize("count", [1, 3])
def test_the_count_is_kept(count):
    random = np.random.default_rng(1)
    y = np.tile([0, 1], 50).astype(np.int8)
    X = matrix(random.random((100, 6)) < 0.3)
    assert len(select_columns(X, y, np.ones(100), count)) == count
