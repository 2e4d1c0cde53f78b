"""The difference of a metric between two sets of units, each of which may have many rows.

Rows of one account resemble each other, so the account is what is counted. A metric over rows is
then a ratio of two sums over units, whose spread is told by the delta method; a metric of the same
units from before the experiment takes out what they differed by already.

References
----------
Deng, Knoblich and Lu, "Applying the delta method in metric analytics", KDD 2018. Deng, Xu, Kohavi
and Walker, "Improving the sensitivity of online controlled experiments by utilizing pre-experiment
data" (CUPED), WSDM 2013.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """One version's units; arrays of shape (units,).

    `total` is the metric's sum over a unit's `rows`; `before` its value before the experiment, NaN
    where a unit is new.
    """

    total: FloatArray
    rows: FloatArray
    before: FloatArray | None = None

    @property
    def mean(self) -> float:
        """The metric: the mean over rows."""
        return float(self.total.sum() / self.rows.sum())

    @property
    def deviations(self) -> FloatArray:
        """What each unit moves the metric by, times the number of units; its mean is 0."""
        moved: FloatArray = (self.total - self.mean * self.rows) / self.rows.mean()
        return moved


@dataclass(frozen=True)
class Effect:
    """Candidate less baseline; `variance_kept` is what the pre-period leaves of the variance."""

    difference: float
    standard_error: float
    variance_kept: float


def effect(baseline: Units, candidate: Units) -> Effect:
    """Return the difference of the metric, adjusted by the pre-period where both have it.

    Each side needs two units. A new unit stands at the mean of the pre-period of all, so that it
    adjusts nothing.
    """
    sides = (baseline, candidate)
    slope, befores = _slope(sides)
    difference = candidate.mean - baseline.mean
    difference -= slope * float(befores[1].mean() - befores[0].mean())
    plain = sum(float(side.deviations.var(ddof=1)) / side.rows.size for side in sides)
    variance = sum(
        float((side.deviations - slope * before).var(ddof=1)) / side.rows.size
        for side, before in zip(sides, befores, strict=True)
    )
    return Effect(difference, float(np.sqrt(variance)), variance / plain if plain else 1.0)


def spread(units: Units) -> tuple[float, float]:
    """Return the deviation of one unit's metric, and the share of its variance CUPED leaves."""
    slope, (before,) = _slope((units,))
    plain = float(units.deviations.var(ddof=1))
    kept = float((units.deviations - slope * before).var(ddof=1))
    return float(np.sqrt(plain)), kept / plain if plain else 1.0


def _slope(sides: tuple[Units, ...]) -> tuple[float, list[FloatArray]]:
    """Return CUPED's theta, of all sides together, and each unit's pre-period less their mean."""
    given = [side.before for side in sides if side.before is not None]
    known = np.concatenate([before[np.isfinite(before)] for before in given]) if given else None
    if len(given) < len(sides) or known is None or known.size == 0:
        return 0.0, [np.zeros(side.rows.size) for side in sides]
    centred = [np.where(np.isfinite(b), b - known.mean(), 0.0) for b in given]
    together = sum(
        float(((c - c.mean()) * side.deviations).sum())
        for c, side in zip(centred, sides, strict=True)
    )
    alone = sum(float(((c - c.mean()) ** 2).sum()) for c in centred)
    return (together / alone if alone > 0 else 0.0), centred
