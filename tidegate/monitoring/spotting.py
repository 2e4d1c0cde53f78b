"""A learned place that one side of a comparison is nearer to: what is new, as a point in space.

The model is that of Alibi Detect's spot-the-diff: the logit of "this row is new" is a line in the
row's nearness to a place, which is the mean of all rows plus a difference that is learned and kept
sparse.

References
----------
Jitkrittum, Szabó, Chwialkowski and Gretton, "Interpretable distribution features with maximum
testing power", NeurIPS 2016.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tidegate.monitoring.engine import Found
from tidegate.monitoring.tails import higher_ranks

Values = npt.NDArray[np.float64]

_SPARSE, _SMOOTH, _STEPS, _FOLDS = 0.01, 1e-6, 100, 2
# A place near the mean and one far out are both begun with: where a few rows are new, the mean of
# the window lies between them and the others, and the way from there may end nowhere.
_REACHES = (1.0, 4.0)


def held_out_test(
    before: Values, after: Values, *, level: float, seed: int
) -> tuple[Found, Values]:
    """Learn on one half and rank the other by nearness, both ways.

    Returns
    -------
    tuple
        The smaller p-value, doubled and exact up to `level`, with the mean area under the curve
        less a half; and how much each column is of the difference.
    """
    from sklearn.model_selection import StratifiedKFold

    X = np.concatenate([before, after])
    side = np.arange(len(X)) >= len(before)
    p_values, areas, weights = [], [], np.zeros(X.shape[1])
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    for learned, held in folds.split(X, side):
        difference, score = learned_difference(X[learned], side[learned])
        new, old = score(X[held][side[held]]), score(X[held][~side[held]])
        p_value, area = higher_ranks(new, old, level=level / _FOLDS, seed=seed)
        p_values.append(p_value)
        areas.append(area)
        weights += np.abs(difference) / _FOLDS
    return Found(min(1.0, _FOLDS * min(p_values)), float(np.mean(areas)) - 0.5), weights


def learned_difference(
    X: Values, new: npt.NDArray[np.bool_]
) -> tuple[Values, Callable[[Values], Values]]:
    """Learn where new rows are likelier than the others.

    Parameters
    ----------
    X : array, shape (rows, columns)
        Standardised.
    new : array of bool, shape (rows,)
        Which rows are of the window.

    Returns
    -------
    difference : array, shape (columns,)
        From the mean of all rows to the place, weighed by how much nearness to it tells.
    score : callable
        From rows to how new they seem.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    centre = X.mean(axis=0)
    width = 2.0 * max(float(np.median(((X - centre) ** 2).sum(axis=1))), 1e-12)
    weight = np.where(new, 0.5 / max(1, new.sum()), 0.5 / max(1, (~new).sum()))

    def near(rows: Values, place: Values) -> Values:
        return np.asarray(np.exp(-((rows - place) ** 2).sum(axis=1) / width))

    def loss(told: Values) -> tuple[float, Values]:
        base, slope, moved = told[0], told[1], told[2:]
        place = centre + moved
        kernel = near(X, place)
        logit = base + slope * kernel
        error = weight * (expit(logit) - new)
        size = np.sqrt(moved**2 + _SMOOTH)
        value = float((weight * (np.logaddexp(0.0, logit) - new * logit)).sum())
        pull = error * slope * kernel * 2 / width
        by_place = pull @ X - pull.sum() * place + _SPARSE * moved / size
        slopes = [error.sum(), (error * kernel).sum()]
        return value + _SPARSE * float(size.sum()), np.array([*slopes, *by_place])

    gap = X[new].mean(axis=0) - X[~new].mean(axis=0)
    tried = [
        minimize(
            loss,
            np.concatenate([[-0.5, 1.0], reach * gap]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _STEPS},
        )
        for reach in _REACHES
    ]
    found = min(tried, key=lambda one: float(one.fun)).x
    slope, moved = found[1], found[2:]
    return np.asarray(slope * moved), lambda rows: slope * near(rows, centre + moved)
