"""Charts of the holdout's scores: what a threshold reaches, and what a score means."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from tidegate.evaluation.charts.drawing import (
    HARMLESS,
    INK,
    MUTED,
    SERIES,
    VIOLATING,
    Spec,
    data,
    share,
    spec,
    tip,
)
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.operating_curve import OperatingCurve
from tidegate.records import ReliabilityBin

_BINS = 40
_SETTLED_RECALL = 0.1


def precision_recall(curve: OperatingCurve, floor: float | None, chosen: int) -> Spec:
    """Draw precision over recall with its pointwise bounds, the floor, and the chosen point.

    The data of the chosen point are named ``at``; the page moves them with its slider.
    """
    points = [_point(curve, stop) for stop in range(curve.cuts.size)]
    # The first few rows jump between 0 and 1; they say nothing and would fill the picture.
    calm = [p for p in points if p["recall"] >= 0.01] or points
    # Nor do their bounds, which would squeeze the rest.
    settled = [p["low"] for p in points if p["recall"] >= _SETTLED_RECALL]
    low = min([1.0 if floor is None else floor, *settled])
    bottom = max(0.0, np.floor(10 * low) / 10)

    def height(field: str) -> Any:
        return share(alt.Y, field, "Precision", domain=[bottom, 1])

    base = alt.Chart(data(calm)).encode(
        x=share(alt.X, "recall", "Recall", domain=[0, 1]),
        y=height("precision"),
        tooltip=[
            tip("threshold", ".4f"),
            tip("precision"),
            tip("low", title="at least"),
            tip("high", title="at most"),
            tip("recall"),
        ],
    )
    line = data([] if floor is None else [{"floor": floor, "text": "the policy's floor"}])
    layers = [
        base.mark_area(color=SERIES[0], opacity=0.18, clip=True, interpolate="linear").encode(
            y=height("low"), y2="high:Q"
        ),
        base.mark_line(color=SERIES[0], strokeWidth=2, clip=True),
        alt.Chart(line).mark_rule(color=INK, strokeDash=[5, 4]).encode(y=height("floor")),
        alt.Chart(line)
        # At the right, where every curve has fallen below the floor or left it far behind.
        .mark_text(color=INK, align="right", dx=-6, dy=-8, x="width")
        .encode(y=height("floor"), text="text:N"),
        *_marker(points[chosen], height),
    ]
    return spec(alt.layer(*layers), "Precision over recall on the holdout", height=300)


def _point(curve: OperatingCurve, stop: int) -> dict[str, float]:
    return {
        "recall": curve.recall(stop)[0],
        "precision": curve.precision(stop),
        "low": float(curve.precision_lower_bound[stop]),
        "high": float(curve.precision_upper_bound[stop]),
        "threshold": float(curve.cuts[stop]),
    }


def _marker(at: Mapping[str, float], height: Callable[[str], Any]) -> list[Any]:
    chosen = alt.Chart(data([at], name="at")).encode(x="recall:Q")
    return [
        chosen.mark_rule(color=VIOLATING, strokeWidth=3, clip=True).encode(
            y=height("low"), y2="precision:Q"
        ),
        chosen.mark_tick(
            color=VIOLATING, thickness=3, size=16, clip=True, orient="horizontal"
        ).encode(y=height("low")),
        chosen.mark_point(color=VIOLATING, filled=True, size=110, opacity=1).encode(
            y=height("precision")
        ),
    ]


def score_histogram(scored: Any, threshold: float | None, split: str) -> Spec:
    """Draw the share of each class a score bin, with the threshold (data named ``at``)."""
    score, label, _ = rows_of(scored, split)
    low, high = min(0.0, float(score.min())), max(1.0, float(score.max()))
    edges = np.linspace(low, high, _BINS + 1)
    bins = []
    for value, name in ((1, "violating"), (0, "not violating")):
        counts, _ = np.histogram(score[label == value], edges)
        bins += [
            {
                "from": float(a),
                "to": float(b),
                "rows": int(n),
                "share": float(n / counts.sum()),
                "label": name,
            }
            for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
    names = ["violating", "not violating"]
    bars = (
        alt.Chart(data(bins))
        .mark_rect(opacity=0.55)
        .encode(
            x=alt.X("from:Q", title="Score", scale=alt.Scale(domain=[low, high], nice=False)),
            x2="to:Q",
            y=share(alt.Y, "share", "Share of the class"),
            y2=alt.datum(0),
            color=alt.Color(
                "label:N", title=None, scale=alt.Scale(domain=names, range=[VIOLATING, HARMLESS])
            ),
            tooltip=[tip("label", None), tip("from", ".3f"), tip("to", ".3f"), tip("rows", ",")],
        )
    )
    cut = alt.Chart(data([] if threshold is None else [{"threshold": threshold}], name="at"))
    layers = [bars, cut.mark_rule(color=INK, strokeWidth=2).encode(x="threshold:Q")]
    return spec(alt.layer(*layers), f"Scores on the {split} by label", height=300)


def reliability(bins: Sequence[ReliabilityBin]) -> Spec | None:
    """Draw the share that violates over the score, with intervals, beside the diagonal."""
    if not bins:
        return None
    rows = [
        {
            "score": b.score,
            "share": b.violating,
            "low": b.violating_ci[0],
            "high": b.violating_ci[1],
            "rows": b.rows,
        }
        for b in bins
    ]
    diagonal = alt.Chart(data([{"score": 0, "share": 0}, {"score": 1, "share": 1}]))
    base = alt.Chart(data(rows)).encode(
        x=share(alt.X, "score", "Mean score", domain=[0, 1]),
        tooltip=[tip("score"), tip("share", title="violating"), tip("low"), tip("high"),
                 tip("rows", ",")],
    )  # fmt: skip
    y = share(alt.Y, "share", "Share that violates", domain=[0, 1])
    layers = [
        diagonal.mark_line(color=MUTED, strokeDash=[5, 4]).encode(x="score:Q", y="share:Q"),
        base.mark_rule(color=SERIES[0], strokeWidth=2, opacity=0.7).encode(y="low:Q", y2="high:Q"),
        base.mark_line(color=SERIES[0], strokeWidth=1.5).encode(y=y),
        base.mark_point(color=SERIES[0], filled=True, size=60, opacity=1).encode(y=y),
    ]
    return spec(alt.layer(*layers), "Reliability: share that violates over the score", height=300)
