"""The online statistics of a stream, every row's at once, of one stream or of many side by side.

They are those of Alibi Detect's online detectors, whose names they bear, in NumPy and scipy alone.

References
----------
Cobb, Van Looveren and Klaise, "Sequential multivariate change detection with calibrated and
memoryless false detection rates", AISTATS 2022 (MMD).
Ross and Adams, "Two nonparametric control charts for detecting arbitrary distribution changes",
Journal of Quality Technology 44, 2012 (Cramér-von Mises).
Ross, Tasoulis and Adams, "Sequential monitoring of a Bernoulli sequence when the pre-change
parameter is unknown", Computational Statistics 28, 2013 (Fisher's exact test).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

#: A Fisher statistic is smoothed by so much of its last value.
_SMOOTHING = 0.01


def cvm(places: Values, reference_rows: int, windows: Sequence[int]) -> Values:
    """Cramér-von Mises of the latest rows against the reference, standardised.

    Parameters
    ----------
    places : array, shape (streams, rows)
        Of each row among the reference's sorted rows, which lie at 0, 1, 2…
    reference_rows : int
    windows : sequence of int
        Numbers of latest rows; the largest statistic of those that are full counts.

    Returns
    -------
    array, shape (streams, rows)
        Minus infinity where no window is full.
    """
    below = np.floor(np.asarray(places)) + 1.0
    found = np.full(below.shape, -np.inf)
    n = float(reference_rows)
    total = (n + 1) * (2 * n + 1) / (6 * n)  # sum of (k / n)**2
    for m in windows:
        if below.shape[1] < m:
            continue
        c = np.sort(np.lib.stride_tricks.sliding_window_view(below, m, axis=1), axis=2)
        order = np.arange(1, m + 1)
        # Sums over the reference's rows of the two distribution functions' squared difference.
        cross = (n * (n + 1) / 2 - c * (c + 1) / 2).sum(axis=2) / (n * m)
        square = n - (c @ (2.0 * order - 1)) / m**2
        inside = ((c / n - order / m) ** 2).sum(axis=2)
        raw = (total - 2 * cross + square + inside) * n * m / (n + m) ** 2
        mean = 1 / 6 + 1 / (6 * (n + m))
        spread = (n + m + 1) * (4 * n * m * (n + m) - 3 * (n**2 + m**2) - 2 * n * m)
        spread /= 45 * (n + m) ** 2 * 4 * n * m
        now = (raw - mean) / np.sqrt(spread)
        found[:, m - 1 :] = np.maximum(found[:, m - 1 :], now)
    return found


def fet(
    marks: Values, reference_marked: int, reference_rows: int, windows: Sequence[int], *, more: bool
) -> Values:
    """One less the p-value of Fisher's exact test of the latest rows' share, smoothed.

    Parameters
    ----------
    marks : array, shape (streams, rows)
        Of 0 and 1.
    reference_marked, reference_rows : int
        How many of the reference's rows are marked.
    windows : sequence of int
        See `cvm`.
    more : bool
        Whether a larger share is looked for, or a smaller one.
    """
    from scipy.signal import lfilter
    from scipy.stats import hypergeom

    found = np.full_like(marks, -np.inf)
    sums = np.pad(np.cumsum(marks, axis=1), ((0, 0), (1, 0)))
    for m in windows:
        if np.shape(found)[1] < m:
            continue
        seen = np.arange(m + 1)
        both = reference_marked + seen
        rows = reference_rows + m
        if more:
            p_values = hypergeom.cdf(reference_marked, rows, both, reference_rows)
        else:
            p_values = hypergeom.cdf(seen, rows, both, m)
        table: Values = 1 - np.minimum(1.0, np.asarray(p_values, dtype=np.float64))
        raw = table[(sums[:, m:] - sums[:, :-m]).astype(np.int64)]
        start = _SMOOTHING * raw[:, :1]  # the first value stands for those before it
        now = lfilter([1 - _SMOOTHING], [1.0, -_SMOOTHING], raw, axis=1, zi=start)[0]
        found[:, m - 1 :] = np.maximum(found[:, m - 1 :], now)
    return found


def mmd(cross: Values, lagged: npt.NDArray[np.float32], window: int, within_norm: float) -> Values:
    """Maximum mean discrepancy of the latest rows to the reference, unbiased.

    Parameters
    ----------
    cross : array, shape (streams, rows)
        Each row's mean kernel value to the reference's rows.
    lagged : array, shape (streams, rows, window - 1)
        Its kernel values to the rows one, two, … before it.
    window : int
        Number of latest rows.
    within_norm : float
        Mean kernel value between two of the reference's rows.

    Returns
    -------
    array, shape (streams, rows)
        Minus infinity until the window is full.
    """
    found = np.full(cross.shape, -np.inf)
    steps = cross.shape[1] - window + 1
    if steps < 1:
        return found
    within = np.zeros((len(cross), steps))
    partial = np.cumsum(lagged, axis=2, dtype=np.float64)
    for back in range(window - 1):
        last = window - 1 - back
        within += partial[:, last : last + steps, last - 1]
    sums = np.pad(np.cumsum(cross, axis=1), ((0, 0), (1, 0)))
    between = (sums[:, window:] - sums[:, :-window]) / window
    found[:, window - 1 :] = within_norm + 2 * within / (window * (window - 1)) - 2 * between
    return found


def gaussian(first: Values, second: Values, width: float) -> npt.NDArray[np.float32]:
    """Return the Gaussian kernel's values between the rows of two matrices."""
    from scipy.spatial.distance import cdist

    squared = cdist(first, second, "sqeuclidean")
    return np.asarray(np.exp(-squared / (2 * width**2)), dtype=np.float32)


def median_width(rows: Values) -> float:
    """Return the median distance between rows, the usual width of their kernel."""
    from scipy.spatial.distance import pdist

    return max(float(np.median(pdist(rows))), 1e-6)
