"""The nearest rows by inner product: all compared where there are few, else those of near clusters.

The index is three arrays and needs NumPy alone to answer: a library for it would bring its own
linear algebra into every server (Faiss: 66 MB).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Up to here every row is compared.
EXACT_ROWS = 20_000

_PROBED_SHARE = 0.1
_ROWS_A_CENTRE = 64
_BLOCK_PAIRS = 4_000_000

Vectors = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NeighbourIndex:
    """Rows in the order of their clusters.

    Parameters
    ----------
    vectors : ndarray of float32, shape (rows, width)
    places : ndarray of int64, shape (rows,)
        Which row of the input each one was.
    centres : ndarray of float32, shape (clusters, width)
    starts : ndarray of int64, shape (clusters + 1,)
        Where each cluster begins; the last entry is the number of rows.
    """

    vectors: Vectors
    places: Places
    centres: Vectors
    starts: Places

    def nearest(self, asked: Vectors, reach: int) -> tuple[Vectors, Places]:
        """Return the rows of the greatest inner product, greatest first.

        Parameters
        ----------
        asked : ndarray of float32, shape (questions, width)
        reach : int
            Rows wanted for each; at most all.

        Returns
        -------
        products : ndarray of float32, shape (questions, reach)
            Minus infinity where the near clusters hold fewer rows.
        places : ndarray of int64, shape (questions, reach)
            Places in the input, -1 where there is none.
        """
        sizes = np.diff(self.starts)
        probed = max(1, int(len(sizes) * _PROBED_SHARE)) if len(sizes) > 1 else 1
        width = max(reach, int(np.sort(sizes)[::-1][:probed].sum()))
        step = max(1, _BLOCK_PAIRS // width)
        answers = [
            self._block(asked[begin : begin + step], reach, probed, width)
            for begin in range(0, len(asked), step)
        ]
        if not answers:
            return np.empty((0, reach), np.float32), np.empty((0, reach), np.int64)
        products, places = zip(*answers, strict=True)
        return np.concatenate(products), np.concatenate(places)

    def _block(self, asked: Vectors, reach: int, probed: int, width: int) -> tuple[Vectors, Places]:
        products = np.full((len(asked), width), -np.inf, dtype=np.float32)
        rows = np.full((len(asked), width), -1, dtype=np.int64)
        filled = np.zeros(len(asked), dtype=np.int64)
        near = np.argpartition(asked @ -self.centres.T, probed - 1, axis=1)[:, :probed]
        question = np.repeat(np.arange(len(asked)), probed)
        order = np.argsort(near.ravel(), kind="stable")
        cluster, question = near.ravel()[order], question[order]
        first = np.flatnonzero(np.r_[True, cluster[1:] != cluster[:-1]])
        for one, who in zip(cluster[first], np.split(question, first[1:]), strict=True):
            begin, end = self.starts[one], self.starts[one + 1]
            at = filled[who, None] + np.arange(end - begin)
            products[who[:, None], at] = asked[who] @ self.vectors[begin:end].T
            rows[who[:, None], at] = np.arange(begin, end)
            filled[who] += end - begin
        best = np.argpartition(-products, reach - 1, axis=1)[:, :reach]
        products = np.take_along_axis(products, best, axis=1)
        rows = np.take_along_axis(rows, best, axis=1)
        order = np.argsort(-products, axis=1, kind="stable")
        rows = np.take_along_axis(rows, order, axis=1)
        places = np.where(rows >= 0, self.places[rows], -1)
        return np.take_along_axis(products, order, axis=1), places


def build_index(vectors: Vectors, *, seed: int) -> NeighbourIndex:
    """Return an index of rows; of many, clusters whose nearest tenth is read for a question.

    Parameters
    ----------
    vectors : ndarray of float32, shape (rows, width)
    seed : int
        Of the clusters' beginnings.

    Returns
    -------
    NeighbourIndex

    References
    ----------
    Sivic and Zisserman, "Video Google: a text retrieval approach to object matching in videos",
    ICCV 2003 (inverted file over k-means cells).
    """
    rows = len(vectors)
    if rows <= EXACT_ROWS:
        centres = np.zeros((1, vectors.shape[1]), dtype=np.float32)
        return NeighbourIndex(vectors, np.arange(rows), centres, np.array([0, rows]))
    from sklearn.cluster import MiniBatchKMeans

    clusters = int(4 * np.sqrt(rows))
    random = np.random.default_rng(seed)
    sample = random.choice(rows, min(rows, clusters * _ROWS_A_CENTRE), replace=False)
    cells = MiniBatchKMeans(
        clusters, batch_size=4096, max_iter=10, n_init=1, init="random", random_state=seed
    ).fit(vectors[np.sort(sample)])
    cell = cells.predict(vectors)
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(clusters + 1))
    centres = np.asarray(cells.cluster_centers_, dtype=np.float32)
    return NeighbourIndex(vectors[order], order, centres, starts)
