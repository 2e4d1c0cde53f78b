"""Tests and intervals that may be read at any time, as often as one likes.

Each `…_above` returns the natural logarithm of an e-process: evidence that starts at 0 and, while
the null is true, ever reaches ``log(1 / error)`` with probability at most `error`, however often
it is read and whatever stops it (Ville's inequality). Each `…_bounds` inverts one: the truth is
within at all times at once with probability ``1 - error``. All take arrays and depend on a few
sums only, so that a caller keeps those and nothing else; the order of rows does not matter.

References
----------
Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 49, 2021. Waudby-Smith and Ramdas, "Estimating means of bounded
random variables by betting", JRSS B 86, 2023.
"""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Bounds = tuple[FloatArray, FloatArray]

#: Shares of the stake that are bet, a mixture of equal parts: from effects of a hundred-thousandth
#: to the largest. A best bet between two of them loses at most a twentieth of its growth.
_BETS = np.geomspace(1e-5, 0.95, 29)
#: Up to here the evidence of a weighted mean falls as its limit rises, so that it can be inverted.
_MEAN_BETS = np.geomspace(1e-5, 0.57, 28)
#: How far an end is narrowed down, and how many numbers are better asked about at once.
_BITS, _WIDE = 30, 8192


def is_shown(log_evidence: Any, error: float) -> npt.NDArray[np.bool_]:
    """Return where the evidence suffices, wrongly with probability at most `error`."""
    shown: npt.NDArray[np.bool_] = np.asarray(log_evidence, dtype=float) >= -np.log(error)
    return shown


def share_above(hits: Any, rows: Any, limit: Any) -> FloatArray:
    """Return the log evidence that the share of hits is above `limit` (at least 0, under 1).

    The null is that every row hits with probability at most `limit`, given those before it.
    """
    return paired_above(hits, 0.0, rows, limit, low=0.0)


def share_bounds(hits: Any, rows: Any, error: float) -> Bounds:
    """Return the two ends of the share of hits; each errs with half of `error`."""
    hits, rows = _arrays(hits, rows)
    both = np.stack([hits, rows - hits])
    low, high = _lowest(lambda at: share_above(both, rows, at), both.shape, error / 2, 0.0, 1.0)
    return low, 1.0 - high


def paired_above(
    gains: Any, losses: Any, rows: Any, margin: Any, *, low: float = -1.0
) -> FloatArray:
    """Return the log evidence that the mean of ``+1, 0, -1`` is above `margin` (under 1).

    Parameters
    ----------
    gains, losses, rows : arrays
        Rows with +1, with -1 and in all: of two versions that saw the same rows, those that only
        the first hit and those that only the second hit; the mean is the difference of shares.
    margin : array
        The null is a mean of at most this.
    low : float
        Least value a row can have.

    Notes
    -----
    A bet of share c multiplies its stake by ``1 - c + c (x - low) / (margin - low)``, which has
    mean one at the margin and falls with it; with three values a product over rows is a formula
    of the counts.
    """
    gains, losses, rows, margin = _arrays(gains, losses, rows, margin)
    room = np.maximum(margin - low, 1e-12)[..., None]
    ties = np.maximum(rows - gains - losses, 0.0)
    wealth = gains[..., None] * np.log1p(_BETS * ((1.0 - low) / room - 1.0))
    wealth = wealth + ties[..., None] * np.log1p(_BETS * (-low / room - 1.0))
    if low < 0:
        wealth = wealth + losses[..., None] * np.log1p(_BETS * ((-1.0 - low) / room - 1.0))
    return _mixture(wealth)


def paired_bounds(gains: Any, losses: Any, rows: Any, error: float) -> Bounds:
    """Return the two ends of the difference of shares of two versions that saw the same rows."""
    gains, losses, rows = _arrays(gains, losses, rows)
    up, down = np.stack([gains, losses]), np.stack([losses, gains])
    low, high = _lowest(lambda at: paired_above(up, down, rows, at), up.shape, error / 2, -1.0, 1.0)
    return low, -high


