"""Matrices made without SciPy's checks are the ones that SciPy makes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from tidegate.features.sparse_rows import counted, joined, of_dense, picked

shapes = st.tuples(st.integers(1, 6), st.integers(1, 9))


@st.composite
def tables(draw, rows=None):
    height, width = draw(shapes)
    cells = st.sampled_from([0.0, 0.0, 1.0, -2.5])
    height = rows or height
    table = draw(st.lists(cells, min_size=height * width, max_size=height * width))
    return np.array(table, dtype=np.float32).reshape(height, width)


def assert_same(made, expected):
    expected.sort_indices()
    assert made.shape == expected.shape
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made.indptr, expected.indptr)
    np.testing.assert_array_equal(made.indices, expected.indices)
    np.testing.assert_array_equal(made.data, expected.data)


@given(
    shapes.flatmap(
        lambda shape: st.tuples(
            st.just(shape),
            st.lists(
                st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1)), max_size=30
            ),
        )
    )
)
def test_pairs_are_counted_as_scipy_adds_them_up(given):
    shape, pairs = given
    row, column = (
        (np.array(values, dtype=np.int64) for values in zip(*pairs, strict=True))
        if (pairs)
        else (np.zeros(0, dtype=np.int64),) * 2
    )
    ones = np.ones(len(pairs), dtype=np.float32)
    assert_same(counted(row, column, shape), sparse.csr_matrix((ones, (row, column)), shape=shape))


@given(tables())
def test_a_dense_table_keeps_what_is_not_zero(table):
    assert_same(of_dense(table), sparse.csr_matrix(table))


@given(st.integers(1, 6).flatmap(lambda rows: st.lists(tables(rows), min_size=1, max_size=4)))
def test_blocks_side_by_side_are_those_that_scipy_stacks(parts):
    made = joined([sparse.csr_matrix(part) for part in parts[:2]] + parts[2:])
    assert_same(made, sparse.csr_matrix(np.hstack(parts)))


@given(tables(), st.data())
def test_picked_columns_are_those_of_the_table_without_stored_zeros(table, data):
    columns = np.array(sorted(data.draw(st.sets(st.integers(0, table.shape[1] - 1), min_size=1))))
    X = sparse.csr_matrix(table)
    X.data[::2] = 0.0
    expected = sparse.csr_matrix(X.toarray()[:, columns])
    assert_same(picked(X, columns), expected)
