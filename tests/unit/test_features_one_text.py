"""The terms of one text are those that it has among others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import FeatureConfig
from tidegate.features.text import TFIDF_CHAR, TFIDF_INNER, TFIDF_WORD

RECORDS = (TFIDF_WORD, TFIDF_CHAR, TFIDF_INNER)
TRAINING = [
    "don't stop the fox, the FOX!!",
    "a b cd  é ÉCOLE école don ' t",
    "日本語 テキスト Straße İstanbul x",
    "the fox and the dog_1 and the fox ...",
]
FITTED = [record.build(FeatureConfig()).fit(TRAINING, np.zeros(4, np.int8)) for record in RECORDS]
PIECES = st.sampled_from([*" ".join(TRAINING).split(), "unseen", "fo", "\t", "\n", "☃", "'"])


@pytest.mark.parametrize("fitted", FITTED, ids=[record.name for record in RECORDS])
@given(pieces=st.lists(PIECES, max_size=12), glue=st.sampled_from([" ", "", "  "]))
def test_a_text_by_itself_has_the_features_that_it_has_beside_another(fitted, pieces, glue):
    text = glue.join(pieces)
    alone, together = fitted.transform([text]), fitted.transform([text, "the fox"])[0]
    assert alone.indices.tolist() == together.indices.tolist()
    np.testing.assert_allclose(alone.data, together.data, rtol=1e-6)
    assert (alone.dtype, alone.shape) == (together.dtype, together.shape)


def test_a_word_seen_with_a_blank_is_known_without_it():
    fitted = FITTED[0]
    assert (
        fitted.transform(["don't"]).indices.tolist()
        == fitted.transform(["don ' t"]).indices.tolist()
    )