def difference_above(
    hits: Any, rows: Any, other_hits: Any, other_rows: Any, margin: Any = 0.0
) -> FloatArray:
    """Return the log evidence that a share exceeds an independent other one by over `margin`.

    Rows may come in any order and proportion, also in one that depends on what was seen.

    Notes
    -----
    The likelihood of both streams averaged over Jeffreys priors, over the largest one that the
    null allows. For every pair of shares in the null the ratio to that pair's own likelihood is a
    martingale, and the largest one can only make it smaller (Wasserman, Ramdas and Balakrishnan,
    "Universal inference", PNAS 117, 2020, with a mixture instead of a split).
    """
    from scipy.special import betaln

    k, n, j, m, d = _arrays(hits, rows, other_hits, other_rows, margin)
    mixed = betaln(k + 0.5, n - k + 0.5) + betaln(j + 0.5, m - j + 0.5) - 2 * betaln(0.5, 0.5)
    best = _likelihood(k, n, _share(k, n)) + _likelihood(j, m, _share(j, m))
    other = _closest(k, n, j, m, d)
    held = _likelihood(k, n, np.clip(other + d, 0, 1)) + _likelihood(j, m, other)
    inside = _share(k, n) - _share(j, m) <= d
    allowed = np.where(inside | (n == 0) | (m == 0), best, held)
    return np.asarray(mixed - allowed, dtype=np.float64)


def difference_bounds(
    hits: Any, rows: Any, other_hits: Any, other_rows: Any, error: float
) -> Bounds:
    """Return the two ends of the first share less the second, of independent rows."""
    k, n, j, m = _arrays(hits, rows, other_hits, other_rows)
    hits, rows = np.stack([k, j]), np.stack([n, m])
    low, high = _lowest(
        lambda at: difference_above(hits, rows, hits[::-1], rows[::-1], at),
        hits.shape,
        error / 2,
        -1.0,
        1.0,
    )
    return low, -high


@dataclass(frozen=True)
class MeanSums:
    """What a weighted mean needs to keep: sums over rows of powers of weight w and value x.

    Numbers, or arrays of one shape for many means at once.
    """

    rows: Any = 0.0
    w: Any = 0.0
    wx: Any = 0.0
    ww: Any = 0.0
    wwx: Any = 0.0
    wwxx: Any = 0.0

    @classmethod
    def of(cls, values: Any, weights: Any = 1.0) -> "MeanSums":
        """Sum over the last axis; a row that was not observed has weight 0 or is left out."""
        x, w = np.broadcast_arrays(np.asarray(values, float), np.asarray(weights, float))
        parts = (np.ones_like(x), w, w * x, w * w, w * w * x, w * w * x * x)
        return cls(*(part.sum(axis=-1) for part in parts))

    def plus(self, other: "MeanSums") -> "MeanSums":
        """Add the sums of further rows."""
        return MeanSums(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def as_list(self) -> list[float]:
        """Return the six sums as JSON numbers; ``MeanSums(*numbers)`` reads them back."""
        return [float(value) for value in astuple(self)]

    @property
    def mean(self) -> FloatArray:
        """The weighted mean so far; NaN before the first row."""
        w = np.asarray(self.w, float)
        mean: FloatArray = np.divide(self.wx, w, out=np.full_like(w, np.nan), where=w > 0)
        return mean


def mean_above(
    sums: MeanSums, limit: Any, *, low: float = 0.0, high: float = 1.0, max_weight: float = 1.0
) -> FloatArray:
    """Return the log evidence that the weighted mean of bounded values is above `limit`.

    Parameters
    ----------
    sums : MeanSums
        Of values within `low` and `high` and weights within 0 and `max_weight`: 1 for all, or one
        over the probability with which a row was observed, which makes it the mean of all rows.
    limit : array
        The null is a mean of at most this, of each row given those before it.

    Notes
    -----
    ``exp(c z - (-log(1 - c) - c) z²)`` of ``z = w (x - limit)``, scaled to at least -1, has mean
    at most one (Fan, Grama and Liu, "Exponential inequalities for martingales", Electronic
    Journal of Probability 20, 2015; the empirical-Bernstein process of Howard et al., 2021, section
    3, with the limit as its prediction).
    """
    scale = max_weight * (high - low)
    limit = np.asarray(limit, float)
    total = (sums.wx - limit * sums.w) / scale
    squares = (sums.wwxx - 2 * limit * sums.wwx + limit**2 * sums.ww) / scale**2
    cost = -np.log1p(-_MEAN_BETS) - _MEAN_BETS
    return _mixture(
        np.asarray(total)[..., None] * _MEAN_BETS
        - np.maximum(np.asarray(squares), 0.0)[..., None] * cost
    )


def mean_bounds(
    sums: MeanSums, error: float, *, low: float = 0.0, high: float = 1.0, max_weight: float = 1.0
) -> Bounds:
    """Return the two ends of a weighted mean; parameters as in `mean_above`."""
    # The values and, for the upper end, their mirror image about the middle.
    middle = low + high
    mirrored = MeanSums(
        sums.rows,
        sums.w,
        middle * sums.w - sums.wx,
        sums.ww,
        middle * sums.ww - sums.wwx,
        middle**2 * sums.ww - 2 * middle * sums.wwx + sums.wwxx,
    )
    both = MeanSums(
        *(np.stack(pair) for pair in zip(astuple(sums), astuple(mirrored), strict=True))
    )
    least, most = _lowest(
        lambda at: mean_above(both, at, low=low, high=high, max_weight=max_weight),
        np.shape(both.rows),
        error / 2,
        low,
        high,
    )
    return least, middle - most


def asymptotic_bounds(
    estimate: Any, standard_error: Any, rows: Any, error: float, *, tuned_rows: float
) -> Bounds:
    """Return the two ends of an estimate whose rows have no known limits, in the long run.

    Parameters
    ----------
    estimate, standard_error : arrays
        As of `rows` rows: a difference of means, adjusted by a covariate or not.
    tuned_rows : float
        Where the interval is narrowest, for example the planned number of rows.

    Notes
    -----
    The normal mixture behind the mSPRT (Robbins, 1970; Johari, Koomen, Pekelis and Walsh, "Always
    valid inference", Operations Research 70, 2022). Holds as rows grow, not for a few dozen:
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory", 2024.
    """
    estimate, deviation, rows = _arrays(estimate, standard_error, rows)
    wanted = -2 * np.log(error)
    ratio = np.maximum(rows, 1.0) / tuned_rows * (wanted + np.log1p(wanted))
    half = deviation * np.sqrt((1 + 1 / ratio) * (np.log1p(ratio) + wanted))
    return estimate - half, estimate + half


def _arrays(*values: Any) -> tuple[FloatArray, ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values)))


