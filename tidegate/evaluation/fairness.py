"""Whether groups are treated alike at the threshold, as far as the data can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.config import PolicyConfig
from tidegate.evaluation.intervals import FloatArray, pair_differences, wilson_bounds
from tidegate.records import (
    FairnessGap,
    FairnessReport,
    GroupMetric,
    GroupMetrics,
    GroupPair,
    Interval,
)

#: The rows whose group is unknown: reported under this name, never judged.
NO_GROUP = "(none)"

#: What groups are compared by. Recall is one less the false-negative rate, its gaps are the same.
COMPARED: tuple[GroupMetric, ...] = ("fpr", "fnr", "precision", "selection_rate", "calibration")

# A record is for reading: of many groups only the pairs that may differ most are kept.
_PAIRS_KEPT = 100
_ONE_VALUE_KINDS = frozenset({"string", "integer", "boolean", "floating", "empty"})

_Verdict = Literal["pass", "fail", "insufficient_data", "reported"]


@dataclass(frozen=True)
class _Groups:
    """Counts and sums a group of one column; arrays of shape (groups,), largest group first.

    `error` sums score less label, `error_spread` estimates the variance of that sum.
    """

    names: Sequence[str]
    n: FloatArray
    violating: FloatArray
    flagged: FloatArray
    right: FloatArray
    score: FloatArray
    error: FloatArray
    error_spread: FloatArray

    def counts(self, metric: GroupMetric) -> tuple[FloatArray, FloatArray]:
        """Return hits and rows of a rate."""
        if metric == "fpr":
            return self.flagged - self.right, self.n - self.violating
        if metric == "fnr":
            return self.violating - self.right, self.violating
        if metric == "recall":
            return self.right, self.violating
        if metric == "selection_rate":
            return self.flagged, self.n
        return self.right, self.flagged

    def rows(self, metric: GroupMetric) -> FloatArray:
        """Return the rows behind a figure."""
        return self.n if metric == "calibration" else self.counts(metric)[1]

    def value(self, metric: GroupMetric) -> FloatArray:
        """Return a figure of groups that all have rows behind it."""
        if metric == "calibration":
            return self.error / self.n
        hits, rows = self.counts(metric)
        return hits / rows

    def bounds(self, metric: GroupMetric, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Return the ends of two-sided intervals."""
        if metric != "calibration":
            return wilson_bounds(*self.counts(metric), confidence)
        from scipy.special import stdtrit

        half = stdtrit(np.maximum(self.n - 1, 1), 0.5 + confidence / 2)
        half = half * np.sqrt(self.error_spread) / self.n
        return self.error / self.n - half, self.error / self.n + half

    def chosen(self, which: npt.NDArray[np.bool_]) -> "_Groups":
        """Return some of the groups."""
        names = [name for name, kept in zip(self.names, which, strict=True) if kept]
        arrays = {k: v[which] for k, v in vars(self).items() if k != "names"}
        return _Groups(names, **arrays)


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
        `min_group_rows`: smaller groups are reported as too small, not judged. `max_fpr_gap` and
        `max_gaps`: limits of the largest difference between two judged groups. `confidence`: of
        the intervals.

    Returns
    -------
    tuple of GroupMetrics, FairnessReport
        Rows are counted, not weighted. The verdict on a gap is ``pass`` when its interval lies
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
        judged = found.chosen(known & (found.n >= policy.min_group_rows))
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
                    f"the policy asks for and rows behind the {metric}, so that no difference can "
                    "be judged."
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


def members_of(holdout: Any, column: str) -> dict[str, npt.NDArray[np.int64]]:
    """Return the positions of each group's rows; a row may belong to several groups."""
    names, rows, codes = memberships(holdout[column])
    return {name: rows[codes == code] for code, name in enumerate(names)}


