"""Whether groups are treated alike at the threshold, as far as the data can tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.config import PolicyConfig
from tidegate.evaluation.intervals import (
    FloatArray,
    effective_rows,
    pair_differences,
    wilson_bounds,
)
from tidegate.evaluation.memberships import NO_GROUP, memberships
from tidegate.evaluation.ranking import checked_rows
from tidegate.records import (
    FairnessGap,
    FairnessReport,
    GroupMetric,
    GroupMetrics,
    GroupPair,
    Interval,
)

#: What groups are compared by. Recall is one less the false-negative rate, its gaps are the same.
COMPARED: tuple[GroupMetric, ...] = ("fpr", "fnr", "precision", "selection_rate", "calibration")

# A record is for reading: of many groups only the pairs that may differ most are kept.
_PAIRS_KEPT = 100

_Verdict = Literal["pass", "fail", "insufficient_data", "reported"]


_WORDS: Mapping[GroupMetric, str] = {
    "fpr": "false-positive rate",
    "fnr": "false-negative rate",
    "precision": "precision",
    "selection_rate": "share flagged",
    "calibration": "mean score less violating share",
}

# A row's cell is twice its label plus whether it is flagged. Of each rate: what counts as a hit,
# and as a miss.
_CELLS: Mapping[GroupMetric, tuple[list[int], list[int]]] = {
    "fpr": ([1], [0]),
    "fnr": ([2], [3]),
    "recall": ([3], [2]),
    "precision": ([3], [1]),
    "selection_rate": ([1, 3], [0, 2]),
}


@dataclass(frozen=True)
class _Groups:
    """Counts and sums a group of one column; arrays of shape (groups, ...), largest group first.

    `n` and `violating` count rows, `worth` how many equal rows they stand for (Kish). `mass` and
    `squares` sum the weights, and their squares, of the four cells; `score` is the mean score,
    `error` the mean of score less label, `error_variance` estimates its variance.
    """

    names: Sequence[str]
    n: FloatArray
    violating: FloatArray
    worth: FloatArray
    mass: FloatArray
    squares: FloatArray
    score: FloatArray
    error: FloatArray
    error_variance: FloatArray

    def rows(self, metric: GroupMetric) -> FloatArray:
        """Return the weight of the rows behind a figure."""
        hits, misses = _CELLS.get(metric, ([0, 1], [2, 3]))
        return np.asarray(self.mass[:, hits + misses].sum(axis=1))

    def value(self, metric: GroupMetric) -> FloatArray:
        """Return a figure of groups that all have rows behind it."""
        if metric == "calibration":
            return self.error
        return np.asarray(self.mass[:, _CELLS[metric][0]].sum(axis=1) / self.rows(metric))

    def bounds(self, metric: GroupMetric, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Return the ends of two-sided intervals."""
        if metric != "calibration":
            hits, misses = (
                (self.mass[:, cells].sum(axis=1), self.squares[:, cells].sum(axis=1))
                for cells in _CELLS[metric]
            )
            rows = effective_rows(hits, misses)
            return wilson_bounds(self.value(metric) * rows, rows, confidence)
        from scipy.special import stdtrit

        half = stdtrit(np.maximum(self.worth - 1, 1), 0.5 + confidence / 2)
        half = half * np.sqrt(self.error_variance)
        return self.error - half, self.error + half

    def chosen(self, which: npt.NDArray[np.bool_] | Sequence[int]) -> "_Groups":
        """Return some of the groups."""
        places = np.arange(len(self.names))[which]
        arrays = {k: v[places] for k, v in vars(self).items() if k != "names"}
        return _Groups([self.names[int(i)] for i in places], **arrays)


