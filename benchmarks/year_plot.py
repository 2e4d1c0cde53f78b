"""The simulated year as a picture: precision, recall and retrains of every policy by week."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate import store
from tidegate.data.simulate import World

_COLOURS = {"none": "#999999", "monthly": "#cc8800", "weekly": "#bb3333", "tidegate": "#1155cc"}


def draw(years: Mapping[str, Any], world: World, path: Path, *, floor: float, warm_up: int) -> None:
    """Write an SVG with one line a policy; the dashed line is the floor, upright ones drifts."""
    import altair as alt
    import vl_convert

    rows = [{"policy": name, **week} for name, year in years.items() for week in year["weeks"]]
    drifts = [
        {"week": drift.day / 7 - warm_up + 1, "drift": f"{drift.kind} {drift.size:g}"}
        for drift in world.schedule
    ]
    marks = alt.Chart(alt.Data(values=drifts)).encode(x="week:Q")
    upright = marks.mark_rule(color="#cccccc")
    colour = alt.Color(
        "policy:N",
        scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())),
        title=None,
    )
    charts = []
    for value in ("precision", "recall", "retrains"):
        lines = (
            alt.Chart(alt.Data(values=rows))
            .mark_line(strokeWidth=1.5)
            .encode(x=alt.X("week:Q", title="week"), y=alt.Y(f"{value}:Q"), color=colour)
        )
        layers = [upright, lines]
        if value == "precision":
            names = marks.mark_text(align="left", dx=2, y=8, fontSize=9).encode(text="drift:N")
            limit = alt.Chart(alt.Data(values=[{"floor": floor}])).mark_rule(strokeDash=[4, 3])
            layers += [names, limit.encode(y="floor:Q")]
        charts.append(alt.layer(*layers).properties(width=680, height=150))
    store.write_text(path, vl_convert.vegalite_to_svg(alt.vconcat(*charts).to_dict()))
