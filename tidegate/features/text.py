"""Text to TF-IDF features: word 1-2-grams and character 3-5-grams."""

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate.config import FeatureConfig
from tidegate.features.cells import as_text
from tidegate.features.interface import State, Transformer

# A vocabulary is learned from at most so many characters, in rows spread evenly over training:
# scikit-learn keeps every n-gram it meets until the end, some 40 bytes a character.
MAX_FIT_CHARACTERS = 20_000_000
_CHUNK_ROWS = 4096
_CHUNK_CHARACTERS = 4_000_000
_MAX_CACHED_WORDS = 100_000
_MAX_CACHED_LENGTH = 40

_WORD = re.compile(r"\b\w\w+\b")
_GRAM_SIZES = (3, 4, 5)


def _words_and_pairs(text: str) -> list[str]:
    """Return the words of two or more characters, and each pair of neighbours."""
    words = _WORD.findall(text.lower())
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]


def _words_looking_ahead(text: str) -> list[str]:
    """Return each word with the blank after it and the four characters that its grams reach."""
    folded = " ".join(text.lower().split())
    pieces, start = [], 0
    while (blank := folded.find(" ", start)) >= 0:
        pieces.append(folded[start : blank + max(_GRAM_SIZES)])
        start = blank + 1
    return [*pieces, folded[start:]]


def _grams(piece: str) -> list[str]:
    """Return the 3- to 5-grams that begin in the piece's word or in the blank after it."""
    begin = piece.find(" ") + 1 or len(piece)
    return [
        piece[start : start + size]
        for size in _GRAM_SIZES
        for start in range(min(begin, len(piece) - size + 1))
    ]


@dataclass(frozen=True)
class Analyzer:
    """How a text becomes terms: split it, then take the grams of each piece, if any."""

    split: Callable[[str], list[str]]
    grams: Callable[[str], list[str]] | None = None

    def __call__(self, text: str) -> list[str]:
        """Return the terms of a text, repeated as often as they occur."""
        pieces = self.split(text)
        if self.grams is None:
            return pieces
        return [term for piece in pieces for term in self.grams(piece)]


WORD_TERMS = Analyzer(_words_and_pairs)
CHAR_TERMS = Analyzer(_words_looking_ahead, _grams)


class TextBlock:
    """TF-IDF of one analyzer's terms: 1 + log tf, smoothed idf, rows of unit length.

    The figures are those of scikit-learn's ``TfidfVectorizer(sublinear_tf=True)``, which also
    fits the vocabulary; scoring needs neither scikit-learn nor a vocabulary built anew a call.

    Parameters
    ----------
    analyzer : callable
        Turns a text into its terms.
    max_features : int
        Terms kept, those that occur most often in training.
    min_rows : int
        Training rows a term must occur in.
    terms : sequence of str
        The vocabulary in column order, once fitted.
    idf : ndarray of shape (terms,)
        Inverse document frequencies, once fitted.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        max_features: int,
        min_rows: int,
        terms: Sequence[str] = (),
        idf: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self._analyzer = analyzer
        self._max_features = max_features
        self._min_rows = min_rows
        self._terms = list(terms)
        self._idf = np.zeros(0) if idf is None else idf
        self._column_of = {term: column for column, term in enumerate(self._terms)}
        # Words repeat (Zipf), so the columns of each word's grams are looked up once.
        self._columns_of_piece: dict[str, array[int]] = {}

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "TextBlock":
        """Learn vocabulary and idf; a column without a frequent enough term gets no features."""
        texts = _evenly_spread([as_text(value) for value in values], MAX_FIT_CHARACTERS)
        terms, idf = self._frequent_terms(texts) if len(texts) >= self._min_rows else ([], None)
        return TextBlock(self._analyzer, self._max_features, self._min_rows, terms, idf)

    def _frequent_terms(
        self, texts: Sequence[str]
    ) -> tuple[list[str], npt.NDArray[np.float64] | None]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(
            analyzer=self._analyzer, max_features=self._max_features, min_df=self._min_rows
        )
        try:
            vectorizer.fit(texts)
        except ValueError as error:
            if any(said in str(error) for said in ("empty vocabulary", "no terms remain")):
                return [], None
            raise
        return vectorizer.get_feature_names_out().tolist(), vectorizer.idf_

    def transform(self, values: Sequence[Any]) -> Any:
        """Return the TF-IDF rows, CSR float32 of shape (rows, terms)."""
        texts = [as_text(value) for value in values]
        chunks = [self._transform_chunk(chunk) for chunk in _chunks(texts)]
        return chunks[0] if len(chunks) == 1 else sparse.vstack(chunks, format="csr")

    def _transform_chunk(self, texts: Sequence[str]) -> Any:
        columns = array("i")
        ends = np.zeros(len(texts) + 1, dtype=np.int32)
        for row, text in enumerate(texts, start=1):
            for known in self._known(self._analyzer.split(text)):
                columns.extend(known)
            ends[row] = len(columns)
        counts = sparse.csr_matrix(
            (np.ones(len(columns)), np.array(columns, dtype=np.int32), ends),
            shape=(len(texts), len(self._terms)),
        )
        counts.sum_duplicates()
        values = (1.0 + np.log(counts.data)) * self._idf[counts.indices]
        row_of = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
        lengths = np.sqrt(np.bincount(row_of, values * values, minlength=len(texts)))
        counts.data = (values / lengths[row_of]).astype(np.float32)
        return counts

    def _known(self, pieces: Sequence[str]) -> Iterator[Sequence[int]]:
        """Yield the columns of the terms that the vocabulary has, piece by piece."""
        column_of, grams, cache = self._column_of, self._analyzer.grams, self._columns_of_piece
        if grams is None:
            yield [column_of[term] for term in pieces if term in column_of]
            return
        for piece in pieces:
            columns = cache.get(piece)
            if columns is None:
                columns = array("i", [column_of[t] for t in grams(piece) if t in column_of])
                if len(piece) <= _MAX_CACHED_LENGTH:
                    if len(cache) >= _MAX_CACHED_WORDS:
                        cache.clear()
                    cache[piece] = columns
            yield columns

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
        return values, {"idf": self._idf}


def _evenly_spread(texts: list[str], max_characters: int) -> list[str]:
    """Return every n-th text, n as small as the characters allow."""
    total = sum(map(len, texts))
    step = max(1, -(-total // max_characters))
    return texts[::step]


def _chunks(texts: list[str]) -> Iterator[list[str]]:
    """Yield the texts in order, in lists short enough for the memory of their n-grams."""
    start = characters = 0
    for row, text in enumerate(texts):
        if row > start and (
            row - start >= _CHUNK_ROWS or characters + len(text) > _CHUNK_CHARACTERS
        ):
            yield texts[start:row]
            start, characters = row, 0
        characters += len(text)
    yield texts[start:]


def _record(
    name: str, family: str, analyzer: Analyzer, max_features: Callable[[FeatureConfig], int]
) -> Transformer:
    def build(config: FeatureConfig) -> TextBlock:
        return TextBlock(analyzer, max_features(config), config.min_rows_with_term)

    def restore(state: State) -> TextBlock:
        values, arrays = state
        return TextBlock(analyzer, **values, idf=arrays["idf"])

    return Transformer(name, "text", build, restore, family)


TFIDF_WORD = _record("tfidf_word", "words", WORD_TERMS, lambda c: c.max_word_features)
TFIDF_CHAR = _record("tfidf_char", "chars", CHAR_TERMS, lambda c: c.max_char_features)
