"""What the charts share: colours, axes, tooltips, and a row of points with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from tidegate.records import FairnessGap, GroupMetric

INK, MUTED = "var(--ink)", "var(--muted)"
VIOLATING, HARMLESS = "var(--violating)", "var(--harmless)"
SERIES = ["var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)"]

Spec = Mapping[str, Any]

#: What a verdict is called, and its colour.
VERDICTS = {
    "pass": ("within the limit", "var(--good)"),
    "fail": ("beyond the limit", "var(--bad)"),
    "insufficient_data": ("insufficient data", "var(--unsure)"),
}


#: What the rates that groups are compared by are called.
METRICS: Mapping[GroupMetric, str] = {
    "fpr": "false-positive rate",
    "fnr": "false-negative rate",
    "precision": "precision",
    "recall": "recall",
    "selection_rate": "share flagged",
    "calibration": "mean score less violating share",
}


def data(rows: Iterable[Mapping[str, Any]], name: str | None = None) -> Any:
    """Return rows as inline data; the page's script finds those with a name."""
    values = list(rows)
    return alt.InlineData(values=values, name=alt.Undefined if name is None else name)


def share(channel: Any, field: str, title: str, *, domain: Sequence[float] | None = None) -> Any:
    """Return an axis of shares in per cent."""
    scale = alt.Undefined if domain is None else alt.Scale(domain=list(domain), nice=False)
    axis = alt.Axis(format="%", tickCount=6)
    return channel(f"{field}:Q", title=title, scale=scale, axis=axis)


def tip(field: str, format_: str | None = ".1%", title: str | None = None) -> Any:
    """Return a tooltip line."""
    return alt.Tooltip(
        f"{field}:{'N' if format_ is None else 'Q'}",
        title=title or field,
        format=alt.Undefined if format_ is None else format_,
    )


def series_scale(rows: Sequence[Mapping[str, Any]], field: str) -> Any:
    """Give each name of a field a colour."""
    names = sorted({str(row[field]) for row in rows})
    return alt.Scale(domain=names, range=[SERIES[i % len(SERIES)] for i in range(len(names))])


def intervals(
    rows: Sequence[Mapping[str, Any]],
    *,
    row: str,
    value: str,
    title: str,
    description: str,
    colour: str | None = None,
    colours: Mapping[str, str] | None = None,
    beside: Sequence[Any] = (),
    format_: str = ".1%",
) -> Spec:
    """Draw one point with its interval a row; a row without a value has its interval alone."""
    shade: Any = alt.value(SERIES[0])
    if colour is not None and colours is not None:
        used = [name for name in colours if any(r[colour] == name for r in rows)]
        shade = alt.Color(
            f"{colour}:N",
            title=None,
            scale=alt.Scale(domain=used, range=[colours[name] for name in used]),
        )
    base = alt.Chart(data(rows)).encode(
        y=alt.Y(f"{row}:N", title=None, sort=None),
        color=shade,
        tooltip=[tip(row, None), tip(value, format_), tip("low", format_), tip("high", format_)],
    )
    ticks = "%" if format_ == ".1%" else "+.2f"
    axis = alt.X("low:Q", title=title, axis=alt.Axis(format=ticks, tickCount=8))
    layers = [
        *beside,
        base.mark_rule(strokeWidth=3, opacity=0.7).encode(x=axis, x2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=f"{value}:Q"),
    ]
    return spec(alt.layer(*layers), description, height=max(70, 28 * len(rows)))


def gap_names(gaps: Sequence[FairnessGap]) -> tuple[str, list[str]]:
    """Return the axis's title for gaps that are drawn together, and what each is called."""
    metrics = {g.metric for g in gaps}
    if len(metrics) == 1:
        return f"Difference in {METRICS[gaps[0].metric]}", [g.column for g in gaps]
    names = [f"{g.column}, {METRICS[g.metric]}" for g in gaps]
    return "Difference between groups", names


def gap_row(gap: FairnessGap, name: str) -> dict[str, Any]:
    """Return a row of `intervals`, with its limit, under a name."""
    return {
        "row": name,
        "gap": gap.gap,
        "low": gap.gap_ci[0],
        "high": gap.gap_ci[1],
        "limit": gap.limit,
        "verdict": VERDICTS.get(gap.verdict, (gap.verdict, MUTED))[0],
    }


def limits(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Draw each row's own limit as a dashed stroke through it."""
    return (
        alt.Chart(data(row for row in rows if "limit" in row))
        .mark_tick(color=INK, thickness=1, size=28, strokeDash=[5, 4], orient="vertical")
        .encode(x="limit:Q", y=alt.Y("row:N", sort=None))
    )


def spec(chart: Any, description: str, *, height: int) -> Spec:
    """Return the chart as JSON values, as wide as the page lets it be."""
    found: dict[str, Any] = chart.properties(
        width="container", height=height, description=description
    ).to_dict()
    for key in ("config", "$schema"):  # the page has one configuration, and needs no address
        found.pop(key, None)
    return found