def audit(
    holdout: Any,
    *,
    groups: Sequence[str],
    threshold: float | FloatArray | None,
    policy: PolicyConfig,
) -> tuple[tuple[GroupMetrics, ...], FairnessReport]:
    """Measure every group at the threshold and judge the gaps between them.

    Parameters
    ----------
    holdout : DataFrame
        A scored table. A group cell holds a name, a list of names (the row belongs to each), or
        null (the row is reported under ``(none)`` and not judged: an unknown group is no group).
    groups : sequence of str
        The group columns.
    threshold : float, array or None
        One for all rows or one a row; without any nothing is flagged and nothing is assessed.
    policy : PolicyConfig
        `min_group_rows`: groups whose rows are worth fewer are reported as too small, not judged.
        `max_fpr_gap` and
        `max_gaps`: limits of the largest difference between two judged groups. `confidence`: of
        the intervals.

    Returns
    -------
    tuple of GroupMetrics, FairnessReport
        Figures are of weighted rows, and intervals as wide as the weights make them; equal weights
        are none. The verdict on a gap is ``pass`` when its interval lies
        within the limit, ``fail`` when it lies beyond, and ``insufficient_data`` when it straddles
        the limit. The audit fails when one gap does, passes when all do, and is else
        ``insufficient_data``, also where a column has fewer than two groups that can be judged.
        At most half of one minus the confidence of audits fail wrongly, over all columns, limits
        and pairs, and as many pass wrongly (``benchmarks/fairness_gate.py``).

    References
    ----------
    Bird et al., "Fairlearn: a toolkit for assessing and improving fairness in AI", 2020
    (`MetricFrame`, the disaggregation). `pair_differences` for the intervals.
    """
    if not groups:
        return (), FairnessReport(verdict="not_assessed", notes=("No group columns are set.",))
    metrics: list[GroupMetrics] = []
    gaps: list[FairnessGap] = []
    pairs: list[GroupPair] = []
    notes: list[str] = []
    unsettled = False
    limits: dict[GroupMetric, float] = {"fpr": policy.max_fpr_gap}
    limits.update(policy.max_gaps.items())
    for column in groups:
        found = _counted(holdout, column, threshold)
        metrics += _metrics(column, found, threshold is not None, policy)
        notes += _notes(column, found, policy)
        if threshold is None:
            continue
        known = np.array([name != NO_GROUP for name in found.names])
        judged = found.chosen(known & (found.worth >= policy.min_group_rows))
        for metric in COMPARED:
            some = judged.chosen(judged.rows(metric) > 0)
            limit = limits.get(metric)
            if len(some.names) >= 2:
                compared = _compared(column, metric, some, limit, policy, len(groups) * len(limits))
                gaps.append(compared[0])
                pairs += compared[1]
                notes += compared[2]
            elif limit is not None:
                unsettled = True
                notes.append(
                    f"{column}: fewer than two groups have the {policy.min_group_rows} rows that "
                    f"the policy asks for and rows behind the "
                    f"{_WORDS[metric]}, so that no difference can be judged."
                )
    if threshold is None:
        notes.append("Without a threshold nothing is flagged, and groups cannot be compared.")
        return tuple(metrics), FairnessReport(verdict="not_assessed", notes=tuple(notes))
    verdicts = {gap.verdict for gap in gaps}
    verdict: Literal["pass", "fail", "insufficient_data"] = "pass"
    if "fail" in verdicts:
        verdict = "fail"
    elif unsettled or "insufficient_data" in verdicts:
        verdict = "insufficient_data"
    return tuple(metrics), FairnessReport(
        verdict=verdict, gaps=tuple(gaps), notes=tuple(notes), pairs=tuple(pairs)
    )


def _counted(holdout: Any, column: str, threshold: float | FloatArray | None) -> _Groups:
    names, rows, codes = memberships(holdout[column])
    score, label, weight = checked_rows(holdout["score"], holdout["label"], holdout.get("weight"))
    side = label.astype(np.int8) * np.int8(2)
    if threshold is not None:
        side += score >= threshold
    even = bool(weight[0] == weight.min() == weight.max())
    if rows.size != score.size or not even or not np.array_equal(rows, np.arange(rows.size)):
        heard = weight[rows] > 0
        rows, codes = rows[heard], codes[heard]
        score, side, weight = score[rows], side[rows], weight[rows]
    size = len(names)
    # One pass over the rows a sum, whatever the number of groups.
    cell = codes * 4
    cell += side

    def summed(values: FloatArray) -> FloatArray:
        return np.bincount(cell, values, minlength=4 * size).reshape(-1, 4).astype(np.float64)

    counts = np.bincount(cell, minlength=4 * size).reshape(-1, 4).astype(np.float64)
    n = counts.sum(axis=1)
    # Weighted: sums of squared weights times score, and times score squared.
    mass = squares = counts
    weighted = score
    scored = once = summed(score)
    if not even:
        weight = weight / weight.mean()
        weighted = weight**2 * score
        mass, squares = summed(weight), summed(weight**2)
        scored, once = summed(weight * score), summed(weighted)
    sums = scored.sum(axis=1)
    twice = np.bincount(codes, weighted * score, minlength=size)
    all_mass, all_squares = mass.sum(axis=1), squares.sum(axis=1)
    # Rounding must not make a group of 50 rows one of 49.999.
    worth, hit = np.round(all_mass**2 / all_squares, 6), squares[:, 2:].sum(axis=1)
    error = (sums - mass[:, 2:].sum(axis=1)) / all_mass
    own = twice - 2 * once[:, 2:].sum(axis=1) + hit
    own += error**2 * all_squares - 2 * error * (once.sum(axis=1) - hit)
    own *= worth / np.maximum(worth - 1, 1)
    # With few or no violating rows the errors seen all look alike; what the scores themselves
    # claim about their spread then stands in.
    variance = np.maximum(np.maximum(own, 0.0), once.sum(axis=1) - twice) / all_mass**2
    found = _Groups(
        names=names,
        n=n,
        violating=counts[:, 2:].sum(axis=1),
        worth=worth,
        mass=mass,
        squares=squares,
        score=sums / all_mass,
        error=error,
        error_variance=variance,
    )
    order = sorted(
        (i for i in range(size) if n[i] > 0),
        key=lambda i: (names[i] == NO_GROUP, -n[i], names[i]),
    )
    return found.chosen(order)


