"""What every feature transformer of the catalogue must do, ours or a third party's."""

import functools
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from tests.unit.tiny_encoder import write_tiny_encoder
from tidegate.config import FeatureConfig
from tidegate.features.catalogue import transformers

TRAIN = {
    "text": ["win a free prize now", "lunch at noon", "free lunch", "noon prize", "", None] * 3,
    "numeric": [1.0, 2.5, None, -3.0, float("nan"), 1e6] * 3,
    "categorical": ["red", "blue", "red", None, "", "green"] * 3,
}
MISSING = [None, float("nan"), ""]
UNSEEN = {
    "text": ["unheard-of wording", "zzzz", "!!! ???"],
    "numeric": [1e300, -1e300, 5],
    "categorical": ["violet", "RED", " red"],
}
ODD_TEXTS = [
    "😀👩‍👩‍👧 free",
    "שלום עולם",
    "مرحبا free",
    "\ud83d alone",
    "\udc00",
    "\x00\u200b\ufeff",
    "ﷺ" * 50,
]
EVERY = [pytest.param(record, id=record.name) for record in transformers()]
LABELS = np.array([1, 0, 1, 0, 0, 0] * 3, dtype=np.int8)


@functools.cache
def config(terms):
    return FeatureConfig(
        terms=terms,
        hashed_bits=9,
        max_word_features=50,
        max_char_features=80,
        min_rows_with_term=1,
        min_category_rows=2,
        encoder=str(write_tiny_encoder(Path(tempfile.mkdtemp()))),
    )


def fitted(record, values=None):
    unfitted = record.build(config("vocabulary")) or record.build(config("hashed"))
    return unfitted.fit(TRAIN[record.modality] if values is None else values, LABELS)


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def stacked(parts):
    return np.vstack([dense(part) for part in parts])


def assert_same(left, right):
    # Floating-point sums of dense blocks depend on how many rows are multiplied at once.
    tolerance = 1e-9 if sparse.issparse(left) else 1e-5
    assert left.shape == right.shape
    assert np.abs(dense(left) - dense(right)).max(initial=0) <= tolerance


@pytest.mark.parametrize("record", EVERY)
def test_a_block_is_float32_csr_or_dense_with_one_named_feature_a_column(record):
    block = fitted(record)
    X = block.transform(TRAIN[record.modality])
    names = list(block.get_feature_names_out())
    assert X.format == "csr" if sparse.issparse(X) else isinstance(X, np.ndarray)
    assert X.dtype == np.float32
    assert X.shape == (len(LABELS), len(names))
    assert dense(X).any()
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("record", EVERY)
def test_fitting_twice_gives_the_same_features(record):
    values = TRAIN[record.modality]
    assert_same(fitted(record).transform(values), fitted(record).transform(values))


@pytest.mark.parametrize("record", EVERY)
def test_a_block_restored_from_json_and_arrays_gives_the_same_features(record):
    block = fitted(record)
    values, arrays = block.state()
    assert all(array.dtype != object for array in arrays.values())
    restored = record.restore((json.loads(json.dumps(values)), dict(arrays)))
    rows = [*TRAIN[record.modality], *UNSEEN[record.modality], *MISSING]
    assert_same(block.transform(rows), restored.transform(rows))
    assert list(block.get_feature_names_out()) == list(restored.get_feature_names_out())


@pytest.mark.parametrize("record", EVERY)
def test_rows_do_not_know_each_other(record):
    block = fitted(record)
    rows = [*TRAIN[record.modality], *UNSEEN[record.modality], *MISSING]
    one_by_one = stacked(block.transform([row]) for row in rows)
    assert_same(block.transform(rows), one_by_one)
    assert_same(block.transform(rows[::-1]), one_by_one[::-1])


@pytest.mark.parametrize("record", EVERY)
def test_none_nan_and_the_empty_text_are_the_same_missing_cell(record):
    X = dense(fitted(record).transform(MISSING))
    assert np.isfinite(X).all()
    assert np.ptp(X, axis=0).max() == 0


@pytest.mark.parametrize("record", EVERY)
def test_unseen_values_give_finite_features(record):
    assert np.isfinite(dense(fitted(record).transform(UNSEEN[record.modality]))).all()


@pytest.mark.parametrize("record", EVERY)
def test_values_of_another_type_are_read_and_not_fatal(record):
    X = fitted(record).transform([7, 7.5, True, "7", "x", [1], {"a": 1}, b"x", 10**400])
    assert X.shape[0] == 9
    assert np.isfinite(dense(X)).all()


@pytest.mark.parametrize("record", EVERY)
def test_no_rows_give_no_rows(record):
    block = fitted(record)
    assert block.transform([]).shape == (0, len(block.get_feature_names_out()))


@pytest.mark.parametrize("record", EVERY)
def test_training_values_that_are_all_missing_can_be_fitted(record):
    block = fitted(record, [None, float("nan"), ""] * 6)
    X = block.transform(TRAIN[record.modality])
    assert X.shape == (len(LABELS), len(block.get_feature_names_out()))
    assert np.isfinite(dense(X)).all()


@pytest.mark.parametrize("record", EVERY)
def test_odd_unicode_is_learned_saved_and_restored(record):
    block = fitted(record, ODD_TEXTS * 2 + ["free"] * 4)
    values, arrays = block.state()
    stored = json.dumps(values, ensure_ascii=False).encode("utf-8")
    restored = record.restore((json.loads(stored), dict(arrays)))
    assert_same(block.transform(ODD_TEXTS), restored.transform(ODD_TEXTS))


@pytest.mark.parametrize("record", EVERY)
@pytest.mark.parametrize("text", ["x" * 1_000_000, "free prize " * 90_000], ids=["word", "words"])
def test_a_text_of_a_megabyte_is_read_in_seconds(record, text):
    block = fitted(record)
    started = time.perf_counter()
    X = block.transform([text])
    assert time.perf_counter() - started < 20
    assert X.shape[0] == 1
    assert np.isfinite(dense(X)).all()
