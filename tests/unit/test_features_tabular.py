"""Numbers and categories, whatever a table or a request puts into them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import FeatureConfig
from tidegate.features.cells import as_category, as_numbers, as_text, is_missing
from tidegate.features.tabular import CATEGORICAL, NUMERIC

CONFIG = FeatureConfig(min_category_rows=3)
NUMBERS = st.one_of(st.none(), st.floats(), st.integers(), st.booleans())
CELLS = st.one_of(NUMBERS, st.text(st.characters(), max_size=5), st.sampled_from("abc"))


def numeric(values):
    return NUMERIC.build(CONFIG).fit(values, np.zeros(len(values), np.int8))


def categorical(values):
    return CATEGORICAL.build(CONFIG).fit(values, np.zeros(len(values), np.int8))


def test_training_numbers_are_standardised():
    values = np.random.default_rng(0).normal(50, 7, size=500)
    scaled = numeric(values).transform(values).toarray()[:, 0]
    assert scaled.mean() == pytest.approx(0, abs=1e-5)
    assert scaled.std() == pytest.approx(1, abs=1e-5)


def test_a_missing_number_takes_the_median_and_says_so():
    block = numeric([1.0, 2.0, 100.0, None])
    rows = block.transform([2.0, None, math.inf, -math.inf, "", "no number"]).toarray()
    assert (rows[1:, 0] == rows[0, 0]).all()
    assert rows[:, 1].tolist() == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e308, 5e-324, 1 / 3])
def test_a_constant_column_gives_zeros_even_for_values_it_never_had(constant):
    block = numeric([constant] * 7)
    assert block.transform([constant, 12345.0, -1e308]).toarray()[:, 0].tolist() == [0, 0, 0]


def test_a_far_value_is_clipped_at_ten_deviations():
    block = numeric([0.0, 1.0] * 10)
    assert block.transform([1e300, -1e300, 1e6]).toarray()[:, 0].tolist() == [10, -10, 10]


@given(train=st.lists(NUMBERS, min_size=1, max_size=30), rows=st.lists(NUMBERS, max_size=10))
@settings(max_examples=150, deadline=None)
def test_numbers_of_any_size_give_bounded_finite_features(train, rows):
    X = numeric(train).transform([*train, *rows]).toarray()
    assert np.isfinite(X).all()
    assert (np.abs(X[:, 0]) <= 10).all()
    assert set(X[:, 1]) <= {0, 1}


@given(train=st.lists(CELLS, min_size=1, max_size=40), rows=st.lists(CELLS, max_size=10))
@settings(max_examples=150, deadline=None)
def test_every_category_has_exactly_one_slot(train, rows):
    X = categorical(train).transform([*train, *rows]).toarray()
    assert (X.sum(axis=1) == 1).all()
    assert set(np.unique(X)) <= {0, 1}


def test_rare_unseen_and_missing_categories_have_slots_of_their_own():
    block = categorical(["red"] * 3 + ["blue"] * 2 + [None])
    assert block.get_feature_names_out() == ("=red", "other", "missing")
    rows = block.transform(["red", "blue", "violet", None, "", float("nan")]).toarray()
    assert rows.argmax(axis=1).tolist() == [0, 1, 1, 2, 2, 2]


def test_a_category_called_other_is_not_the_slot_for_others():
    block = categorical(["other"] * 3)
    assert block.transform(["other", "new"]).toarray().argmax(axis=1).tolist() == [0, 1]


def test_whole_numbers_are_one_category_as_integers_and_as_floats():
    block = categorical(pd.Series([1, 1, 1, None]))  # pandas makes these floats
    assert block.get_feature_names_out()[0] == "=1"
    assert block.transform([1, 1.0, np.int64(1), "1"]).toarray()[:, 0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["a", "a", "a", None], dtype="string"),
        pd.Series(["a", "a", "a", None], dtype="category"),
        pd.Series(["a", "a", "a", None], dtype=object),
    ],
    ids=["string", "category", "object"],
)
def test_every_pandas_kind_of_text_reads_the_same(column):
    assert categorical(column).transform(column).toarray().tolist() == [
        [1, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
        [0, 0, 1],
    ]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", object])
def test_every_pandas_kind_of_number_reads_the_same(dtype):
    column = pd.Series([1, 2, None], dtype=dtype)
    np.testing.assert_array_equal(as_numbers(column), [1.0, 2.0, np.nan])


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_each_way_of_saying_nothing_is_missing(value):
    assert is_missing(value)
    assert as_text(value) == ""
    assert as_category(value) is None


@pytest.mark.parametrize("value", ["", "nan", 0, False, [], [None], np.array([1, 2])])
def test_a_value_is_not_missing(value):
    assert not is_missing(value)


def test_half_a_surrogate_pair_becomes_a_replacement_character_and_a_whole_one_its_character():
    assert as_text("a\ud83d") == "a\ufffd"
    assert as_text("\ud83d\ude00") == "😀"
    assert as_text("\ufeffbom") == "\ufeffbom"


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_stored_as_utf8(text):
    assert as_text(as_text(text).encode("utf-8").decode("utf-8")) == as_text(text)
