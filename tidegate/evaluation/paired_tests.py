"""Two models on the same rows without resampling: DeLong for AUC, McNemar at operating points."""

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.intervals import FloatArray, exact_tail
from tidegate.records import Difference, Discordance


def delong(
    score: FloatArray, other: FloatArray, label: FloatArray, weight: FloatArray, confidence: float
) -> Difference:
    """Return the difference of two ROC-AUCs on the same rows, with an interval.

    Parameters
    ----------
    score, other, label, weight : arrays, shape (n,)
        Both models' scores; labels are 0 or 1 and both occur.
    confidence : float
        Two-sided.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves", Biometrics 44, 1988. Sun and Xu, "Fast implementation of
    DeLong's algorithm", IEEE Signal Processing Letters 21, 2014 (by ranks, n log n). With unequal
    weights the mean over rows is a weighted one, and its variance that of a ratio estimate.
    """
    from scipy.special import ndtri

    first, second = (_placements(s, label, weight) for s in (score, other))
    auc = [_mean(p[label == 1], weight[label == 1]) for p in (first, second)]
    variance = 0.0
    for side in (label == 1, label == 0):
        variance += _variance_of_mean((first - second)[side], weight[side])
    half = float(ndtri(0.5 + confidence / 2)) * float(np.sqrt(variance))
    difference = auc[0] - auc[1]
    return Difference(
        candidate=auc[0],
        baseline=auc[1],
        difference=difference,
        difference_ci=(difference - half, difference + half),
    )


def mcnemar(
    flagged: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], label: FloatArray
) -> dict[str, Discordance]:
    """Count the rows that one model gets right and the other wrong, with an exact p-value.

    Parameters
    ----------
    flagged, other : arrays of bool, shape (n,)
        What the candidate flags, what the baseline flags. Rows are counted, not weighted.
    label : array, shape (n,)
        0 or 1.

    Returns
    -------
    dict
        ``violating`` (who catches more), ``harmless`` (who flags fewer wrongly), ``all``.

    References
    ----------
    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12, 1947; the exact binomial form.
    """
    key = flagged * np.int8(4) + other * np.int8(2) + label.astype(np.int8)
    # Axes: the candidate flags, the baseline flags, the post violates.
    counts = np.bincount(key, minlength=8).reshape(2, 2, 2)
    sides: dict[str, tuple[int, ...]] = {
        "violating": (counts[1, 0, 1], counts[0, 1, 1], counts[..., 1].sum()),
        "harmless": (counts[0, 1, 0], counts[1, 0, 0], counts[..., 0].sum()),
    }
    violating, harmless = sides.values()
    sides["all"] = tuple(a + b for a, b in zip(violating, harmless, strict=True))
    found = {}
    for name, (candidate, baseline, rows) in sides.items():
        differing = int(candidate + baseline)
        tail = float(exact_tail(max(candidate, baseline), differing, 0.5)) if differing else 1.0
        found[name] = Discordance(
            rows=int(rows),
            candidate_right=int(candidate),
            baseline_right=int(baseline),
            p_value=min(1.0, 2 * tail),
        )
    return found


def _placements(score: FloatArray, label: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the share of rows of the other class that each row is on the right side of."""
    values, place = np.unique(score, return_inverse=True)
    placed = np.zeros(score.size)
    for side in (0, 1):
        mass = np.bincount(place[label == side], weight[label == side], minlength=values.size)
        below = (np.cumsum(mass) - mass / 2)[place] / mass.sum()
        # A violating row should lie above harmless ones, a harmless row below violating ones.
        placed = np.where(label != side, below if side == 0 else 1 - below, placed)
    return placed


def _mean(values: FloatArray, weight: FloatArray) -> float:
    return float(np.average(values, weights=weight))


def _variance_of_mean(values: FloatArray, weight: FloatArray) -> float:
    share = weight / weight.sum()
    effective = 1 / float((share**2).sum())
    if effective <= 1:
        return 0.0
    apart = values - _mean(values, weight)
    return float((share**2 * apart**2).sum()) * effective / (effective - 1)
