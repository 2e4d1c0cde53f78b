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
        y=alt.Y("run:N", title=None, sort=None),
        yOffset=alt.YOffset("figure:N", sort=names, scale=alt.Scale(paddingOuter=0.4)),
        color=alt.Color(
            "figure:N", title=None, scale=alt.Scale(domain=names, range=[SERIES[1], SERIES[0]])
        ),
        tooltip=[tip("run", None), tip("figure", None), tip("value"), tip("low"), tip("high")],
    )
    layers = [
        base.mark_rule(strokeWidth=3, opacity=0.7).encode(
            x=share(alt.X, "low", "On the holdout", domain=[0, 1]), x2="high:Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x="value:Q",
            shape=alt.Shape("figure:N", title=None, scale=alt.Scale(domain=names)),
        ),
    ]
    height = 44 * len({row["run"] for row in rows})
    return spec(alt.layer(*layers), "Precision and recall of each run", height=max(70, height))