def _mixture(log_wealth: FloatArray) -> FloatArray:
    """Return the log of the mean wealth over the bets, the last axis."""
    top = log_wealth.max(axis=-1, keepdims=True)
    mean: FloatArray = np.log(np.exp(log_wealth - top).mean(axis=-1)) + top[..., 0]
    return mean


def _lowest(
    evidence: Callable[[FloatArray], FloatArray],
    shape: tuple[int, ...],
    error: float,
    low: float,
    high: float,
) -> FloatArray:
    """Return the least limit that evidence, falling in it, does not refute.

    `evidence` is asked of arrays with one axis more in front. A few numbers are searched in wide
    rounds, since a round costs the same for one as for a hundred; many are halved.
    """
    least, width = np.full(shape, low), high - low
    parts = next(n for n in (64, 8, 2) if n == 2 or least.size * n <= _WIDE)
    inner = np.arange(1, parts).reshape(-1, *[1] * len(shape)) / parts
    for _ in range(math.ceil(_BITS / math.log2(parts))):
        refuted = is_shown(evidence(least + inner * width), error).sum(axis=0)
        width /= parts
        least = least + refuted * width
    return least


def _share(hits: FloatArray, rows: FloatArray) -> FloatArray:
    return np.divide(hits, rows, out=np.full_like(rows, 0.5), where=rows > 0)


def _likelihood(hits: FloatArray, rows: FloatArray, share: FloatArray) -> FloatArray:
    from scipy.special import xlog1py, xlogy

    return np.asarray(xlogy(hits, share) + xlog1py(rows - hits, -share), dtype=np.float64)


def _closest(
    k: FloatArray, n: FloatArray, j: FloatArray, m: FloatArray, d: FloatArray
) -> FloatArray:
    """Return the likeliest second share where the first is that plus `d`.

    References
    ----------
    Miettinen and Nurminen, "Comparative analysis of two rates", Statistics in Medicine 4, 1985,
    appendix 1: the likelihood's slope is a cubic with one root in range.
    """
    rows = np.maximum(n + m, 1.0)
    square = ((n + 2 * m) * d - n - m - k - j) / rows
    line = ((m * d - n - m - 2 * j) * d + k + j) / rows
    q = square**3 / 27 - line * square / 6 + j * d * (1 - d) / rows / 2
    p = np.copysign(np.sqrt(np.maximum(square**2 / 9 - line / 3, 1e-60)), q)
    angle = (np.pi + np.arccos(np.clip(q / p**3, -1.0, 1.0))) / 3
    low, high = np.maximum(0.0, -d), np.minimum(1.0, 1.0 - d)
    at = np.clip(2 * p * np.cos(angle) - square / 3, low, high)
    # The formula is good to half of the digits; Newton's step gives the others.
    tiny = 1e-100
    a, b = np.maximum(at + d, tiny), np.maximum(1 - at - d, tiny)
    c, e = np.maximum(at, tiny), np.maximum(1 - at, tiny)
    slope = k / a - (n - k) / b + j / c - (m - j) / e
    bend = k / a**2 + (n - k) / b**2 + j / c**2 + (m - j) / e**2
    return np.asarray(np.clip(at + slope / np.maximum(bend, tiny), low, high))
