"""Rows as named blocks of features, each read or computed when a model first asks for it.

A model names the families that it wants, joined by ``+``:

- ``words``: TF-IDF of words and signs, up to three in a row;
- ``chars``: TF-IDF of 3 to 5 characters, across words; ``inner``: the same within words;
- ``embedding``: frozen sentence embeddings, dense (512 a text column, and those of an encoder);
- ``statistics`` and ``tabular``, which every choice contains.

Measured choices are ``words+chars``, ``words+inner``, ``words+chars+embedding``,
``words+inner+embedding`` and ``embedding``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate.features.sparse_rows import joined
from tidegate.records import FeatureBlock

Places = npt.NDArray[np.intp]

#: What a text column holds beyond its terms, and every other column: small, and always kept.
ALWAYS = frozenset({"statistics", "tabular"})
#: The terms that a text consists of; the drift check compares rows by them.
TERMS = "words+chars"


def chosen_blocks(blocks: Sequence[FeatureBlock], families: str) -> tuple[FeatureBlock, ...]:
    """Return the blocks of some families, in their order, and all of `ALWAYS`.

    Parameters
    ----------
    blocks : sequence of FeatureBlock
    families : str
        Names joined by ``+``, for example ``words+embedding``. A data set without any block of
        them gives every block it has, so that each point of a search space means something.
    """
    wanted = frozenset(families.split("+"))
    filled = tuple(block for block in blocks if block.width)
    if not any(block.family in wanted for block in filled):
        return filled
    return tuple(block for block in filled if block.family in wanted | ALWAYS)


class Blocks:
    """The features of some rows.

    Parameters
    ----------
    rows : int
    blocks : sequence of FeatureBlock
        In the order of the columns of every matrix made of them.
    read : callable
        ``read(block)`` returns a CSR or dense matrix, float32, of shape (rows, block.width); it
        is called at most once a block.
    texts : callable
        Returns the cleaned text columns by name, for models that read text itself.
    narrowed : callable, optional
        ``narrowed(places)`` returns some of the rows as features that are not computed yet;
        without it a block is read whole before rows are taken of it.
    """

    def __init__(
        self,
        rows: int,
        blocks: Sequence[FeatureBlock],
        read: Callable[[FeatureBlock], Any],
        texts: Callable[[], Mapping[str, Sequence[str]]],
        narrowed: "Callable[[Places], Blocks] | None" = None,
    ) -> None:
        self.rows = rows
        self.blocks = tuple(blocks)
        self._read = read
        self._texts = texts
        self._narrowed = narrowed
        self._parts: dict[str, Any] = {}
        self._joined: dict[tuple[str, ...], Any] = {}

    def csr(self, families: str) -> Any:
        """Return the chosen blocks side by side: CSR, float32, indices sorted."""
        chosen = chosen_blocks(self.blocks, families)
        key = tuple(block.name for block in chosen)
        if key not in self._joined:
            self._joined[key] = joined([self.part(block) for block in chosen])
        return self._joined[key]

    def dense(self, families: str) -> npt.NDArray[np.float32]:
        """Return the chosen blocks side by side as an array; meant for narrow families."""
        parts = [self.part(block) for block in chosen_blocks(self.blocks, families)]
        arrays = [part.toarray() if sparse.issparse(part) else part for part in parts]
        return np.ascontiguousarray(np.hstack(arrays), dtype=np.float32)

    def part(self, block: FeatureBlock) -> Any:
        """Return one block's matrix, CSR or dense, shape (rows, block.width)."""
        if block.name not in self._parts:
            self._parts[block.name] = self._read(block)
        return self._parts[block.name]

    def texts(self) -> Mapping[str, Sequence[str]]:
        """Return the cleaned text columns by name, each of `rows` texts."""
        return self._texts()

    def take(self, index: npt.NDArray[Any]) -> "Blocks":
        """Return some rows, by position or by mask, in that order.

        What is computed already is shared; the rest is computed for these rows alone where the
        features come from a featurizer.
        """
        places = np.flatnonzero(index) if index.dtype == bool else index

        def texts() -> Mapping[str, Sequence[str]]:
            return {
                name: [column[int(place)] for place in places]
                for name, column in self.texts().items()
            }

        fresh = None if self._narrowed is None else self._narrowed(places)

        def read(block: FeatureBlock) -> Any:
            if fresh is None or block.name in self._parts:
                return self.part(block)[places]
            return fresh.part(block)

        def narrowed(inner: Places) -> Blocks:
            return self.take(places[inner])

        return Blocks(len(places), self.blocks, read, texts, narrowed)


def blocks_of(X: Any, *, family: str = "words") -> Blocks:
    """Return one matrix as the features of its rows, without texts."""
    block = FeatureBlock(name=family, column=family, family=family, width=X.shape[1])
    return Blocks(X.shape[0], (block,), lambda _: X, dict)
