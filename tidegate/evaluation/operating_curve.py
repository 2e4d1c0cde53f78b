"""What every threshold would do: the counts behind the report's slider.

Counts are cumulated once at a few hundred cuts, and every figure follows from them by the formulas
of `tidegate.evaluation.measurement` and `tidegate.evaluation.fairness`. The page repeats those
formulas in ``pages/threshold.js``, which a browser test holds to this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.crossfit import Rows
from tidegate.evaluation.intervals import (
    FloatArray,
    effective_rows,
    exact_lower_bound,
    exact_upper_bound,
    weighted_wilson,
    wilson,
)
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.memberships import members_of
from tidegate.evaluation.prevalence import precision_in_production
from tidegate.records import GroupMetrics, Interval

IntArray = npt.NDArray[np.int64]
GroupRate = Literal["precision", "recall", "fpr"]

#: The rates of a group that the slider moves.
RATES: tuple[GroupRate, ...] = ("precision", "recall", "fpr")

_MOST_CUTS = 500
_MOST_GROUPS = 60


@dataclass(frozen=True)
class FlaggedSums:
    """Sums over some rows, and over those of them that each cut flags, shape (cuts,)."""

    rows: float
    violating: float
    flagged: FloatArray
    right: FloatArray

    def sides(self, metric: GroupRate, stop: int) -> tuple[float, float]:
        """Return what counts as a hit of a rate and what as a miss."""
        flagged, right = float(self.flagged[stop]), float(self.right[stop])
        if metric == "precision":
            return right, flagged - right
        if metric == "recall":
            return right, self.violating - right
        return flagged - right, self.rows - self.violating - (flagged - right)


@dataclass(frozen=True)
class GroupCurve:
    """One group at every cut: rows flagged, and sums of the weights and of their squares."""

    column: str
    group: str
    n: int
    too_small: bool
    flagged: IntArray
    mass: FlaggedSums
    squares: FlaggedSums

    def rate(
        self, metric: GroupRate, stop: int, confidence: float
    ) -> tuple[float, Interval] | None:
        """Return a rate at a stop with its Wilson interval; None without rows behind it."""
        (hits, misses), squares = (of.sides(metric, stop) for of in (self.mass, self.squares))
        if hits + misses <= 0:
            return None
        interval = weighted_wilson((hits, squares[0]), (misses, squares[1]), confidence)
        return hits / (hits + misses), interval


@dataclass(frozen=True)
class OperatingCurve:
    """Counts at ascending cuts; a row is flagged when its score is at least the cut.

    `flagged` counts rows; `mass` and `hits` count rows and violating rows by weight, the heaviest
    as 1; `violating_rows` and `harmless_rows` say what the rows behind recall and the
    false-positive rate are worth (`effective_rows`); the precision bounds are one-sided exact and
    carried to `production`, the stated prevalence.
    """

    cuts: FloatArray
    flagged: IntArray
    mass: FloatArray
    hits: FloatArray
    violating_rows: FloatArray
    harmless_rows: FloatArray
    precision_lower_bound: FloatArray
    precision_upper_bound: FloatArray
    rows: int
    total_mass: float
    total_hits: float
    confidence: float
    production: float | None
    groups: tuple[GroupCurve, ...]

    @property
    def sample_prevalence(self) -> float:
        """Share of violating rows on the holdout, by weight."""
        return self.total_hits / self.total_mass

    def nearest(self, threshold: float) -> int:
        """Return the stop that lies nearest to a threshold."""
        return int(np.abs(self.cuts - threshold).argmin())

    def precision(self, stop: int) -> float:
        """Return precision at a stop, carried to production."""
        return precision_in_production(
            float(self.hits[stop] / self.mass[stop]), self.sample_prevalence, self.production
        )

    def recall(self, stop: int) -> tuple[float, Interval]:
        """Return recall at a stop with its Wilson interval."""
        share, worth = float(self.hits[stop]) / self.total_hits, float(self.violating_rows[stop])
        return share, wilson(share * worth, worth, self.confidence)

    def false_positive_rate(self, stop: int) -> tuple[float, Interval]:
        """Return the false-positive rate at a stop with its Wilson interval."""
        wrong = float(self.mass[stop] - self.hits[stop])
        share, worth = wrong / (self.total_mass - self.total_hits), float(self.harmless_rows[stop])
        return share, wilson(share * worth, worth, self.confidence)


@dataclass(frozen=True)
class Load:
    """What a pair of thresholds means for `posts` posts; money is None without stated costs.

    Posts at or above the first threshold are acted on, those between the second and the first go
    to people, who are taken to decide rightly.
    """

    posts: float
    flagged: float
    wrong: float
    reviewed: float
    missed: float
    appeals: float | None
    cost: float | None


def operating_curve(
    holdout: Any,
    *,
    confidence: float,
    prevalence: float | None = None,
    groups: Sequence[GroupMetrics] = (),
    keep: Sequence[float] = (),
) -> OperatingCurve:
    """Cumulate a scored table at no more than a few hundred cuts.

    Parameters
    ----------
    holdout : DataFrame
        A scored table with the group columns.
    confidence : float
        Of the bounds and intervals.
    prevalence : float, optional
        Production's share of violating rows, where stated.
    groups : sequence of GroupMetrics
        The groups to follow; beyond sixty the smallest are left out.
    keep : sequence of float
        Thresholds that must be among the cuts as they are.
    """
    score, label, weight = rows_of(holdout, "holdout")
    share = weight / weight.max()
    order = np.argsort(score, kind="stable")
    ranked, mass, hits = score[order], _from_top(share[order]), _from_top((share * label)[order])
    cuts = _cuts(ranked, mass, hits, keep)
    first = np.searchsorted(ranked, cuts, side="left")
    some = mass[first] > 0
    cuts, first = cuts[some], first[some]
    sample = float(hits[0] / mass[0])

    def carried(bounds: FloatArray) -> FloatArray:
        return np.array([precision_in_production(float(b), sample, prevalence) for b in bounds])

    square_hits = _from_top((share**2 * label)[order])
    square_wrong = _from_top((share**2 * (1 - label))[order])

    def worth(sums: FloatArray, squares: FloatArray) -> FloatArray:
        return effective_rows(
            (sums[first], squares[first]), (sums[0] - sums[first], squares[0] - squares[first])
        )

    followed = sorted(groups, key=lambda g: -g.n)[:_MOST_GROUPS]
    return OperatingCurve(
        cuts=cuts,
        flagged=(score.size - first).astype(np.int64),
        mass=mass[first],
        hits=hits[first],
        violating_rows=worth(hits, square_hits),
        harmless_rows=worth(mass - hits, square_wrong),
        precision_lower_bound=carried(exact_lower_bound(hits[first], mass[first], confidence)),
        precision_upper_bound=carried(exact_upper_bound(hits[first], mass[first], confidence)),
        rows=score.size,
        total_mass=float(mass[0]),
        total_hits=float(hits[0]),
        confidence=confidence,
        production=prevalence,
        groups=_group_curves(
            holdout, (score, label, weight), cuts, [g for g in groups if g in followed]
        ),
    )


def load_at(
    curve: OperatingCurve,
    act: int,
    review: int,
    *,
    posts: float,
    costs: Mapping[str, float] | None = None,
) -> Load:
    """Return what two stops mean for so many posts at production's prevalence.

    Parameters
    ----------
    curve : OperatingCurve
        From `operating_curve`.
    act, review : int
        Stops; `review` is at most `act`, and equal to it when nothing goes to people.
    posts : float
        How many posts arrive.
    costs : mapping, optional
        ``policy.costs``: `wrong_removal`, `missed_violation`, `appeal`, `appeal_share`,
        `review_minute` and `review_minutes`, in one unit of money.
    """
    share = curve.sample_prevalence if curve.production is None else curve.production
    harmless_mass = curve.total_mass - curve.total_hits

    def arriving(stop: int) -> tuple[float, float]:
        right = posts * share * float(curve.hits[stop]) / curve.total_hits
        wrong = float(curve.mass[stop] - curve.hits[stop]) / harmless_mass
        return right, posts * (1 - share) * wrong

    right, wrong = arriving(act)
    right_below, wrong_below = arriving(review)
    reviewed = (right_below - right) + (wrong_below - wrong)
    missed = posts * share - right_below
    appeals = cost = None
    if costs is not None:
        appeals = wrong * costs.get("appeal_share", 0.0)
        one_review = costs.get("review_minutes", 1.0) * costs.get("review_minute", 0.0)
        cost = (
            wrong * costs.get("wrong_removal", 0.0)
            + appeals * (costs.get("appeal", 0.0) + one_review)
            + missed * costs.get("missed_violation", 0.0)
            + reviewed * one_review
        )
    return Load(posts, right + wrong, wrong, reviewed, missed, appeals, cost)


def as_json(curve: OperatingCurve) -> dict[str, Any]:
    """Return the curve as JSON values; group counts as steps from one cut to the next."""
    from scipy.special import ndtri

    def short(values: FloatArray) -> list[float]:
        return [float(f"{value:.12g}") for value in values]

    def steps(counts: IntArray) -> list[int]:
        return [int(n) for n in np.diff(counts, prepend=0)]

    def sums(of: FlaggedSums) -> dict[str, float | list[float]]:
        return {
            "rows": of.rows,
            "violating": of.violating,
            "flagged": short(of.flagged),
            "right": short(of.right),
        }

    def weighted(group: GroupCurve) -> dict[str, Any]:
        if group.mass.rows == group.squares.rows == group.n:
            return {}
        return {"mass": sums(group.mass), "squares": sums(group.squares)}

    return {
        "cuts": [float(cut) for cut in curve.cuts],
        "flagged": steps(curve.flagged),
        "mass": short(curve.mass),
        "hits": short(curve.hits),
        "low": short(curve.precision_lower_bound),
        "rows": curve.rows,
        "totalMass": curve.total_mass,
        "totalHits": curve.total_hits,
        "violatingRows": short(curve.violating_rows),
        "harmlessRows": short(curve.harmless_rows),
        "z": float(ndtri(0.5 + curve.confidence / 2)),
        "production": curve.production,
        "groups": [
            {
                "n": g.n,
                "flagged": steps(g.flagged),
                "violating": g.mass.violating,
                "right": steps(g.mass.right.astype(np.int64)),
            }
            | weighted(g)
            for g in curve.groups
        ],
    }


def _from_top(values: FloatArray) -> FloatArray:
    """Return at each rank the sum from there to the highest score."""
    return np.cumsum(values[::-1])[::-1]


def _cuts(
    ranked: FloatArray, mass: FloatArray, hits: FloatArray, keep: Sequence[float]
) -> FloatArray:
    """Choose cuts halfway between neighbouring scores, close where recall or few rows change."""
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    if starts.size > _MOST_CUTS:
        high_first = starts[::-1]
        half = _MOST_CUTS // 2
        by_recall = np.searchsorted(
            hits[high_first], np.linspace(0, hits[0], half, endpoint=False), side="right"
        )
        top = max(float(mass[high_first[0]]), 1.0)
        by_mass = np.searchsorted(mass[high_first], np.geomspace(top, mass[0], half))
        chosen = np.unique(np.concatenate([by_recall, by_mass]).clip(0, starts.size - 1))
        starts = high_first[chosen][::-1]
    upper = ranked[starts]
    lower = ranked[np.maximum(starts - 1, 0)]
    middle = lower + (upper - lower) / 2
    inside = (lower < middle) & (middle < upper)
    cuts = np.where(inside, middle, upper)
    # A stop that flags the same rows as a threshold to keep would be a stop that moves nothing.
    kept = np.array(sorted(set(keep)), dtype=float)
    rank = np.searchsorted(ranked, cuts, side="left")
    other = ~np.isin(rank, np.searchsorted(ranked, kept, side="left"))
    return np.unique(np.concatenate([cuts[other], kept[kept <= ranked[-1]]]))


def _group_curves(
    holdout: Any, rows: Rows, cuts: FloatArray, groups: Sequence[GroupMetrics]
) -> tuple[GroupCurve, ...]:
    score, label, weight = rows
    weight = np.ones(score.size) if weight.min() == weight.max() else weight / weight.mean()
    curves = []
    members = {
        column: members_of(holdout, column)
        for column in dict.fromkeys(group.column for group in groups)
    }
    for group in groups:
        own = members[group.column].get(group.group, np.array([], dtype=np.int64))
        own = own[weight[own] > 0]
        own = own[np.argsort(score[own], kind="stable")]
        first = np.searchsorted(score[own], cuts, side="left")
        mass, squares = (_flagged_sums(weight[own] ** power, label[own], first) for power in (1, 2))
        curves.append(
            GroupCurve(
                column=group.column,
                group=group.group,
                n=own.size,
                too_small=group.too_small,
                flagged=own.size - first,
                mass=mass,
                squares=squares,
            )
        )
    return tuple(curves)


def _flagged_sums(weight: FloatArray, label: FloatArray, first: IntArray) -> FlaggedSums:
    """Return sums over rows of ascending score, flagged from the `first` at each cut."""
    every, right = (np.append(_from_top(values), 0.0) for values in (weight, weight * label))
    return FlaggedSums(float(every[0]), float(right[0]), every[first], right[first])
