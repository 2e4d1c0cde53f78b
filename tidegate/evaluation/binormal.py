"""Intervals of ranking figures that hold near 1, where few rows show how far a figure may move.

What moves average precision or ROC-AUC near 1 are the few violating rows that rank low, and a
sample of twenty may hold none of them: its own spread is then far too small. Beside that spread
stands the one that rows of a binormal model would have (scores of the two classes normal with one
spread) whose figure is the one in question. The interval holds the values that the observed one
does not reject (a score interval), and the observed spread counts for as much as its degrees of
freedom say. Of two models on the same rows the spread of the difference is taken likewise: what the
rows show, beside what two such models would have whose figures move together as far as these do.

References
----------
Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic",
Statistics in Medicine 25, 2006 (method 5: the variance under the value in question, solved for its
ends). Hanley, "The robustness of the binormal assumptions used in fitting ROC curves", Medical
Decision Making 8, 1988. Satterthwaite, "An approximate distribution of estimates of variance
components", Biometrics Bulletin 2, 1946 (degrees of freedom of the observed variance).
"""

from collections.abc import Callable

import numpy as np

from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.paired_spread import Placed
from tidegate.records import Interval

# The method's constants: degrees of freedom that the model's spread counts for, the distances
# between the classes that are tried, and the places of the model's scores.
_MODEL_FREEDOM = 5.0
_DISTANCES = np.linspace(-4.0, 12.0, 65)
_PLACES = np.linspace(-6.0, 18.0, 601)

Figure = Callable[[Placed], tuple[float, FloatArray]]


def ranking_interval(
    figure: Figure, rows: Placed, label: FloatArray, weight: FloatArray, confidence: float
) -> tuple[float, Interval]:
    """Return a figure of ranked rows and its two-sided interval.

    Parameters
    ----------
    figure : callable
        `tidegate.evaluation.paired_spread.average_precision` or `roc_auc`.
    rows : Placed
        The rows by place, each distinct score a place of its own.
    label, weight : arrays, shape (n,)
        Of the same rows.
    confidence : float
        Of the interval.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    value, influence = figure(rows)
    variance, freedom = _spread(
        np.take(influence, rows.key) * weight, int(np.count_nonzero(weight))
    )
    expected = _expected_variance(figure, label, weight)
    ratio = freedom * variance / expected(value) + _MODEL_FREEDOM
    reach = float(stdtrit(freedom + _MODEL_FREEDOM, 0.5 + confidence / 2))
    reach *= float(np.sqrt(ratio / (freedom + _MODEL_FREEDOM)))

    def end(side: float, furthest: float) -> float:
        def inside(true: float) -> float:
            return reach * float(np.sqrt(expected(true))) - side * (true - value)

        if side * (furthest - value) <= 0 or inside(furthest) >= 0:
            return furthest
        return float(brentq(inside, value, furthest, xtol=1e-9))

    return value, (end(-1.0, 0.0), end(1.0, 1.0))


def paired_ranking_interval(
    figure: Figure,
    pair: tuple[Placed, Placed],
    label: FloatArray,
    weight: FloatArray,
    confidence: float,
) -> tuple[tuple[float, float], Interval]:
    """Return a figure of two models on the same rows and the interval of their difference.

    Parameters
    ----------
    figure, label, weight, confidence
        As for `ranking_interval`.
    pair : tuple of Placed
        The rows by place in each model's scores.
    """
    from scipy.special import stdtrit

    found = [figure(rows) for rows in pair]
    moves = [np.take(own[1], rows.key) * weight for own, rows in zip(found, pair, strict=True)]
    variance, freedom = _spread(moves[0] - moves[1], int(np.count_nonzero(weight)))
    own = float(np.sqrt((moves[0] @ moves[0]) * (moves[1] @ moves[1])))
    together = float(moves[0] @ moves[1]) / own if own > 0 else 0.0
    if np.array_equal(pair[0].key, pair[1].key):
        together = 1.0
    expected = _expected_variance(figure, label, weight)
    one, two = (np.sqrt(expected(value)) for value, _ in found)
    model = one**2 + two**2 - 2 * together * one * two
    known = freedom + _MODEL_FREEDOM
    half = float(stdtrit(known, 0.5 + confidence / 2)) * float(
        np.sqrt(max(0.0, freedom * variance + _MODEL_FREEDOM * model) / known)
    )
    difference = found[0][0] - found[1][0]
    return (found[0][0], found[1][0]), (difference - half, difference + half)


def _spread(moves: FloatArray, rows: int) -> tuple[float, float]:
    """Return the variance of a figure that rows move so far, and its degrees of freedom."""
    squares = moves**2
    variance, fourth = float(squares.sum()), float((squares**2).sum())
    # Rounding alone moves a figure by less.
    if variance <= 1e-24:
        return variance, 0.0
    spread = fourth - variance**2 / rows
    return variance, min(2 * variance**2 / spread, 1e9) if spread > 0 else 1e9


def _expected_variance(
    figure: Figure, label: FloatArray, weight: FloatArray
) -> Callable[[float], float]:
    """Return the variance of a figure in the model where it is truly so much."""
    values, model = _model(figure, label, weight)
    odds, logs = np.log(values / (1 - values)), np.log(model)

    def expected(true: float) -> float:
        inside = min(max(true, float(values[0])), float(values[-1]))
        return float(np.exp(np.interp(np.log(inside / (1 - inside)), odds, logs)))

    return expected


def _model(figure: Figure, label: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the figure of binormal rows at each distance, ascending, and its variance."""
    from scipy.special import ndtr

    edges = np.concatenate([[-np.inf], _PLACES, [np.inf]])
    total = np.array([float(weight[label == side].sum()) for side in (0, 1)])
    squares = np.array([float((weight[label == side] ** 2).sum()) for side in (0, 1)])
    key = np.arange(2 * (edges.size - 1))
    found = []
    for distance in _DISTANCES:
        mass = np.column_stack([np.diff(ndtr(edges - shift)) for shift in (0.0, distance)])
        value, influence = figure(Placed(key, mass * total))
        moved = (influence.reshape(-1, 2) ** 2 * mass).sum(axis=0)
        found.append((value, float(moved @ squares)))
    values, variances = np.array(found).T
    rising = np.append(True, np.diff(np.maximum.accumulate(values)) > 1e-12) & (values < 1)
    return values[rising], variances[rising]
