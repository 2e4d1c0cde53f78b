"""Rows as unit vectors whose inner product says how near they are."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate.features.blocks import ALWAYS, Blocks
from tidegate.models.interface import Labels, Weights
from tidegate.models.selection import fit_reduction
from tidegate.records import FeatureBlock

#: Columns of wide sparse features that a projection reads, and the dimensions it keeps.
PROJECTED_COLUMNS = 20_000
PROJECTED_COMPONENTS = 128

_FILE = "nearness.npz"

Vectors = npt.NDArray[np.float32]


class Nearness:
    """Vectors of what a text says, and smaller ones of everything beside it.

    Embeddings are taken as they are. Where a data set has none, or terms are asked for, terms
    are projected to few dimensions (`tidegate.models.selection.fit_reduction`). Statistics and
    typed columns are standardized.

    Parameters
    ----------
    families : str
        Families of the blocks of what a text says, joined by ``+``.
    beside : float
        Length of the vector of everything beside it, where that of the text is 1.
    """

    def __init__(self, families: str, *, beside: float) -> None:
        self._families = families
        self._beside = beside
        self._projection: npt.NDArray[np.float32] | None = None
        self._mean: npt.NDArray[np.float64] = np.empty(0)
        self._scale: npt.NDArray[np.float64] = np.empty(0)

    def fit(self, X: Blocks, asked: Labels, weight: Weights, *, seed: int) -> None:
        """Learn projection and scales from rows of positive weight."""
        if any(_is_wide(X, block) for block in self._said(X)):
            self._projection = fit_reduction(
                self._terms(X),
                asked,
                weight,
                columns=PROJECTED_COLUMNS,
                components=PROJECTED_COMPONENTS,
                seed=seed,
            )
        beside = self._dense(X, self._others(X))
        self._mean = np.average(beside, axis=0, weights=weight)
        spread = np.sqrt(np.average((beside - self._mean) ** 2, axis=0, weights=weight))
        self._scale = np.where(spread > 0, spread, np.inf) * np.sqrt(max(1, beside.shape[1]))

    def vectors(self, X: Blocks) -> Vectors:
        """Return vectors of length one, shape (rows, dimensions)."""
        if self._projection is None:
            said = self._dense(X, self._said(X))
        else:
            said = np.asarray(self._terms(X) @ self._projection, dtype=np.float64)
        beside = (self._dense(X, self._others(X)) - self._mean) / self._scale
        if said.shape[1]:
            beside *= self._beside
        joined = np.hstack([_of_length_one(said), beside])
        return np.ascontiguousarray(_of_length_one(joined), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write everything that `vectors` needs."""
        absent = np.empty((0, 0), dtype=np.float32)
        np.savez(
            folder / _FILE,
            families=self._families,
            beside=self._beside,
            projection=absent if self._projection is None else self._projection,
            mean=self._mean,
            scale=self._scale,
        )

    @classmethod
    def load(cls, folder: Path) -> "Nearness":
        """Read what `save` wrote."""
        with np.load(folder / _FILE, allow_pickle=False) as arrays:
            model = cls(str(arrays["families"]), beside=float(arrays["beside"]))
            if arrays["projection"].size:
                model._projection = arrays["projection"]
            model._mean, model._scale = arrays["mean"], arrays["scale"]
        return model

    def _said(self, X: Blocks) -> list[FeatureBlock]:
        """Return the wanted blocks, or all of what a text says where there are none of them."""
        texts = [block for block in X.blocks if block.width and block.family not in ALWAYS]
        wanted = self._families.split("+")
        return [block for block in texts if block.family in wanted] or texts

    def _others(self, X: Blocks) -> list[FeatureBlock]:
        return [block for block in X.blocks if block.width and block.family in ALWAYS]

    def _terms(self, X: Blocks) -> Any:
        parts = [sparse.csr_matrix(X.part(block)) for block in self._said(X)]
        return sparse.hstack(parts, format="csr")

    def _dense(self, X: Blocks, blocks: list[FeatureBlock]) -> npt.NDArray[np.float64]:
        parts = [X.part(block) for block in blocks]
        arrays = [part.toarray() if sparse.issparse(part) else part for part in parts]
        return np.hstack([np.empty((X.rows, 0)), *arrays]).astype(np.float64)


def _is_wide(X: Blocks, block: FeatureBlock) -> bool:
    return block.width > PROJECTED_COMPONENTS and sparse.issparse(X.part(block))


def _of_length_one(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)
