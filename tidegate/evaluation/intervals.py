"""Intervals for proportions: exact, Wilson, and the difference of two."""

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
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    share = hits / rows
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * float(np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)))
    half /= 1 + z * z / rows
    low = 0.0 if hits <= 0 else max(0.0, centre - half)
    high = 1.0 if hits >= rows else min(1.0, centre + half)
    return (low, high)


def newcombe(
    hits: tuple[float, float], rows: tuple[float, float], confidence: float
) -> tuple[float, Interval]:
    """Return the difference of two proportions and its interval (first minus second).

    References
    ----------
    Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, method 10 (Wilson intervals combined).
    """
    first, second = hits[0] / rows[0], hits[1] / rows[1]
    first_low, first_high = wilson(hits[0], rows[0], confidence)
    second_low, second_high = wilson(hits[1], rows[1], confidence)
    difference = first - second
    low = difference - float(np.hypot(first - first_low, second_high - second))
    high = difference + float(np.hypot(first_high - first, second - second_low))
    return difference, (max(-1.0, low), min(1.0, high))
