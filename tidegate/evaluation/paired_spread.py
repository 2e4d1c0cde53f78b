"""How far the figures of two models may move together, from counts instead of resampled rows.

A figure's influence function says how it moves when one row counts for more. It depends on the
row's label and on where its score stands among the others, so that one table a model, looked up
once a row, gives the variance of the difference that a bootstrap of the rows would settle at (the
infinitesimal jackknife). Precision and recall at thresholds depend on eight counts alone, and are
drawn as such.

References
----------
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 22 (infinitesimal
jackknife, delta method).
DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988 (placements, the influence of the AUC).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.intervals import FloatArray

# The method's constants: cells of the grid of scores, the error of a figure that their width may
# cause, and rows of a block of look-ups.
_CELLS = 1 << 18
_BLUR = 3e-5
_BLOCK_ROWS = 1 << 18


@dataclass(frozen=True)
class Placed:
    """Rows by the place of their score among the scores of all.

    Parameters
    ----------
    key : array, shape (n,)
        Twice the place, plus the label.
    mass : array, shape (places, 2)
        Weight of harmless and of violating rows at each place, ascending.
    """

    key: npt.NDArray[np.int64] | npt.NDArray[np.int32]
    mass: FloatArray


def placed(
    score: FloatArray, label: FloatArray, weight: FloatArray, *, exact: bool = False
) -> Placed:
    """Find the place of every row.

    Unless `exact`, scores are put on a fine even grid, and only in its fullest cells, without which
    no figure is blurred by more than 0.00003, is each distinct score a place of its own.
    """
    low, high = np.float64(score.min()), np.float64(score.max())
    with np.errstate(over="ignore", divide="ignore"):
        scale = np.float64(_CELLS - 1) / (high - low)
    if exact or not np.isfinite(scale) or scale <= 0:
        distinct, inverse = np.unique(score, return_inverse=True)
        return _counted(inverse, label, weight, distinct.size)
    cell = ((score - low) * scale).astype(np.int32)
    found = _counted(cell, label, weight, _CELLS)
    full = _full(found.mass)
    if full.any():
        # Rows that are tied in truth have nothing to be told apart.
        one = np.empty(_CELLS)
        one[cell] = score
        mixed = np.zeros(_CELLS, dtype=np.bool_)
        mixed[cell[score != one[cell]]] = True
        full &= mixed
    if not full.any():
        return found
    inside = np.flatnonzero(full[cell])
    distinct, inverse = np.unique(score[inside], return_inverse=True)
    cells = ((distinct - low) * scale).astype(np.int32)
    within = np.bincount(cells, minlength=_CELLS)
    held = np.where(full, within, 1)
    place = (np.cumsum(held) - held)[cell]
    place[inside] += inverse - (np.cumsum(within) - within)[cell[inside]]
    return _counted(place, label, weight, int(held.sum()))


def average_precision(rows: Placed) -> tuple[float, FloatArray]:
    """Return average precision, and what a row of weight 1 moves it by, by `Placed.key`."""
    right = rows.mass[:, 1]
    hits, flagged = _from_top(right), _from_top(rows.mass.sum(axis=1))
    some = flagged > 0
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=some)
    violating = hits[0]
    value = float((right * precision).sum() / violating)
    # A row adds to what is flagged at its own place and at all places below.
    gain = np.divide(right, flagged, out=np.zeros_like(hits), where=some)
    added, diluted = np.cumsum(gain), np.cumsum(gain * precision)
    moved = np.empty_like(rows.mass)
    moved[:, 0] = -diluted
    moved[:, 1] = precision - value + added - diluted
    return value, (moved / violating).ravel()


def roc_auc(rows: Placed) -> tuple[float, FloatArray]:
    """Return ROC-AUC, and what a row of weight 1 moves it by, by `Placed.key`."""
    wrong, right = rows.mass[:, 0], rows.mass[:, 1]
    harmless, violating = wrong.sum(), right.sum()
    below = (np.cumsum(wrong) - wrong / 2) / harmless
    above = (_from_top(right) - right / 2) / violating
    value = float((right * below).sum() / violating)
    moved = np.empty_like(rows.mass)
    moved[:, 0] = (above - value) / harmless
    moved[:, 1] = (below - value) / violating
    return value, moved.ravel()


def variance_of_difference(
    first: tuple[Placed, FloatArray], second: tuple[Placed, FloatArray], weight: FloatArray
) -> float:
    """Return the variance of one model's figure less the other's on the same rows.

    Parameters
    ----------
    first, second : tuple
        Each model's rows, and the influences that `average_precision` or `roc_auc` found.
    weight : array, shape (n,)
        Of the rows.
    """
    total = 0.0
    for start in range(0, weight.size, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        moved = np.take(first[1], first[0].key[rows]) - np.take(second[1], second[0].key[rows])
        moved *= weight[rows]
        total += float(moved @ moved)
    return total


def rate_draws(
    flagged: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    label: FloatArray,
    weight: FloatArray,
    *,
    same: bool = False,
    resamples: int,
    seed: int,
) -> list[dict[str, FloatArray]]:
    """Draw the rates of what two models flag, as far as these rows tell them.

    The eight cells of what each of the two flags and what is violating are drawn from their
    posterior under Jeffreys' prior: where hardly a row is flagged by one model alone, resampled
    rows would never show that others might be. Of two models that score the `same`, of which one
    flags all that the other does, no empty cell is filled.

    Returns
    -------
    list of dict
        For each model ``precision``, ``recall`` and ``sample`` (the share of violating rows), of
        shape (resamples + 1,); the first entry is the rows as they are.

    References
    ----------
    Agresti and Min, "Frequentist performance of Bayesian confidence intervals for comparing
    proportions in 2 x 2 contingency tables", Biometrics 61, 2005.
    """
    key = flagged[0] * np.int8(4) + flagged[1] * np.int8(2) + label.astype(np.int8)
    mass = _summed(key, weight, 8)
    squares = _summed(key, weight, 8, power=2)
    # Unequal weights stand for as many equal ones as have the same sum and the same variance when
    # they are drawn.
    usual = float(squares.sum() / mass.sum())
    unit = np.divide(squares, mass, out=np.full(8, usual), where=mass > 0)
    counts = np.random.default_rng(seed).gamma(
        mass / unit + (0.0 if same else 0.5), size=(resamples, 8)
    )
    draws = np.vstack([mass, counts * unit]).reshape(-1, 2, 2, 2)
    violating = draws[..., 1].sum(axis=(1, 2))
    sample = violating / draws.sum(axis=(1, 2, 3))
    found = []
    for own in (draws[:, 1], draws[:, :, 1]):
        right, every = own[..., 1].sum(axis=1), own.sum(axis=(1, 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append({"precision": right / every, "recall": right / violating})
        found[-1]["sample"] = sample
    return found


def _counted(
    place: npt.NDArray[np.int64] | npt.NDArray[np.int32],
    label: FloatArray,
    weight: FloatArray,
    places: int,
) -> Placed:
    key = place * 2
    key += label.astype(np.int8)
    return Placed(key, _summed(key, weight, 2 * places).reshape(-1, 2))


def _summed(
    key: npt.NDArray[np.integer[Any]], weight: FloatArray, size: int, *, power: int = 1
) -> FloatArray:
    """Return the sum of the weights, or of a power of them, of each key."""
    if weight[0] == weight.min() == weight.max():
        # Counting rows is quicker than adding their weights.
        counts = np.bincount(key, minlength=size).astype(np.float64)
        return counts * float(weight[0]) ** power
    return np.bincount(key, weight**power, minlength=size).astype(np.float64)


def _full(mass: FloatArray) -> npt.NDArray[np.bool_]:
    """Return the cells that must be told apart, lest rows taken for tied blur a figure."""
    wrong, right = mass[:, 0], mass[:, 1]
    flagged = _from_top(mass.sum(axis=1))
    share = right / right.sum()
    by_rank = np.divide(wrong, flagged, out=np.zeros_like(wrong), where=flagged > 0)
    blur = share * np.maximum(wrong / wrong.sum(), by_rank)
    limit = float(blur.max())
    while float(blur[blur <= limit].sum()) > _BLUR:
        limit /= 2
    return np.asarray(blur > limit)


def _from_top(values: FloatArray) -> FloatArray:
    return np.cumsum(values[::-1])[::-1]
