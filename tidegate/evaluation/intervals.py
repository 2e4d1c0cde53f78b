"""Intervals for proportions: exact, Wilson, and the difference of two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.records import Interval

FloatArray = npt.NDArray[np.float64]


def exact_tail(hits: Any, rows: Any, proportion: float) -> FloatArray:
    """Return P(Binomial(rows, proportion) >= hits), the p-value against "at most `proportion`".

    The binomial tail is the regularised incomplete beta function, which also takes the
    fractional counts of weighted rows.

    References
    ----------
    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of
    the binomial", Biometrika 26, 1934.
    """
    from scipy.special import betainc

    hits, rows = np.asarray(hits, dtype=float), np.asarray(rows, dtype=float)
    some = hits > 0
    tail = betainc(np.where(some, hits, 1.0), np.maximum(rows - hits, 0.0) + 1.0, proportion)
    return np.where(some, tail, 1.0)


def exact_lower_bound(hits: Any, rows: Any, confidence: float) -> FloatArray:
    """Return the one-sided Clopper-Pearson lower bound of hits / rows."""
    from scipy.special import betaincinv

    hits, rows = np.asarray(hits, dtype=float), np.asarray(rows, dtype=float)
    some = hits > 0
    misses = np.maximum(rows - hits, 0.0)
    bound = betaincinv(np.where(some, hits, 1.0), misses + 1.0, 1.0 - confidence)
    return np.where(some, bound, 0.0)


def exact_upper_bound(hits: Any, rows: Any, confidence: float) -> FloatArray:
    """Return the one-sided Clopper-Pearson upper bound of hits / rows."""
    hits, rows = np.asarray(hits, dtype=float), np.asarray(rows, dtype=float)
    return 1.0 - exact_lower_bound(np.maximum(rows - hits, 0.0), rows, confidence)


def wilson(hits: float, rows: float, confidence: float) -> Interval:
    """Return the two-sided Wilson score interval of hits / rows; `rows` must be positive.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    low, high = wilson_bounds(
        np.array([hits], dtype=float), np.array([rows], dtype=float), confidence
    )
    return (float(low[0]), float(high[0]))


def weighted_wilson(
    hits: tuple[float, float], misses: tuple[float, float], confidence: float
) -> Interval:
    """Return the two-sided Wilson interval of a weighted share, from `effective_rows`.

    Parameters
    ----------
    hits, misses : tuple of two floats
        Sum of the weights and of their squares; some weight is positive.
    confidence : float
        Of the interval.
    """
    rows = float(effective_rows(hits, misses))
    return wilson(hits[0] / (hits[0] + misses[0]) * rows, rows, confidence)


def effective_rows(hits: tuple[Any, Any], misses: tuple[Any, Any]) -> FloatArray:
    """Return how many equal rows would know a weighted share as well.

    Weights may differ between hits and misses, as where flagged posts were labelled more often:
    the variance of the share is that of a ratio, and Kish's number, which overlooks this, can be
    too high by far. Two rows of mean weight are added to each side, lest a few hits stand for all
    that might have been. Of rows of weight 1 the number is their own.

    Parameters
    ----------
    hits, misses : tuple of two arrays
        Sum of the weights and of their squares; some weight is positive.

    References
    ----------
    Korn and Graubard, "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data", Survey Methodology 24, 1998 (an effective sample size in an
    interval for counts). Agresti and Coull, "Approximate is better than exact for interval
    estimation of binomial proportions", The American Statistician 52, 1998 (two rows a side).
    """
    rows, squares = hits[0] + misses[0], hits[1] + misses[1]
    mean = squares / rows
    right, wrong = hits[0] + 2 * mean, misses[0] + 2 * mean
    share = right / (right + wrong)
    spread = (1 - share) ** 2 * (hits[1] + 2 * mean**2) + share**2 * (misses[1] + 2 * mean**2)
    worth = np.maximum(share * (1 - share) * (right + wrong) ** 2 / spread - 4, 1.0)
    return np.asarray(np.where(squares == rows, rows, worth))


@dataclass(frozen=True)
class PairDifferences:
    """Every pair of several estimates; arrays of shape (pairs,).

    `difference` is that of `first` and `second` (places). The size of the true difference is
    `at_least` and `at_most` so much: the lower ends of all pairs hold at once, an upper end holds
    for its own pair.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    difference: FloatArray
    at_least: FloatArray
    at_most: FloatArray


def pair_differences(
    value: FloatArray,
    bounds: Callable[[float], tuple[FloatArray, FloatArray]],
    confidence: float,
    *,
    columns: int = 1,
) -> PairDifferences:
    """Compare every pair of independent estimates.

    To show that *some* pair differs, the best of many lower ends is picked, so that these are
    taken at the Bonferroni level. To show that *no* pair differs by more than a limit every pair
    must pass, and the pair that truly differs most passes wrongly no more often than its own
    interval errs: upper ends need no correction (an intersection-union test).

    Parameters
    ----------
    value : array, shape (g,)
        The estimates, g >= 2.
    bounds : callable
        From a two-sided confidence to the lower and upper ends of each estimate.
    confidence : float
        Two-sided: each direction errs with half of the rest.
    columns : int
        How many sets of pairs are looked at together.

    References
    ----------
    Zou and Donner, "Construction of confidence limits about effect measures", Statistics in
    Medicine 27, 2008 (limits of a difference from those of its parts, as in Newcombe 1998).
    Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24, 1982.
    """
    first, second = np.triu_indices(value.size, k=1)
    difference = value[first] - value[second]

    def ends(level: float) -> tuple[FloatArray, FloatArray]:
        low, high = bounds(level)
        down, up = value - low, high - value
        return (
            difference - np.hypot(down[first], up[second]),
            difference + np.hypot(up[first], down[second]),
        )

    low, high = ends(1 - (1 - confidence) / (first.size * columns))
    alone_low, alone_high = ends(confidence)
    return PairDifferences(
        first=first,
        second=second,
        difference=difference,
        at_least=np.maximum(0.0, np.maximum(low, -high)),
        at_most=np.maximum(alone_high, -alone_low),
    )


def wilson_bounds(
    hits: FloatArray, rows: FloatArray, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of `wilson` for many proportions at once."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    share = hits / rows
    scale = 1 + z * z / rows
    centre = (share + z * z / (2 * rows)) / scale
    half = z * np.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / scale
    # The bound at an empty or a full count is exactly 0 or 1; rounding must not blur that.
    low = np.where(hits <= 0, 0.0, np.clip(centre - half, 0.0, share))
    high = np.where(hits >= rows, 1.0, np.clip(centre + half, share, 1.0))
    return low, high