def _metrics(
    column: str, of: _Groups, assessed: bool, policy: PolicyConfig
) -> tuple[GroupMetrics, ...]:
    figures: list[dict[str, float | Interval | None]] = [{} for _ in of.names]
    for metric in (*COMPARED, "recall") if assessed else ():
        some = of.rows(metric) > 0
        kept = of.chosen(some)
        value = kept.value(metric)
        low, high = kept.bounds(metric, policy.confidence)
        for place, i in enumerate(np.flatnonzero(some)):
            figures[i][metric] = float(value[place])
            figures[i][f"{metric}_ci"] = (float(low[place]), float(high[place]))
    return tuple(
        GroupMetrics.model_validate(
            {
                "column": column,
                "group": name,
                "n": int(of.n[i]),
                "violating": int(of.violating[i]),
                "effective_rows": None if of.worth[i] == of.n[i] else float(of.worth[i]),
                "too_small": bool(of.worth[i] < policy.min_group_rows),
                "mean_score": float(of.score[i]),
                **figures[i],
            }
        )
        for i, name in enumerate(of.names)
    )


def _compared(
    column: str,
    metric: GroupMetric,
    of: _Groups,
    limit: float | None,
    policy: PolicyConfig,
    tests: int,
) -> tuple[FairnessGap, list[GroupPair], list[str]]:
    """Return the largest difference of a metric, the pairs, and what a reader should know."""
    value = of.value(metric)
    found = pair_differences(
        value,
        lambda level: of.bounds(metric, level),
        policy.confidence,
        columns=1 if limit is None else tests,
    )
    most = np.inf if metric == "calibration" else 1.0
    at_most = np.minimum(found.at_most, most)
    gap_ci = (float(found.at_least.max()), float(at_most.max()))
    gap = FairnessGap(
        column=column,
        metric=metric,
        highest=of.names[int(value.argmax())],
        lowest=of.names[int(value.argmin())],
        gap=float(value.max() - value.min()),
        gap_ci=gap_ci,
        limit=limit,
        verdict=_verdict(gap_ci, limit),
    )
    kept = np.argsort(-at_most, kind="stable")[:_PAIRS_KEPT]
    pairs = []
    for i in kept:
        size_ci = (float(found.at_least[i]), float(at_most[i]))
        pairs.append(
            GroupPair(
                column=column,
                metric=metric,
                first=of.names[int(found.first[i])],
                second=of.names[int(found.second[i])],
                difference=float(found.difference[i]),
                size_ci=size_ci,
                limit=limit,
                verdict=_verdict(size_ci, limit),
            )
        )
    notes = []
    if limit is not None and found.difference.size > _PAIRS_KEPT:
        notes.append(
            f"{column}: of {found.difference.size:,} pairs of groups the {_PAIRS_KEPT} that may "
            f"differ most in {_WORDS[metric]} are listed; all were judged."
        )
    return gap, pairs, notes


def _verdict(size: Interval, limit: float | None) -> _Verdict:
    if limit is None:
        return "reported"
    low, high = size
    return "pass" if high <= limit else "fail" if low > limit else "insufficient_data"


def _notes(column: str, of: _Groups, policy: PolicyConfig) -> list[str]:
    notes = []
    rows = dict(zip(of.names, of.n, strict=True))
    enough = of.worth >= policy.min_group_rows
    small = [g for g, many in zip(of.names, enough, strict=True) if g != NO_GROUP and not many]
    if small:
        named = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
        notes.append(
            f"{column}: too few rows to judge (policy.min_group_rows {policy.min_group_rows}): "
            f"{named}."
        )
    if NO_GROUP in rows:
        notes.append(
            f"{column}: {int(rows[NO_GROUP]):,} rows name no group; they are shown, not judged."
        )
    only_violating = enough & (of.n == of.violating)
    if only_violating.any():
        named = ", ".join(of.names[int(i)] for i in np.flatnonzero(only_violating))
        notes.append(f"{column}: no harmless rows in {named}; no FPR to judge there.")
    return notes
