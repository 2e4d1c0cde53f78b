"""The chart of runs side by side."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tidegate.evaluation.charts.drawing import SERIES, Spec, data, share, spec, tip

_COLUMNS = ("run", "figure", "value", "low", "high")


def bounds_by_run(rows: Sequence[dict[str, Any]]) -> Spec | None:
    """Draw precision and recall of each run with what is sure of them.

    Parameters
    ----------
    rows : sequence of dict
        `run`, `figure` (``precision`` or ``recall``), `value`, `low` and `high`.
    """
    if not rows:
        return None
    names = ["precision", "recall"]
    base = alt.Chart(data({key: row[key] for key in _COLUMNS} for row in rows)).encode(
        x=alt.X("run:N", title=None, sort=None, axis=alt.Axis(labelAngle=-30)),
        xOffset=alt.XOffset("figure:N", sort=names, scale=alt.Scale(paddingInner=0.6)),
        color=alt.Color(
            "figure:N", title=None, scale=alt.Scale(domain=names, range=[SERIES[1], SERIES[0]])
        ),
        tooltip=[tip("run", None), tip("figure", None), tip("value"), tip("low"), tip("high")],
    )
    layers = [
        base.mark_rule(strokeWidth=3, opacity=0.7).encode(
            y=share(alt.Y, "low", "On the holdout", domain=[0, 1]), y2="high:Q"
        ),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            y="value:Q",
            shape=alt.Shape("figure:N", title=None, scale=alt.Scale(domain=names)),
        ),
    ]
    return spec(alt.layer(*layers), "Precision and recall of each run", height=260)
