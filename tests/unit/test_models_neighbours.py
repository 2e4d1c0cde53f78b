"""The nearest rows: all of them compared, or those of the near clusters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.models import neighbours
from tidegate.models.neighbours import build_index


def rows_of(count, width=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 30), st.integers(0, 9), st.integers(0, 1000))
def test_of_few_rows_the_nearest_are_exact_and_in_order(rows, reach, questions, seed):
    vectors, asked = rows_of(rows, seed=seed), rows_of(max(questions, 1), seed=seed + 1)
    asked, reach = asked[:questions], min(reach, rows)
    products, places = build_index(vectors, seed=0).nearest(asked, reach)
    assert products.shape == places.shape == (questions, reach)
    truth = np.sort(asked @ vectors.T, axis=1)[:, ::-1][:, :reach]
    np.testing.assert_allclose(products, truth, atol=1e-6)
    found = np.take_along_axis(asked @ vectors.T, places, axis=1)
    np.testing.assert_allclose(found, truth, atol=1e-6)


@pytest.fixture
def clustered(monkeypatch):
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 100)
    vectors = rows_of(2000, width=4)
    return vectors, build_index(vectors, seed=0)


def test_of_many_rows_a_tenth_of_the_clusters_is_read_and_nearly_all_is_found(clustered):
    vectors, index = clustered
    products, places = index.nearest(vectors[:200], 10)
    assert (places[:, 0] == np.arange(200)).all(), "a row is the nearest to itself"
    np.testing.assert_allclose(
        products, np.take_along_axis(vectors[:200] @ vectors.T, places, axis=1), atol=1e-6
    )
    truth = np.argsort(-(vectors[:200] @ vectors.T), axis=1)[:, :10]
    shared = [len(set(ours) & set(theirs)) for ours, theirs in zip(places, truth, strict=True)]
    assert np.mean(shared) > 9


def test_where_near_clusters_hold_too_few_rows_the_rest_is_marked(clustered):
    vectors, index = clustered
    products, places = index.nearest(vectors[:3], 1500)
    found = places >= 0
    assert 0 < found.sum(axis=1).max() < 1500
    assert np.isneginf(products[~found]).all()
    assert np.isfinite(products[found]).all()


def test_questions_in_blocks_have_the_answers_of_all_at_once(clustered, monkeypatch):
    vectors, index = clustered
    whole = index.nearest(vectors[:50], 5)
    monkeypatch.setattr(neighbours, "_BLOCK_PAIRS", 1)
    for one, other in zip(index.nearest(vectors[:50], 5), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_same_seed_gives_the_same_index(monkeypatch):
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 100)
    one, other = (build_index(rows_of(500), seed=3) for _ in range(2))
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name))
