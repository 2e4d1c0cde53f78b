"""Whether groups are treated alike at the threshold, as far as the data can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.config import PolicyConfig
from tidegate.evaluation.intervals import largest_difference, wilson
from tidegate.records import FairnessGap, FairnessReport, GroupMetrics, Interval

#: The rows whose group is unknown: reported under this name, never judged.
NO_GROUP = "(none)"

_Metric = Literal["fpr", "fnr", "precision"]


@dataclass(frozen=True)
class _Slice:
    """Row counts of one group."""

    group: str
    n: int
    violating: int
    flagged: int
    right: int

    def counts(self, metric: _Metric) -> tuple[int, int]:
        """Return hits and rows of a rate."""
        harmless = self.n - self.violating
        if metric == "fpr":
            return self.flagged - self.right, harmless
        if metric == "fnr":
            return self.violating - self.right, self.violating
        return self.right, self.flagged


def audit(
    holdout: Any, *, groups: Sequence[str], threshold: float | None, policy: PolicyConfig
) -> tuple[tuple[GroupMetrics, ...], FairnessReport]:
    """Measure every group at the threshold and judge the gaps between them.

    Parameters
    ----------
    holdout : DataFrame
        A scored table. A group cell holds a name, a list of names (the row belongs to each), or
        null (the row is reported under ``(none)`` and not judged: an unknown group is no group).
    groups : sequence of str
        The group columns.
    threshold : float or None
        Without one nothing is flagged and nothing is assessed.
    policy : PolicyConfig
        `min_group_rows`: smaller groups are reported as too small, not judged. `max_fpr_gap`: the
        limit of the largest difference in false-positive rate between two judged groups.
        `confidence`: of the intervals.

    Returns
    -------
    tuple of GroupMetrics, FairnessReport
        Rows are counted, not weighted. The verdict on a column is ``pass`` when the interval of
        its largest difference lies within the limit, ``fail`` when it lies beyond, and
        ``insufficient_data`` when it straddles the limit or fewer than two groups can be judged.

    References
    ----------
    Bird et al., "Fairlearn: a toolkit for assessing and improving fairness in AI", 2020
    (`MetricFrame`, the disaggregation).
    """
    if not groups:
        return (), FairnessReport(verdict="not_assessed", notes=("No group columns are set.",))
    metrics: list[GroupMetrics] = []
    gaps: list[FairnessGap] = []
    notes: list[str] = []
    unsettled = False
    for column in groups:
        slices = _slices(holdout, column, threshold)
        metrics += [_metrics(column, s, threshold is not None, policy) for s in slices]
        known = [s for s in slices if s.group != NO_GROUP]
        judged = [s for s in known if s.n >= policy.min_group_rows]
        notes += _notes(column, slices, policy)
        if threshold is None:
            continue
        if sum(s.counts("fpr")[1] > 0 for s in judged) < 2:
            unsettled = True
            notes.append(
                f"{column}: fewer than two groups have the {policy.min_group_rows} rows that the "
                "policy asks for, so that no difference can be judged."
            )
        for metric in ("fpr", "fnr", "precision"):
            gap = _gap(column, metric, judged, policy)
            gaps += [gap] if gap else []
    if threshold is None:
        notes.append("Without a threshold nothing is flagged, and groups cannot be compared.")
        return tuple(metrics), FairnessReport(verdict="not_assessed", notes=tuple(notes))
    verdicts = {gap.verdict for gap in gaps}
    verdict: Literal["pass", "fail", "insufficient_data"] = "pass"
    if "fail" in verdicts:
        verdict = "fail"
    elif unsettled or "insufficient_data" in verdicts:
        verdict = "insufficient_data"
    return tuple(metrics), FairnessReport(verdict=verdict, gaps=tuple(gaps), notes=tuple(notes))


def members_of(holdout: Any, column: str) -> dict[str, npt.NDArray[np.int64]]:
    """Return the positions of each group's rows; a row may belong to several groups."""
    members = holdout[column].map(_members).reset_index(drop=True).explode()
    positions = members.index.to_numpy(dtype=np.int64)
    return {
        str(name): positions[at]
        for name, at in members.reset_index(drop=True).groupby(members.to_numpy()).indices.items()
    }


