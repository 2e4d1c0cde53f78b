"""Text to hashed n-grams: nothing is learned, nothing is kept, any new word has its column.

The hashing trick (Weinberger, Dasgupta, Langford, Smola and Attenberg, "Feature hashing for large
scale multitask learning", ICML 2009), without its signs: columns that two terms share add up, and
stay counts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate.config import FeatureConfig
from tidegate.features import grams
from tidegate.features.cells import as_text
from tidegate.features.grams import Cut
from tidegate.features.interface import State, Transformer
from tidegate.features.sparse_rows import counted
from tidegate.features.text import unit_rows


class _Numbers(Sequence[str]):
    """The names of columns that stand for no term: h0, h1, ..., made when asked for."""

    def __init__(self, count: int) -> None:
        self._range = range(count)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [f"h{number}" for number in self._range[index]]
        return f"h{self._range[index]}"

    def __iter__(self) -> Iterator[str]:
        return (f"h{number}" for number in self._range)


class HashedBlock:
    """Counts of one kind of gram by hash: 1 + log count, rows of unit length, no idf.

    Parameters
    ----------
    cut : callable
        Turns texts into grams.
    bits : int
        There are 2 ** bits columns.
    """

    def __init__(self, cut: Cut, bits: int) -> None:
        self._cut = cut
        self._bits = bits

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "HashedBlock":
        """Return itself: there is nothing to learn."""
        del values, y
        return self

    def transform(self, values: Sequence[Any]) -> Any:
        """Return the rows, CSR float32 of shape (rows, 2 ** bits)."""
        parts = list(grams.in_threads(self._transform_chunk, [as_text(value) for value in values]))
        return parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")

    def _transform_chunk(self, texts: Sequence[str]) -> Any:
        _, found = self._cut(texts)
        row = np.concatenate([gram.row for gram in found])
        # The highest bits of a hash are mixed best.
        shift = np.uint64(grams.HASH_BITS - self._bits)
        column = np.concatenate([gram.hashes >> shift for gram in found]).astype(np.int32)
        return unit_rows(counted(row, column, (len(texts), 1 << self._bits)))

    def get_feature_names_out(self) -> Sequence[str]:
        """Return h0, h1, ...: a hash cannot be read back."""
        return _Numbers(1 << self._bits)

    def state(self) -> State:
        """Return how many bits."""
        return {"bits": self._bits}, {}


def _record(
    name: str, family: str, cut: Cut, wanted: Callable[[FeatureConfig], int]
) -> Transformer:
    def build(config: FeatureConfig) -> HashedBlock | None:
        hashed = config.terms == "hashed" and wanted(config)
        return HashedBlock(cut, config.hashed_bits) if hashed else None

    def restore(state: State) -> HashedBlock:
        return HashedBlock(cut, int(state[0]["bits"]))

    return Transformer(name, "text", build, restore, family)


HASH_WORD = _record("hash_word", "words", grams.words, lambda c: c.max_word_features)
HASH_CHAR = _record("hash_char", "chars", grams.across_words, lambda c: c.max_char_features)
HASH_INNER = _record("hash_inner", "inner", grams.within_words, lambda c: c.max_inner_features)
