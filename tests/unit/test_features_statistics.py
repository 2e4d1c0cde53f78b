"""How a text is written, in numbers."""

import numpy as np
import pytest

from tidegate.config import FeatureConfig
from tidegate.features.statistics import NAMES, STATISTICS, describe


def said(text):
    return dict(zip(NAMES, describe(text), strict=True))


def test_counts_shares_and_entropy_are_those_of_the_text():
    found = said("WIN aa aa 12!!")
    assert found["characters"] == pytest.approx(np.log1p(14))
    assert found["words"] == pytest.approx(np.log1p(4))
    assert found["capitals"] == pytest.approx(3 / 7)
    assert found["shouted_words"] == pytest.approx(1 / 4)
    assert found["digits"] == pytest.approx(2 / 14)
    assert found["signs"] == pytest.approx(2 / 14)
    assert found["distinct_words"] == pytest.approx(3 / 4)
    assert said("aaaa")["entropy"] == 0
    assert said("abab")["entropy"] == pytest.approx(1)


def test_the_scripts_share_the_letters():
    found = said("ab да 日本語 12")
    assert found["latin"] == pytest.approx(2 / 7)
    assert found["cyrillic"] == pytest.approx(2 / 7)
    assert found["cjk"] == pytest.approx(3 / 7)
    assert found["other_script"] == 0


def test_tricks_that_cleaning_undoes_are_counted():
    found = said("https://a.example @me 😀😀 soooo \u200b\u200b")
    expected = {"urls": 1, "users": 1, "emoji": 2, "repeats": 1, "invisible": 2}
    assert {name: round(np.expm1(found[name])) for name in expected} == expected


def test_training_rows_have_mean_zero_and_together_the_length_of_a_tfidf_row():
    texts = [f"{'word ' * n}{'!' * (n % 3)} {n}" for n in range(1, 40)]
    block = STATISTICS.build(FeatureConfig()).fit(texts, np.zeros(39, np.int8))
    X = block.transform(texts).toarray()
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-5)
    assert np.square(X).sum(axis=1).mean() <= 1 + 1e-5


def test_an_outlier_is_large_and_no_more():
    block = STATISTICS.build(FeatureConfig()).fit(["aa b", "a bb c"] * 5, np.zeros(10, np.int8))
    X = block.transform(["!" * 1_000_000])
    assert np.abs(X.data).max() <= 10 / np.sqrt(len(NAMES)) + 1e-6