def _slices(holdout: Any, column: str, threshold: float | None) -> list[_Slice]:
    """Count rows, violating, flagged and rightly flagged rows a group, largest group first."""
    import pandas as pd
    from fairlearn.metrics import MetricFrame, count

    members = holdout[column].map(_members).reset_index(drop=True).explode()
    label = holdout["label"].to_numpy().astype(int)[members.index]
    score = holdout["score"].to_numpy()[members.index]
    flagged = np.zeros(len(members), int) if threshold is None else (score >= threshold).astype(int)
    frame = MetricFrame(
        metrics={
            "n": count,
            "violating": lambda actual, said: int(actual.sum()),
            "flagged": lambda actual, said: int(said.sum()),
            "right": lambda actual, said: int((actual * said).sum()),
        },
        y_true=label,
        y_pred=flagged,
        sensitive_features=pd.Series(members.to_numpy(dtype=object), name=column),
    ).by_group
    slices = [
        _Slice(str(name), *(int(v) for v in row))
        for name, row in zip(
            frame.index, frame[["n", "violating", "flagged", "right"]].to_numpy(), strict=True
        )
    ]
    return sorted(slices, key=lambda s: (s.group == NO_GROUP, -s.n, s.group))


def _members(cell: Any) -> list[str]:
    """Return the groups of a row, each once."""
    if isinstance(cell, str):
        return [cell]
    many = isinstance(cell, (list, tuple, set, frozenset, np.ndarray))
    values = list(cell) if many else [cell]
    # NaN and NaT are the values that differ from themselves.
    known = {str(value) for value in values if value is not None and value == value}
    return sorted(known) or [NO_GROUP]


def _metrics(column: str, of: _Slice, assessed: bool, policy: PolicyConfig) -> GroupMetrics:
    def rate(hits: int, rows: int) -> tuple[float | None, Interval | None]:
        if not assessed or rows == 0:
            return None, None
        return hits / rows, wilson(hits, rows, policy.confidence)

    precision, precision_ci = rate(*of.counts("precision"))
    recall, recall_ci = rate(of.right, of.violating)
    fpr, fpr_ci = rate(*of.counts("fpr"))
    fnr, fnr_ci = rate(*of.counts("fnr"))
    return GroupMetrics(
        column=column,
        group=of.group,
        n=of.n,
        violating=of.violating,
        too_small=of.n < policy.min_group_rows,
        precision=precision,
        precision_ci=precision_ci,
        recall=recall,
        recall_ci=recall_ci,
        fpr=fpr,
        fpr_ci=fpr_ci,
        fnr=fnr,
        fnr_ci=fnr_ci,
    )


def _gap(
    column: str, metric: _Metric, judged: Sequence[_Slice], policy: PolicyConfig
) -> FairnessGap | None:
    """Return the largest difference of a metric, or None with fewer than two groups."""
    counted = [(s.group, *s.counts(metric)) for s in judged if s.counts(metric)[1] > 0]
    if len(counted) < 2:
        return None
    hits = np.array([hits for _, hits, _ in counted], dtype=float)
    rows = np.array([rows for _, _, rows in counted], dtype=float)
    shares: npt.NDArray[np.float64] = hits / rows
    interval = largest_difference(hits, rows, policy.confidence)
    limit = policy.max_fpr_gap if metric == "fpr" else None
    verdict: Literal["pass", "fail", "insufficient_data", "reported"] = "reported"
    if limit is not None:
        low, high = interval
        verdict = "pass" if high <= limit else "fail" if low > limit else "insufficient_data"
    return FairnessGap(
        column=column,
        metric=metric,
        highest=counted[int(shares.argmax())][0],
        lowest=counted[int(shares.argmin())][0],
        gap=float(shares.max() - shares.min()),
        gap_ci=interval,
        limit=limit,
        verdict=verdict,
    )


def _notes(column: str, slices: Sequence[_Slice], policy: PolicyConfig) -> list[str]:
    notes = []
    small = [s.group for s in slices if s.group != NO_GROUP and s.n < policy.min_group_rows]
    if small:
        named = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
        notes.append(
            f"{column}: too few rows to judge (policy.min_group_rows {policy.min_group_rows}): "
            f"{named}."
        )
    unknown = [s.n for s in slices if s.group == NO_GROUP]
    if unknown:
        notes.append(f"{column}: {unknown[0]:,} rows name no group; they are shown, not judged.")
    without = [s.group for s in slices if s.n >= policy.min_group_rows and s.n == s.violating]
    if without:
        notes.append(f"{column}: no harmless rows in {', '.join(without)}; no FPR to judge there.")
    return notes
