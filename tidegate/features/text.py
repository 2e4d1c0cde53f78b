"""Text to TF-IDF features: n-grams of words, and of characters across and within words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate.config import FeatureConfig
from tidegate.features import grams
from tidegate.features.cells import as_text
from tidegate.features.grams import Cut, Hashes
from tidegate.features.interface import State, Transformer
from tidegate.features.one_text import OneText
from tidegate.features.sparse_rows import counted, one_row

# A vocabulary is learned from at most so many characters, in rows spread evenly over training.
MAX_FIT_CHARACTERS = 50_000_000
# Rows whose grams are named together, by several threads.
_NAMED_ROWS = 4 * grams.MAX_CHUNK_ROWS
# Grams that are counted apart before the counts of equal ones are added, at least.
_MIN_UNMERGED = 500_000
# Distinct grams that are counted; beyond it the rarest so far are forgotten, as lossy counting
# does (Manku & Motwani, 2002): far from the most frequent ones that are kept in the end.
_MAX_DISTINCT = 4_000_000


# Of so few grams, those of some rows, each is looked for in one call; of more, bucket by bucket.
_FEW = 3000


class Vocabulary:
    """Finds the columns of hashed grams.

    Parameters
    ----------
    hashes : ndarray of uint64, shape (terms,)
        Of each term, in column order.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._column = np.argsort(hashes).astype(np.int32)
        self._sorted = hashes[self._column]
        bits = max(4, int(hashes.size).bit_length() + 2)
        self._shift = np.uint64(48 - bits)
        buckets = np.arange((1 << bits) + 1, dtype=np.uint64) << self._shift
        self._first = np.searchsorted(self._sorted, buckets).astype(np.int32)
        self._most = int(np.diff(self._first).max(initial=0))

    def find(self, hashes: Hashes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
        """Return the places of the known grams, ascending, and the columns of these."""
        if hashes.size <= _FEW and self._sorted.size:
            place = np.minimum(np.searchsorted(self._sorted, hashes), self._sorted.size - 1)
            known = np.flatnonzero(self._sorted[place] == hashes)
            return known, self._column[place[known]]
        bucket = (hashes >> self._shift).astype(np.intp)
        at, end = self._first[bucket], self._first[bucket + 1]
        places, columns = [], []
        left = np.flatnonzero(at < end)
        at, end = at[left], end[left]
        for _ in range(self._most):
            same = self._sorted[at] == hashes[left]
            places.append(left[same])
            columns.append(self._column[at[same]])
            at = at + 1
            more = ~same & (at < end)
            left, at, end = left[more], at[more], end[more]
            if not left.size:
                break
        if not places:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.int32)
        place = np.concatenate(places)
        order = np.argsort(place)
        return place[order], np.concatenate(columns)[order]


