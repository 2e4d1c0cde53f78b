"""Charts of figures with intervals: groups, gaps, the baseline, prevalence."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tidegate.evaluation.charts.drawing import (
    INK,
    MUTED,
    SERIES,
    VERDICTS,
    VIOLATING,
    Spec,
    data,
    gap_names,
    gap_row,
    intervals,
    limits,
    share,
    spec,
    tip,
)
from tidegate.evaluation.memberships import NO_GROUP
from tidegate.records import EvaluationReport, GroupMetrics

_MOST_ROWS = 40


def group_rates(groups: Sequence[GroupMetrics], column: str) -> Spec | None:
    """Draw the false-positive rate of every group of one column with its interval."""
    rows = [
        {
            "group": g.group,
            "rate": g.fpr,
            "low": g.fpr_ci[0],
            "high": g.fpr_ci[1],
            "judged": "group unknown, not judged"
            if g.group == NO_GROUP
            else "insufficient data"
            if g.too_small
            else "judged",
        }
        for g in groups
        if g.column == column and g.fpr is not None and g.fpr_ci is not None
    ]
    if not rows:
        return None
    return intervals(
        rows[:_MOST_ROWS],
        row="group",
        value="rate",
        title="False-positive rate",
        colour="judged",
        colours={
            "judged": SERIES[0],
            "insufficient data": MUTED,
            "group unknown, not judged": MUTED,
        },
        description=f"False-positive rate by {column}",
    )


def gaps(evaluation: EvaluationReport) -> Spec | None:
    """Draw the largest gap of every column and rate that has a limit, beside that limit.

    A column of which nothing can be judged has a row of its own that says so.
    """
    judged = [g for g in evaluation.fairness.gaps if g.limit is not None]
    if not judged:
        return None
    title, names = gap_names(judged)
    rows: list[dict[str, Any]] = [gap_row(g, name) for g, name in zip(judged, names, strict=True)]
    words = "insufficient data: fewer than two groups can be judged"
    seen = {g.column for g in judged}
    for column in dict.fromkeys(group.column for group in evaluation.groups):
        if column not in seen:
            rows.append({"row": column, "verdict": "insufficient data", "at": 0, "text": words})
    beside = [limits(rows)]
    untold = [row for row in rows if "text" in row]
    if untold:
        beside.append(
            alt.Chart(data(untold))
            .mark_text(align="left", dx=4, color="var(--unsure)")
            .encode(x="at:Q", y=alt.Y("row:N", sort=None), text="text:N")
        )
    return intervals(
        rows,
        row="row",
        value="gap",
        title=title,
        colour="verdict",
        colours=dict(VERDICTS.values()),
        description="Largest gaps between groups",
        beside=beside,
    )


def baseline_differences(evaluation: EvaluationReport) -> Spec | None:
    """Draw candidate minus baseline for every figure, with intervals around zero."""
    rows = [
        {
            "figure": "ROC-AUC" if name == "roc_auc" else name.replace("_", " "),
            "difference": d.difference,
            "low": d.difference_ci[0],
            "high": d.difference_ci[1],
        }
        for name, d in evaluation.baseline.differences.items()
    ]
    if not rows:
        return None
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(color=INK).encode(x="zero:Q")
    return intervals(
        rows,
        row="figure",
        value="difference",
        title="Candidate minus baseline",
        description="Candidate minus baseline",
        beside=[zero],
        format_=".3f",
    )


def prevalence(evaluation: EvaluationReport, stated: float | None) -> Spec:
    """Draw the share of violating rows a split (and the stated one)."""
    rows: list[dict[str, object]] = [
        {"split": split, "share": found} for split, found in evaluation.prevalence.items()
    ]
    if stated is not None:
        rows.append({"split": "stated production", "share": stated})
    base = alt.Chart(data(rows)).encode(
        x=share(alt.X, "share", "Share of violating rows"),
        y=alt.Y("split:N", title=None, sort=None),
        tooltip=[tip("split", None), tip("share", ".2%")],
    )
    text = base.mark_text(align="left", dx=5, color=INK).encode(
        text=alt.Text("share:Q", format=".1%")
    )
    return spec(
        alt.layer(base.mark_bar(color=VIOLATING, height=16), text),
        "Share of violating rows a split",
        height=34 * len(rows),
    )
