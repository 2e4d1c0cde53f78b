"""Charts of the search: how the best trial came about, and how each one learned."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tidegate.evaluation.charts.drawing import MUTED, Spec, data, series_scale, spec, tip
from tidegate.records import SearchResult, TrialResult


def search_history(search: SearchResult) -> Spec:
    """Draw average precision over the seconds spent on trials, and the best so far."""
    rows: list[dict[str, Any]] = []
    spent, best = 0.0, 0.0
    for trial in search.trials:
        spent += trial.seconds
        if trial.average_precision is None:
            continue
        best = max(best, trial.average_precision)
        rows.append(
            {
                "trial": trial.number,
                "seconds spent": round(spent, 2),
                "average precision": trial.average_precision,
                "best so far": best,
                "algorithm": trial.algorithm,
                "status": trial.status.replace("_", " "),
                "seconds": round(trial.seconds, 2),
            }
        )
    base = alt.Chart(data(rows)).encode(
        x=alt.X("seconds spent:Q", title="Seconds spent on trials, one after the other")
    )
    scale = alt.Scale(zero=False, nice=True)
    names = sorted({str(row["algorithm"]) for row in rows})
    layers = [
        base.mark_line(color=MUTED, interpolate="step-after").encode(
            y=alt.Y("best so far:Q", title="Average precision (line: best so far)", scale=scale)
        ),
        base.mark_point(filled=True, size=70, opacity=0.9).encode(
            y=alt.Y("average precision:Q", scale=scale),
            color=alt.Color("algorithm:N", title=None, scale=series_scale(rows, "algorithm")),
            shape=alt.Shape("algorithm:N", title=None, scale=alt.Scale(domain=names)),
            tooltip=[
                tip("trial", None),
                tip("algorithm", None),
                tip("average precision", ".4f"),
                tip("status", None),
                tip("seconds", ",.2f"),
            ],
        ),
    ]
    return spec(alt.layer(*layers), "Average precision over the seconds spent", height=260)


def learning_curve(
    trial: TrialResult, *, loss_range: Sequence[float] | None = None, height: int = 220
) -> Spec | None:
    """Draw training and validation log-loss a step, where over- and underfitting show."""
    if len(trial.curve) < 2:
        return None
    rows = [
        {"step": point.step, "log-loss": loss, "rows": name}
        for point in trial.curve
        for name, loss in (
            ("training", point.train_log_loss),
            ("validation", point.validation_log_loss),
        )
    ]
    many = loss_range is not None
    scale = alt.Scale(domain=list(loss_range)) if loss_range else alt.Scale(zero=False)
    legend = None if many else alt.Undefined
    chart = (
        alt.Chart(data(rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("step:Q", title="Step", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            y=alt.Y("log-loss:Q", title="Log-loss", scale=scale, axis=alt.Axis(tickCount=5)),
            color=alt.Color("rows:N", title=None, scale=series_scale(rows, "rows"), legend=legend),
            strokeDash=alt.StrokeDash(
                "rows:N",
                title=None,
                scale=alt.Scale(domain=["training", "validation"]),
                legend=legend,
            ),
            tooltip=[tip("rows", None), tip("step", None), tip("log-loss", ".4f")],
        )
    )
    return spec(chart, f"Log-loss a step of trial {trial.number}", height=height)
