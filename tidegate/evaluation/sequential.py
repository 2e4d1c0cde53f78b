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
_BITS, _WIDE = 35, 4096


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
    low = _lowest(lambda at: share_above(hits, rows, at), hits.shape, error / 2, 0.0, 1.0)
    high = _lowest(lambda at: share_above(rows - hits, rows, at), hits.shape, error / 2, 0.0, 1.0)
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
    low = _lowest(
        lambda at: paired_above(gains, losses, rows, at), gains.shape, error / 2, -1.0, 1.0
    )
    high = _lowest(
        lambda at: paired_above(losses, gains, rows, at), gains.shape, error / 2, -1.0, 1.0
    )
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
    low = _lowest(lambda at: difference_above(k, n, j, m, at), k.shape, error / 2, -1.0, 1.0)
    high = _lowest(lambda at: difference_above(j, m, k, n, at), k.shape, error / 2, -1.0, 1.0)
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
    shape = np.shape(sums.rows)
    mirrored = MeanSums(sums.rows, sums.w, -sums.wx, sums.ww, -sums.wwx, sums.wwxx)
    kept = {"max_weight": max_weight}
    least = _lowest(
        lambda at: mean_above(sums, at, low=low, high=high, **kept), shape, error / 2, low, high
    )
    most = _lowest(
        lambda at: mean_above(mirrored, at, low=-high, high=-low, **kept),
        shape,
        error / 2,
        -high,
        -low,
    )
    return least, -most


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
    """Return the least limit that evidence, falling in it, does not refute."""
    refuted, _ = _narrowed(
        lambda at: is_shown(evidence(at), error), np.full(shape, low), np.full(shape, high)
    )
    return refuted


def _narrowed(
    holds: Callable[[FloatArray], npt.NDArray[np.bool_]], low: FloatArray, high: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return where `holds`, true up to some point and false after it, changes.

    `holds` is asked of arrays with one axis more in front. A single number is searched in few
    wide rounds, since a round costs the same for one as for a hundred; many are halved.
    """
    parts = 32 if low.size * 32 <= _WIDE else 2
    for _ in range(math.ceil(_BITS / math.log2(parts))):
        at = np.linspace(low, high, parts + 1)[1:-1]
        passed = holds(at).sum(axis=0)
        step = (high - low) / parts
        low, high = low + passed * step, low + (passed + 1) * step
    return low, high


def _share(hits: FloatArray, rows: FloatArray) -> FloatArray:
    return np.divide(hits, rows, out=np.full_like(rows, 0.5), where=rows > 0)


def _likelihood(hits: FloatArray, rows: FloatArray, share: FloatArray) -> FloatArray:
    from scipy.special import xlog1py, xlogy

    return np.asarray(xlogy(hits, share) + xlog1py(rows - hits, -share), dtype=np.float64)


def _closest(
    k: FloatArray, n: FloatArray, j: FloatArray, m: FloatArray, d: FloatArray
) -> FloatArray:
    """Return the likeliest second share where the first is that plus `d`: the slope's only root."""
    tiny = 1e-300

    def rises(at: FloatArray) -> npt.NDArray[np.bool_]:
        first = at + d
        slope = k / np.maximum(first, tiny) - (n - k) / np.maximum(1 - first, tiny)
        slope = slope + j / np.maximum(at, tiny) - (m - j) / np.maximum(1 - at, tiny)
        return np.asarray(slope > 0)

    low, high = _narrowed(rises, np.maximum(0.0, -d), np.minimum(1.0, 1.0 - d))
    return (low + high) / 2
