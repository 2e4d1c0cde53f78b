"""Scored rows by descending score: what a cut flags, without walking over the rows again."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.intervals import FloatArray

# The method's constant, not the policy's: how far one tried rank lies from the next, as a share
# of the rows flagged so far.
_STEP_SHARE = 0.01


@dataclass(frozen=True)
class Ranked:
    """Rows by ascending score.

    Rows of equal weight are two sorted arrays, which is all that counting needs and far quicker
    than sorting rows; rows of unequal weight carry their order and cumulated weight.

    Parameters
    ----------
    scores : array, shape (n,)
        Ascending; rows of weight 0 are left out.
    violating_scores : array, shape (v,)
        Ascending scores of the violating rows.
    mass_from, hits_from : arrays, shape (n + 1,), or None
        Weight, and weight of violating rows, from row i upwards; None for equal weights.
    """

    scores: FloatArray
    violating_scores: FloatArray
    mass_from: FloatArray | None = None
    hits_from: FloatArray | None = None

    @cached_property
    def total(self) -> float:
        """Effective rows."""
        return float(self.scores.size if self.mass_from is None else self.mass_from[0])

    @cached_property
    def violating(self) -> float:
        """Effective violating rows."""
        return float(self.violating_scores.size if self.hits_from is None else self.hits_from[0])

    @property
    def prevalence(self) -> float:
        """Share of violating rows, by weight."""
        return self.violating / self.total

    def rows(self, cuts: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Count the rows with a score of at least each cut."""
        return self.scores.size - np.searchsorted(self.scores, cuts)

    def mass(self, cuts: npt.ArrayLike) -> FloatArray:
        """Count the effective rows with a score of at least each cut."""
        first = np.searchsorted(self.scores, cuts)
        if self.mass_from is None:
            return (self.scores.size - first).astype(np.float64)
        return np.take(self.mass_from, first)

    def hits(self, cuts: npt.ArrayLike) -> FloatArray:
        """Count the effective violating rows with a score of at least each cut."""
        if self.hits_from is None:
            below = np.searchsorted(self.violating_scores, cuts)
            return (self.violating_scores.size - below).astype(np.float64)
        return np.take(self.hits_from, np.searchsorted(self.scores, cuts))

    def cuts_at(self, mass: npt.ArrayLike) -> FloatArray:
        """Return the lowest score that flags at most each `mass`; infinity where none does.

        A tie that straddles the rank is left out whole: the rows strictly above it are what the
        rank's own score says nothing about.
        """
        wanted = np.asarray(mass, dtype=np.float64) + 1e-9
        if self.mass_from is None:
            fits = self.scores.size - np.minimum(np.floor(wanted), self.scores.size)
            first = fits.astype(np.int64)
        else:
            first = np.searchsorted(-self.mass_from, -wanted)
        inside = np.maximum(first - 1, 0)
        after_tie = np.searchsorted(self.scores, self.scores[inside], side="right")
        first = np.where(first > 0, after_tie, 0)
        padded = np.minimum(first, self.scores.size - 1)
        return np.where(first < self.scores.size, self.scores[padded], np.inf)

    def grid(self, start: float) -> FloatArray:
        """Return distinct cuts, high to low, at ranks from `start` on that no label chose."""
        first = math.ceil(start)
        dense = np.arange(first, min(self.total, 1 / _STEP_SHARE) + 1)
        after = max(first, round(1 / _STEP_SHARE))
        steps = max(
            0, math.ceil(math.log(max(self.total / after, 1)) / math.log1p(_STEP_SHARE)) + 1
        )
        sparse = np.floor(after * (1 + _STEP_SHARE) ** np.arange(steps))
        ranks = np.concatenate([dense, sparse, [self.total]])
        cuts = self.cuts_at(ranks[ranks <= self.total])
        return np.unique(cuts[np.isfinite(cuts)])[::-1]

    def serving_cut(self, cut: float) -> float:
        """Return a value halfway to the next lower score, so that rounding moves no row across."""
        upper = int(np.searchsorted(self.scores, cut))
        if upper == 0:
            return float(self.scores[0])
        lower, score = float(self.scores[upper - 1]), float(self.scores[upper])
        middle = lower + (score - lower) / 2
        return middle if lower < middle < score else score


def rank(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Ranked:
    """Check and sort rows.

    Raises
    ------
    ValueError
        As `checked_rows`.
    """
    score, label, weight = checked_rows(scores, labels, weights)
    if weights is not None and weight.min() <= 0:
        used = weight > 0
        score, label, weight = score[used], label[used], weight[used]
    if weights is None or bool(np.all(weight == weight[0])):
        return Ranked(np.sort(score), np.sort(score[label == 1]))
    # Rows of one score add up in one order whatever the order of the rows.
    order = np.lexsort((weight, label, score))
    share = weight[order] / weight.max()
    right = share * label[order]
    return Ranked(
        score[order],
        score[order][label[order] == 1],
        np.append(np.cumsum(share[::-1])[::-1], 0.0),
        np.append(np.cumsum(right[::-1])[::-1], 0.0),
    )


def checked_rows(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scores, labels and weights as float arrays of one length.

    Raises
    ------
    ValueError
        If a score is not finite, a label is not 0 or 1, a weight is negative or not finite, no
        weight is positive, there are no rows, or the lengths differ.
    """
    score = np.asarray(scores, dtype=np.float64)
    label = np.asarray(labels)
    if score.ndim != 1 or label.shape != score.shape:
        raise ValueError(
            f"scores and labels must be flat and of one length, got shapes {score.shape} and "
            f"{label.shape}; write one score and one label a row"
        )
    if score.size == 0:
        raise ValueError("scores must hold at least one row, got 0; write the validation rows")
    if not np.isfinite(score).all():
        raise ValueError(
            f"scores must be finite, got {int((~np.isfinite(score)).sum())} NaN or infinite "
            "values; write a number for every row"
        )
    odd = (label != 0) & (label != 1)
    if odd.any():
        raise ValueError(
            f"labels must be 0 or 1, got {label[odd][0]!s}; write 1 for violating rows, else 0"
        )
    weight = np.ones(score.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != score.shape:
        raise ValueError(
            f"weights must have one value a row, got shape {weight.shape} for {score.size} rows; "
            "write one weight a row or None"
        )
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.max() <= 0:
        raise ValueError(
            f"weights must be finite, at least 0 and not all 0, got {weight.min()} to "
            f"{weight.max()}; write 1 for a fully trusted row"
        )
    return score, label.astype(np.float64), weight


def check_open_share(name: str, value: float, *, example: str) -> None:
    """Refuse a number that is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1), got {value}; write {example}")


def check_floor(name: str, floor: float) -> None:
    """Refuse a floor that is not above 0 and at most 1."""
    if not 0 < floor <= 1:
        mend = f"{floor / 100:g}" if 1 < floor <= 100 else "0.9"
        raise ValueError(f"{name} must be in (0, 1], got {floor}; write {mend}")
