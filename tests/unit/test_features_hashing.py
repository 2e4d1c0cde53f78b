"""Hashed terms: no vocabulary, the same families, a bounded and stateless block."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.features.hashing import HASH_WORD
from tidegate.records import Column

HASHED = FeatureConfig(terms="hashed", hashed_bits=12, embedding="none")
ROWS = pd.DataFrame({"body": ["win a prize", "lunch at noon", "", "noon prize"] * 5})
Y = np.array([1, 0, 0, 1] * 5, dtype=np.int8)


def featurizer(config=HASHED):
    return Featurizer.fit(ROWS, (Column(name="body", kind="text"),), Y, config)


def test_the_families_are_those_of_a_vocabulary_and_their_width_is_bounded():
    blocks = featurizer().blocks
    assert {b.family: b.width for b in blocks if b.family != "statistics"} == {
        "words": 4096,
        "chars": 4096,
        "inner": 4096,
    }
    assert not any(block.name.startswith("body:tfidf") for block in blocks)


def test_a_kind_of_term_that_is_left_out_is_left_out_hashed_too():
    config = HASHED.model_copy(update={"max_inner_features": 0})
    assert "inner" not in {block.family for block in featurizer(config).blocks}


def test_a_word_that_training_never_saw_has_a_column_of_its_own(tmp_path):
    fitted = featurizer()
    fitted.save(tmp_path)
    rows = {"body": ["prize", "zebra"]}
    known, new = fitted.transform(rows).part(fitted.blocks[0]).toarray()
    assert known.any()
    assert new.any()
    assert not (known * new).any()
    again = Featurizer.load(tmp_path).transform(rows).part(fitted.blocks[0])
    assert (again.toarray() == [known, new]).all()
    assert (tmp_path / "block_00_hash_word.json").stat().st_size < 100


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.integers(8, 22))
def test_rows_have_unit_length_or_nothing_and_no_column_below_zero(texts, bits):
    block = HASH_WORD.build(FeatureConfig(terms="hashed", hashed_bits=bits))
    X = block.fit(texts, Y).transform(texts)
    assert X.shape == (len(texts), 2**bits)
    assert (X.data > 0).all()
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    assert all(abs(length - 1) < 1e-5 or length == 0 for length in lengths)
    assert [text for text, length in zip(texts, lengths, strict=True) if text.split()] == [
        text for text, length in zip(texts, lengths, strict=True) if length
    ]
