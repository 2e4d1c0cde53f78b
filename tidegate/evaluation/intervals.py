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
    low, high = _wilson(np.array([hits], dtype=float), np.array([rows], dtype=float), confidence)
    return (float(low[0]), float(high[0]))


def largest_difference(hits: FloatArray, rows: FloatArray, confidence: float) -> Interval:
    """Return an interval for the largest true difference among several proportions.

    Every pair gets Newcombe's interval at the Bonferroni level, so that all hold at once; the
    largest difference then lies between their largest lower and their largest upper bound.

    Parameters
    ----------
    hits, rows : arrays, shape (g,)
        Counts a group, g >= 2, `rows` positive. The groups are taken as independent; a row that
        belongs to two of them makes the interval wider than needed, not narrower.

    References
    ----------
    Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, method 10 (Wilson intervals combined).
    """
    pairs = hits.size * (hits.size - 1) // 2
    low, high = _wilson(hits, rows, 1 - (1 - confidence) / pairs)
    share = hits / rows
    first, second = np.triu_indices(hits.size, k=1)
    difference = share[first] - share[second]
    down, up = share - low, high - share
    lower = difference - np.hypot(down[first], up[second])
    upper = difference + np.hypot(up[first], down[second])
    at_least = max(0.0, float(lower.max()), float((-upper).max()))
    at_most = min(1.0, max(float(upper.max()), float((-lower).max())))
    return (at_least, at_most)


def _wilson(hits: FloatArray, rows: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
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
