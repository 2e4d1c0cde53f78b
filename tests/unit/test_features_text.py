"""TF-IDF with scikit-learn's figures, without scikit-learn at scoring."""

import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tidegate.config import FeatureConfig
from tidegate.features import grams, text
from tidegate.features.text import TFIDF_CHAR, TFIDF_INNER, TFIDF_WORD

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


TOKEN = re.compile(r"\w+|[^\w\s]")
REFERENCES = [
    pytest.param(
        TFIDF_WORD,
        {"token_pattern": TOKEN.pattern, "ngram_range": (1, 3)},
        id="word",
    ),
    pytest.param(
        TFIDF_CHAR,
        {"analyzer": "char", "ngram_range": (3, 5), "preprocessor": folded},
        id="char",
    ),
    pytest.param(TFIDF_INNER, {"analyzer": "char_wb", "ngram_range": (3, 5)}, id="inner"),
]


def as_scikit_learn_says(record, term):
    return " ".join(TOKEN.findall(term)) if record is TFIDF_WORD else term


@pytest.mark.parametrize(("record", "params"), REFERENCES)
def test_the_features_are_those_of_scikit_learn(record, params):
    block = record.build(FeatureConfig(min_rows_with_term=2)).fit(TEXTS, LABELS)
    reference = TfidfVectorizer(**params, sublinear_tf=True, min_df=2).fit(TEXTS)
    rows = [*TEXTS, "the unseen fox", "dog " * 100]
    terms = [as_scikit_learn_says(record, term) for term in block.get_feature_names_out()]
    places = [reference.vocabulary_[term] for term in terms]
    assert len(set(places)) == len(reference.vocabulary_)
    np.testing.assert_allclose(
        block.transform(rows).toarray(), reference.transform(rows).toarray()[:, places], atol=1e-6
    )


def test_the_vocabulary_is_bounded_and_keeps_the_commonest_terms():
    rows = ["a a a a b b b c"] * 4
    block = TFIDF_WORD.build(FeatureConfig(max_word_features=3)).fit(rows, LABELS)
    assert list(block.get_feature_names_out()) == ["a", "a a", "b"]


def test_a_term_must_occur_in_enough_rows():
    rows = ["common rare", "common", "common other other"]
    block = TFIDF_WORD.build(FeatureConfig(min_rows_with_term=2)).fit(rows, LABELS[:3])
    assert list(block.get_feature_names_out()) == ["common"]


def test_rows_with_a_known_term_have_unit_length_and_the_others_none():
    block = TFIDF_WORD.build(FeatureConfig()).fit(TEXTS, LABELS)
    lengths = np.linalg.norm(block.transform(["the fox", "nothing known", ""]).toarray(), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("record", [TFIDF_WORD, TFIDF_CHAR, TFIDF_INNER])
def test_chunks_do_not_change_the_features(record, monkeypatch):
    block = record.build(FeatureConfig()).fit(TEXTS, LABELS)
    whole = block.transform(TEXTS)
    monkeypatch.setattr(grams, "_MAX_CHUNK_CHARACTERS", 30)
    monkeypatch.setattr(grams, "MAX_CHUNK_ROWS", 3)
    monkeypatch.setattr(text, "_MIN_UNMERGED", 5)
    again = record.build(FeatureConfig()).fit(TEXTS, LABELS)
    assert again.get_feature_names_out() == block.get_feature_names_out()
    assert (block.transform(TEXTS) != whole).nnz == 0
    assert (again.transform(TEXTS) != whole).nnz == 0


def test_the_rarest_grams_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(grams, "MAX_CHUNK_ROWS", 2)
    monkeypatch.setattr(text, "_MIN_UNMERGED", 10)
    monkeypatch.setattr(text, "_MAX_DISTINCT", 30)
    rows = [f"free prize only{number}" for number in range(100)]
    config = FeatureConfig(max_word_features=3)
    terms = TFIDF_WORD.build(config).fit(rows, LABELS).get_feature_names_out()
    assert list(terms) == ["free", "free prize", "prize"]


def test_a_training_table_beyond_the_character_bound_is_read_in_even_steps(monkeypatch):
    monkeypatch.setattr(text, "MAX_FIT_CHARACTERS", 40)
    rows = ["aaaa bbbb", "cccc dddd"] * 10
    block = TFIDF_WORD.build(FeatureConfig(min_rows_with_term=1)).fit(rows, np.zeros(20, np.int8))
    assert 0 < len(block.get_feature_names_out()) <= 6


def test_restoring_and_scoring_need_neither_scikit_learn_nor_pandas():
    code = (
        "import sys\n"
        "from tidegate.config import FeatureConfig\n"
        "from tidegate.features.featurizer import Featurizer\n"
        "from tidegate.features.text import TFIDF_WORD\n"
        "fitted = TFIDF_WORD.build(FeatureConfig()).fit(['ab', 'cd'], None)\n"
        "block = TFIDF_WORD.restore(fitted.state())\n"
        "assert block.transform(['ab cd', '']).nnz == 2\n"
        "print(sorted({'sklearn', 'pandas', 'xgboost'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
