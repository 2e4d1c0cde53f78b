"""TF-IDF with scikit-learn's figures, without scikit-learn at scoring."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tidegate.config import FeatureConfig
from tidegate.features import text
from tidegate.features.text import TFIDF_CHAR, TFIDF_WORD

TEXTS = [
    "The quick brown fox, the QUICK dog",
    "a b cd  é ÉCOLE école",
    "don't stop\tstop\nstop!!",
    "",
    "日本語 テキスト",
    "Straße İstanbul",
    "x",
    "the fox and the dog and the fox",
] * 2
LABELS = np.zeros(len(TEXTS), dtype=np.int8)


def folded(text: str) -> str:
    return " ".join(text.lower().split())


REFERENCES = [
    pytest.param(TFIDF_WORD, {"analyzer": "word", "ngram_range": (1, 2)}, id="word"),
    pytest.param(
        TFIDF_CHAR,
        {"analyzer": "char", "ngram_range": (3, 5), "preprocessor": folded},
        id="char",
    ),
]


@pytest.mark.parametrize(("record", "params"), REFERENCES)
def test_the_features_are_those_of_scikit_learn(record, params):
    block = record.build(FeatureConfig(min_rows_with_term=2)).fit(TEXTS, LABELS)
    reference = TfidfVectorizer(**params, sublinear_tf=True, min_df=2).fit(TEXTS)
    rows = [*TEXTS, "the unseen fox", "dog " * 100]
    assert list(block.get_feature_names_out()) == list(reference.get_feature_names_out())
    np.testing.assert_allclose(
        block.transform(rows).toarray(), reference.transform(rows).toarray(), atol=1e-6
    )


@pytest.mark.parametrize(("record", "params"), REFERENCES)
def test_the_vocabulary_is_bounded_and_keeps_the_commonest_terms(record, params):
    config = FeatureConfig(max_word_features=3, max_char_features=3, min_rows_with_term=1)
    terms = record.build(config).fit(TEXTS, LABELS).get_feature_names_out()
    reference = TfidfVectorizer(**params, max_features=3).fit(TEXTS)
    assert list(terms) == list(reference.get_feature_names_out())


def test_a_term_must_occur_in_enough_rows():
    rows = ["common rare", "common", "common other other"]
    block = TFIDF_WORD.build(FeatureConfig(min_rows_with_term=2)).fit(rows, LABELS[:3])
    assert list(block.get_feature_names_out()) == ["common"]


def test_rows_with_a_known_term_have_unit_length_and_the_others_none():
    block = TFIDF_WORD.build(FeatureConfig()).fit(TEXTS, LABELS)
    lengths = np.linalg.norm(block.transform(["the fox", "nothing known", ""]).toarray(), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("record", [TFIDF_WORD, TFIDF_CHAR])
def test_chunks_do_not_change_the_features(record, monkeypatch):
    block = record.build(FeatureConfig()).fit(TEXTS, LABELS)
    whole = block.transform(TEXTS)
    monkeypatch.setattr(text, "_CHUNK_CHARACTERS", 30)
    monkeypatch.setattr(text, "_CHUNK_ROWS", 3)
    assert (block.transform(TEXTS) != whole).nnz == 0


def test_a_full_cache_of_words_does_not_change_the_features(monkeypatch):
    whole = TFIDF_CHAR.build(FeatureConfig()).fit(TEXTS, LABELS).transform(TEXTS)
    block = TFIDF_CHAR.build(FeatureConfig()).fit(TEXTS, LABELS)
    monkeypatch.setattr(text, "_MAX_CACHED_WORDS", 2)
    assert (block.transform(TEXTS) != whole).nnz == 0
    assert len(block._columns_of_piece) <= 2


def test_a_training_table_beyond_the_character_bound_is_read_in_even_steps(monkeypatch):
    monkeypatch.setattr(text, "MAX_FIT_CHARACTERS", 40)
    rows = ["aaaa bbbb", "cccc dddd"] * 10
    block = TFIDF_WORD.build(FeatureConfig(min_rows_with_term=1)).fit(rows, np.zeros(20, np.int8))
    assert 0 < len(block.get_feature_names_out()) <= 6


def test_restoring_and_scoring_need_neither_scikit_learn_nor_pandas():
    code = (
        "import sys, numpy as np\n"
        "from tidegate.features.featurizer import Featurizer\n"
        "from tidegate.features.text import TFIDF_WORD\n"
        "block = TFIDF_WORD.restore(({'max_features': 2, 'min_rows': 1, 'terms': ['ab', 'cd']},"
        " {'idf': np.ones(2)}))\n"
        "assert block.transform(['ab cd', '']).nnz == 2\n"
        "print(sorted({'sklearn', 'pandas', 'xgboost'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
