import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.data.duplicates import NEAR_SIMILARITY, find_duplicates, near_matches, normalise_text

WORDS = np.array(
    ["".join(w) for w in np.random.default_rng(1).choice(list("abcdefghij"), (500, 6))]
)


def _texts(rows, seed, words=20):
    return [" ".join(row) for row in np.random.default_rng(seed).choice(WORDS, (rows, words))]


def _shingles(text):
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def _similarity(left, right):
    a, b = _shingles(left), _shingles(right)
    return len(a & b) / len(a | b)


def test_exact_duplicates_of_training_are_counted_and_dropped():
    texts = ["One two", "one  TWO ", "one two", "fresh", "", "", ""]
    codes = np.array([0, 0, 1, 2, 0, 1, 2], dtype=np.int8)
    keep, summary = find_duplicates(texts, codes, drop=True)
    assert keep.tolist() == [True, True, False, True, True, True, True]
    assert summary.exact_within_train == 1
    assert summary.exact_train_validation == summary.dropped_validation == 1
    assert summary.exact_train_holdout == summary.dropped_holdout == 0


def test_published_splits_are_counted_but_keep_every_row():
    keep, summary = find_duplicates(["a", "a", "a"], np.array([0, 1, 2], dtype=np.int8), drop=False)
    assert keep.all()
    assert (summary.exact_train_validation, summary.exact_train_holdout) == (1, 1)
    assert (summary.dropped_validation, summary.dropped_holdout) == (0, 0)


def test_near_duplicates_are_found_and_are_not_counted_as_exact():
    train = _texts(50, seed=2, words=40)
    codes = np.array([0] * 50 + [1, 2, 2], dtype=np.int8)
    edited = train[7][:-1] + "!"
    _, summary = find_duplicates([*train, edited, edited, "unrelated words"], codes, drop=True)
    assert (summary.near_train_validation, summary.near_train_holdout) == (1, 1)
    assert summary.exact_train_validation == summary.dropped_validation == 0


def test_nearly_all_pairs_above_the_similarity_are_found_and_none_below():
    known = _texts(300, seed=3, words=30)
    rng = np.random.default_rng(4)
    queries = []
    for text in known:
        letters = list(text)
        for at in rng.integers(0, len(letters), rng.integers(1, 6)):
            letters[at] = "z"
        queries.append("".join(letters))
    similar = np.array([_similarity(q, k) for q, k in zip(queries, known, strict=True)])
    wanted = similar >= NEAR_SIMILARITY
    found = near_matches(queries, known)
    assert 50 < wanted.sum() < 250
    assert found[wanted].mean() > 0.98
    assert not found[~wanted].any()


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=12), st.lists(st.text(max_size=40), max_size=12))
def test_a_match_always_has_the_true_similarity(queries, known):
    found = near_matches(queries, known)
    for query, matched in zip(queries, found, strict=True):
        if matched:
            best = max(_similarity(query.ljust(5, "\0"), k.ljust(5, "\0")) for k in known)
            assert best >= NEAR_SIMILARITY


@settings(deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing_for_case_and_space(text):
    once = normalise_text(text)
    assert normalise_text(f"  {once} \n") == normalise_text(once)


@pytest.mark.timeout(60)
def test_twenty_thousand_short_texts_take_seconds():
    texts = _texts(20_000, seed=5, words=18)
    codes = np.array([0] * 14_000 + [1] * 3_000 + [2] * 3_000, dtype=np.int8)
    start = time.process_time()
    find_duplicates(texts, codes, drop=True)
    assert time.process_time() - start < 20


def test_a_template_posted_thousands_of_times_stays_cheap():
    template = " ".join(WORDS[:60])
    texts = [f"{template} {number:05d}" for number in range(6_000)]
    codes = np.array([0] * 4_000 + [2] * 2_000, dtype=np.int8)
    start = time.process_time()
    _, summary = find_duplicates(texts, codes, drop=True)
    assert summary.near_train_holdout == 2_000
    assert time.process_time() - start < 20
