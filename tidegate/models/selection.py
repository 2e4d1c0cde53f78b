"""Fewer rows and features: those that count, columns that tell the classes apart, a projection."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.features.blocks import Blocks
from tidegate.models.interface import Choice, Labels, Weights

Columns = npt.NDArray[np.int64]

#: Which feature families a model of sparse columns may read.
FAMILIES = Choice(
    (
        "words+chars",
        "words",
        "chars",
        "words+inner",
        "words+chars+embedding",
        "words+inner+embedding",
        "embedding",
    )
)


def counted_rows(X: Blocks, y: Labels, weight: Weights) -> tuple[Blocks, Labels, Weights]:
    """Return the rows of positive weight: one of weight zero is to be as good as absent."""
    counts = weight > 0
    return (X, y, weight) if counts.all() else (X.take(counts), y[counts], weight[counts])


def select_columns(X: Any, y: Labels, weight: Weights, count: int) -> Columns:
    """Return the sorted indices of the columns most correlated with the label.

    The square of the weighted correlation ranks like the ANOVA F statistic and, on 0/1 columns,
    like chi-square; unlike the latter it allows negative values. Of several questions a column
    is ranked by the one it answers best. Columns that most rows fill (numeric ones) are kept
    beyond `count`: a tree can use them without a linear relation.

    Parameters
    ----------
    X : CSR matrix, shape (rows, features)
    y : ndarray, shape (rows,) or (rows, questions)
        0/1.
    weight : ndarray, shape (rows,)
        Positive.
    count : int
        How many columns to choose by correlation.
    """
    share = weight / weight.sum()
    asked = y.reshape(len(y), -1).astype(np.float64)
    mean = X.T @ share
    squares = X.astype(np.float64)
    squares.data **= 2
    variance = squares.T @ share - mean**2
    covariance = X.T @ (share[:, None] * asked) - np.outer(mean, share @ asked)
    spread = np.sqrt(np.maximum((share @ asked) * (1 - share @ asked), 0))
    scale = np.sqrt(np.maximum(variance, 0))
    varies = scale > 1e-7 * (np.abs(mean) + 1)
    # Between questions the rarer one must not count less; a question of one answer counts not.
    best = np.divide(np.abs(covariance), spread, out=np.zeros_like(covariance), where=spread > 0)
    strength = np.divide(best.max(axis=1), scale, out=np.full(X.shape[1], -1.0), where=varies)
    strongest = np.argsort(-strength, kind="stable")[:count]
    chosen = X.astype(bool).T @ share > 0.5
    chosen[strongest] = True
    chosen &= varies
    chosen[0] |= not chosen.any()
    return np.flatnonzero(chosen).astype(np.int64)


def fit_reduction(
    X: Any, y: Labels, weight: Weights, *, columns: int, components: int, seed: int
) -> npt.NDArray[np.float32]:
    """Return a projection of wide sparse features to few dense ones.

    It is the truncated singular value decomposition (latent semantic analysis) of the columns
    that `select_columns` chooses; the other columns project to nothing.

    Parameters
    ----------
    X : CSR matrix, shape (rows, features)
    y, weight : ndarray
        As for `select_columns`.
    columns, components : int
        How many columns to read, and how many dimensions to keep at most.

    Returns
    -------
    ndarray of shape (features, components)
        ``X @ projection`` are the dense features.
    """
    from sklearn.utils.extmath import randomized_svd

    chosen = select_columns(X, y, weight, columns)
    part = X[:, chosen]
    kept = max(1, min(components, min(part.shape) - 1))
    _, _, right = randomized_svd(
        part.multiply(np.sqrt(weight)[:, None]).tocsr(), kept, random_state=seed
    )
    projection = np.zeros((X.shape[1], kept), dtype=np.float32)
    projection[chosen] = right.T
    return projection
