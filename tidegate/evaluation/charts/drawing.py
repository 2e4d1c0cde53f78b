"""What the charts share: colours, axes, tooltips, and a row of points with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

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


def spec(chart: Any, description: str, *, height: int) -> Spec:
    """Return the chart as JSON values, as wide as the page lets it be."""
    found: dict[str, Any] = chart.properties(
        width="container", height=height, description=description
    ).to_dict()
    for key in ("config", "$schema"):  # the page has one configuration, and needs no address
        found.pop(key, None)
    return found