class TextBlock:
    """TF-IDF of one kind of gram: 1 + log tf, smoothed idf, rows of unit length.

    The figures are those of scikit-learn's ``TfidfVectorizer(sublinear_tf=True)``, several times
    faster and without keeping every gram it meets; see ``benchmarks/featurize.py``.

    Parameters
    ----------
    cut : callable
        Turns texts into grams.
    max_features : int
        Terms kept, those that occur most often in training.
    min_rows : int
        Training rows a term must occur in.
    terms : sequence of str
        The vocabulary in column order, once fitted.
    idf : ndarray of float64, shape (terms,)
        Inverse document frequencies, once fitted.
    hashes : ndarray of uint64, shape (terms,)
        What the terms are known by, once fitted.
    """

    def __init__(
        self,
        cut: Cut,
        max_features: int,
        min_rows: int,
        terms: Sequence[str] = (),
        idf: npt.NDArray[np.float64] | None = None,
        hashes: Hashes | None = None,
    ) -> None:
        self._cut = cut
        self._max_features = max_features
        self._min_rows = min_rows
        self._terms = list(terms)
        self._idf = np.zeros(0) if idf is None else idf
        self._hashes = np.zeros(0, dtype=np.uint64) if hashes is None else hashes
        self._vocabulary = Vocabulary(self._hashes)
        self._one_text: OneText | None = None

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "TextBlock":
        """Learn vocabulary and idf; a column without a frequent enough term gets no features."""
        texts = _evenly_spread([as_text(value) for value in values], MAX_FIT_CHARACTERS)
        hashes, rows_with = self._frequent(texts)
        terms = self._named(texts, hashes)
        order = sorted(range(len(terms)), key=terms.__getitem__)
        idf = np.log((1 + len(texts)) / (1 + rows_with)) + 1.0
        return TextBlock(
            self._cut,
            self._max_features,
            self._min_rows,
            [terms[place] for place in order],
            idf[order],
            hashes[order],
        )

    def _frequent(self, texts: Sequence[str]) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Return the hashes of the terms to keep, and the rows that each occurs in."""
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        for part in grams.in_threads(self._counted, texts):
            parts.append(part)
            waiting = sum(hashes.size for hashes, _, _ in parts[1:])
            if waiting > max(_MIN_UNMERGED, parts[0][0].size):
                parts = [_without_the_rarest(_merged(parts))]
        hashes, times, rows_with = _merged(parts)
        enough = np.flatnonzero(rows_with >= self._min_rows)
        # The most frequent; among equals those of the smallest hash, so that fits repeat.
        kept = enough[np.lexsort((hashes[enough], -times[enough].astype(np.int64)))]
        kept = kept[: self._max_features]
        return hashes[kept], rows_with[kept].astype(np.int64)

    def _counted(self, texts: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
        """Return the distinct grams of a chunk, how often each occurs and in how many rows."""
        _, found = self._cut(texts)
        bits = np.uint64(grams.ROW_BITS)
        keys = np.concatenate([(g.hashes << bits) | g.row.astype(np.uint64) for g in found])
        keys.sort()
        fresh = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: keys.size])
        times = np.diff(np.append(fresh, keys.size)).astype(np.uint32)
        return _merged([(keys[fresh] >> bits, times, np.ones(fresh.size, dtype=np.uint32))])

    def _named(self, texts: Sequence[str], hashes: Hashes) -> list[str]:
        """Return each term as it stands where it occurs first."""
        vocabulary = Vocabulary(hashes)
        names = [""] * hashes.size
        unnamed = np.ones(hashes.size, dtype=np.bool_)

        def occurring(part: Sequence[str]) -> list[tuple[npt.NDArray[np.int64], list[str]]]:
            chunk, found = self._cut(part)
            named = []
            for gram in found:
                places, columns = vocabulary.find(gram.hashes)
                first = np.full(hashes.size, -1, dtype=np.int64)
                first[columns[::-1]] = places[::-1]  # of several the last one stays
                fresh = np.flatnonzero(unnamed & (first >= 0))
                begin, end = (of[first[fresh]].tolist() for of in (gram.begin, gram.end))
                spans = zip(begin, end, strict=True)
                named.append((fresh, [chunk.text[start:stop] for start, stop in spans]))
            return named

        # A few chunks at a time: of many texts the first ones name everything.
        for start in range(0, len(texts), _NAMED_ROWS):
            for part in grams.in_threads(occurring, texts[start : start + _NAMED_ROWS]):
                for columns, terms in part:
                    for column, term in zip(columns.tolist(), terms, strict=True):
                        names[column] = names[column] or term
                    unnamed[columns] = False
            if not unnamed.any():
                break
        return names

    def transform(self, values: Sequence[Any]) -> Any:
        """Return the TF-IDF rows, CSR float32 of shape (rows, terms)."""
        if len(values) == 1:
            return self._transform_one(as_text(values[0]))
        parts = list(grams.in_threads(self._transform_chunk, [as_text(value) for value in values]))
        return parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")

    def _transform_one(self, text: str) -> Any:
        # Made by the first request, which is the server's own warm-up.
        self._one_text = self._one_text or OneText(self._cut, self._terms, self._hashes)
        columns, counts = self._one_text.count(text)
        values = (1.0 + np.log(counts)) * self._idf[columns]
        values /= np.sqrt(values @ values) or 1.0
        return one_row(values.astype(np.float32), columns, len(self._terms))

    def _transform_chunk(self, texts: Sequence[str]) -> Any:
        _, found = self._cut(texts)
        places, column = self._vocabulary.find(np.concatenate([gram.hashes for gram in found]))
        row = np.concatenate([gram.row for gram in found])[places]
        counts = counted(row, column, (len(texts), len(self._terms)))
        return unit_rows(counts, self._idf)

    def get_feature_names_out(self) -> Sequence[str]:
        """Return the terms in column order."""
        return self._terms

    def state(self) -> State:
        """Return the vocabulary and the idf."""
        values: Mapping[str, Any] = {
            "max_features": self._max_features,
            "min_rows": self._min_rows,
            "terms": self._terms,
        }
        return values, {"idf": self._idf, "hashes": self._hashes}


def unit_rows(counts: Any, idf: npt.NDArray[np.float64] | None = None) -> Any:
    """Return counts of terms as 1 + log count, times idf, in rows of unit length."""
    values = 1.0 + np.log(counts.data, dtype=np.float64)
    if idf is not None:
        values *= idf[counts.indices]
    row_of = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    lengths = np.sqrt(np.bincount(row_of, values * values, minlength=counts.shape[0]))
    counts.data = (values / lengths[row_of]).astype(np.float32)
    return counts


def _without_the_rarest(counted: tuple[npt.NDArray[Any], ...]) -> tuple[npt.NDArray[Any], ...]:
    """Return at most `_MAX_DISTINCT` of the grams."""
    times, least = counted[1], 1
    while times.size > _MAX_DISTINCT:
        least += 1
        counted = tuple(column[times >= least] for column in counted)
        times = counted[1]
    return counted


def _merged(parts: Sequence[tuple[npt.NDArray[Any], ...]]) -> tuple[npt.NDArray[Any], ...]:
    """Return the distinct hashes, ascending, and the sums of every count of each."""
    if not parts:
        return tuple(np.zeros(0, dtype=kind) for kind in (np.uint64, np.uint32, np.uint32))
    hashes, *counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    fresh = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: hashes.size])
    if not fresh.size:
        return hashes, *counts
    return hashes[fresh], *(
        np.add.reduceat(count[order], fresh, dtype=count.dtype) for count in counts
    )


def _evenly_spread(texts: list[str], max_characters: int) -> list[str]:
    """Return every n-th text, n as small as the characters allow."""
    total = sum(map(len, texts))
    step = max(1, -(-total // max_characters))
    return texts[::step]


def _record(
    name: str, family: str, cut: Cut, max_features: Callable[[FeatureConfig], int]
) -> Transformer:
    def build(config: FeatureConfig) -> TextBlock | None:
        most = max_features(config) if config.terms == "vocabulary" else 0
        return TextBlock(cut, most, config.min_rows_with_term) if most else None

    def restore(state: State) -> TextBlock:
        values, arrays = state
        return TextBlock(cut, **values, idf=arrays["idf"], hashes=arrays["hashes"])

    return Transformer(name, "text", build, restore, family)


TFIDF_WORD = _record("tfidf_word", "words", grams.words, lambda c: c.max_word_features)
TFIDF_CHAR = _record("tfidf_char", "chars", grams.across_words, lambda c: c.max_char_features)
TFIDF_INNER = _record("tfidf_inner", "inner", grams.within_words, lambda c: c.max_inner_features)