def memberships(column: Any) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the group names of a column, and for every membership its row and its group.

    A row of a list stands there once a distinct name; one without any under `NO_GROUP`.
    """
    import pandas as pd

    rows = np.arange(len(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, found = column.cat.codes.to_numpy(dtype=np.int64), list(column.cat.categories)
    elif column.dtype.kind in "iub":
        codes, found = pd.factorize(column.to_numpy())
    else:
        values = column.to_numpy(dtype=object)
        if pd.api.types.infer_dtype(values, skipna=True) not in _ONE_VALUE_KINDS:
            lists = [_members(cell) for cell in values]
            rows = np.repeat(rows, [len(names) for names in lists])
            values = np.array([name for names in lists for name in names], dtype=object)
        codes, found = pd.factorize(values)
    if codes.size and isinstance(column.dtype, pd.CategoricalDtype):
        used = np.flatnonzero(np.bincount(codes + 1, minlength=len(found) + 1)[1:])
        if used.size < len(found):
            codes = np.where(codes < 0, codes, np.searchsorted(used, codes))
            found = [found[int(code)] for code in used]
    names = [str(name) for name in found]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(names), codes)
        names.append(NO_GROUP)
    return names, rows, codes


def _members(cell: Any) -> list[str]:
    """Return the groups of a row, each once."""
    many = isinstance(cell, (list, tuple, set, frozenset, np.ndarray))
    values = list(cell) if many else [cell]
    # NaN and NaT are the values that differ from themselves.
    known = {str(value) for value in values if value is not None and value == value}
    return sorted(known) or [NO_GROUP]


def _counted(holdout: Any, column: str, threshold: float | FloatArray | None) -> _Groups:
    names, rows, codes = memberships(holdout[column])
    score = holdout["score"].to_numpy(dtype=np.float64)
    side = holdout["label"].to_numpy().astype(np.int8) * np.int8(2)
    if threshold is not None:
        side += score >= threshold
    if rows.size != score.size or not np.array_equal(rows, np.arange(rows.size)):
        score, side = score[rows], side[rows]
    # One pass over the rows a sum, whatever the number of groups.
    cell = codes * 4
    cell += side
    cells = np.bincount(cell, minlength=4 * len(names)).reshape(-1, 4)
    summed = np.bincount(cell, weights=score, minlength=4 * len(names)).reshape(-1, 4)
    squares = np.bincount(codes, weights=score * score, minlength=len(names))
    n = cells.sum(axis=1).astype(np.float64)
    violating = cells[:, 2:].sum(axis=1).astype(np.float64)
    scores, hit = summed.sum(axis=1), summed[:, 2:].sum(axis=1)
    error_sum = scores - violating
    observed = np.maximum(squares - 2 * hit + violating - error_sum**2 / n, 0.0)
    # With few or no violating rows the errors seen all look alike; what the scores themselves
    # claim about their spread then stands in.
    spread = np.maximum(observed * n / np.maximum(n - 1, 1), scores - squares)
    found = _Groups(
        names=names,
        n=n,
        violating=violating,
        flagged=cells[:, [1, 3]].sum(axis=1).astype(np.float64),
        right=cells[:, 3].astype(np.float64),
        score=scores,
        error=error_sum,
        error_spread=spread,
    )
    order = sorted(range(len(names)), key=lambda i: (names[i] == NO_GROUP, -n[i], names[i]))
    arrays = {k: v[order] for k, v in vars(found).items() if k != "names"}
    return _Groups([names[i] for i in order], **arrays)


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
                "too_small": bool(of.n[i] < policy.min_group_rows),
                "mean_score": float(of.score[i] / of.n[i]),
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
            f"differ most in {metric} are listed; all were judged."
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
    small = [g for g, n in rows.items() if g != NO_GROUP and n < policy.min_group_rows]
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
    only_violating = (of.n >= policy.min_group_rows) & (of.n == of.violating)
    if only_violating.any():
        named = ", ".join(of.names[int(i)] for i in np.flatnonzero(only_violating))
        notes.append(f"{column}: no harmless rows in {named}; no FPR to judge there.")
    return notes
