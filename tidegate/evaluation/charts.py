"""The report's charts as Vega-Lite specifications.

Colours are CSS variables of the page, so that one drawing serves light, dark and print.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from tidegate.evaluation.measurement import precision_recall_points, rows_of
from tidegate.records import EvaluationReport, GroupMetrics, SearchResult, TrialResult

_INK, _MUTED, _RULE = "var(--ink)", "var(--muted)", "var(--rule)"
_VIOLATING, _HARMLESS = "var(--violating)", "var(--harmless)"
_SERIES = ["var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)"]
_BINS = 40

Spec = Mapping[str, Any]


def precision_recall(
    evaluation: EvaluationReport, holdout: Any, *, prevalence: float | None = None
) -> Spec:
    """Draw holdout precision over recall, the floor, and the chosen point with its bound."""
    points = precision_recall_points(holdout, prevalence=prevalence)
    # The first few rows jump between 0 and 1; they say nothing and would fill the picture.
    calm = [p for p in points if p[0] >= 0.01] or list(points)
    curve = alt.Chart(
        _data({"recall": r, "precision": p, "threshold": t} for r, p, t in calm)
    ).encode(
        x=_share(alt.X, "recall", "Recall", domain=[0, 1]),
        y=_share(alt.Y, "precision", "Precision", domain=[0, 1]),
        tooltip=[_tip("recall"), _tip("precision"), _tip("threshold", ".3f")],
    )
    floor = _data([{"floor": evaluation.min_precision, "text": "precision floor"}])
    layers = [
        curve.mark_line(color=_SERIES[0], strokeWidth=2),
        alt.Chart(floor).mark_rule(color=_INK, strokeDash=[5, 4]).encode(y="floor:Q"),
        alt.Chart(floor)
        .mark_text(color=_INK, align="left", dx=6, dy=12, x=0)
        .encode(y="floor:Q", text="text:N"),
    ]
    if evaluation.precision is not None and evaluation.precision_lower_bound is not None:
        chosen = alt.Chart(
            _data(
                [
                    {
                        "recall": evaluation.recall,
                        "precision": evaluation.precision,
                        "bound": evaluation.precision_lower_bound,
                        "threshold": evaluation.threshold,
                    }
                ]
            )
        ).encode(
            x="recall:Q",
            tooltip=[
                _tip("recall"),
                _tip("precision"),
                _tip("bound", title="lower bound"),
                _tip("threshold", ".3f"),
            ],
        )
        layers += [
            chosen.mark_rule(color=_VIOLATING, strokeWidth=3).encode(y="bound:Q", y2="precision:Q"),
            chosen.mark_tick(color=_VIOLATING, thickness=3, size=16).encode(y="bound:Q"),
            chosen.mark_point(color=_VIOLATING, filled=True, size=110, opacity=1).encode(
                y="precision:Q"
            ),
        ]
    return _spec(alt.layer(*layers), "Precision over recall on the holdout", height=300)


def score_histogram(holdout: Any, threshold: float | None) -> Spec:
    """Draw the share of each class a score bin, with the threshold."""
    score, label, _ = rows_of(holdout, "holdout")
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
    bars = (
        alt.Chart(_data(bins))
        .mark_rect(opacity=0.55)
        .encode(
            x=alt.X("from:Q", title="Score", scale=alt.Scale(domain=[low, high], nice=False)),
            x2="to:Q",
            y=_share(alt.Y, "share", "Share of the class"),
            y2=alt.datum(0),
            color=alt.Color(
                "label:N",
                title=None,
                scale=alt.Scale(
                    domain=["violating", "not violating"], range=[_VIOLATING, _HARMLESS]
                ),
            ),
            tooltip=[
                _tip("label", None),
                _tip("from", ".3f"),
                _tip("to", ".3f"),
                _tip("rows", ","),
            ],
        )
    )
    layers = [bars]
    if threshold is not None:
        cut = _data([{"cut": threshold, "text": f"threshold {threshold:.3f}"}])
        left = threshold > (low + high) / 2
        layers += [
            alt.Chart(cut).mark_rule(color=_INK, strokeWidth=2).encode(x="cut:Q"),
            alt.Chart(cut)
            .mark_text(color=_INK, align="right" if left else "left", dx=-6 if left else 6, y=8)
            .encode(x="cut:Q", text="text:N"),
        ]
    return _spec(alt.layer(*layers), "Scores on the holdout by label", height=260)


def group_rates(groups: Sequence[GroupMetrics], column: str) -> Spec | None:
    """Draw the false-positive rate of every group of one column with its interval."""
    rows = [
        {
            "group": g.group,
            "rate": g.fpr,
            "low": g.fpr_ci[0],
            "high": g.fpr_ci[1],
            "judged": "too few rows to judge" if g.too_small else "enough rows",
            "n": g.n,
        }
        for g in groups
        if g.column == column and g.fpr is not None and g.fpr_ci is not None
    ]
    if not rows:
        return None
    return _intervals(
        rows[:40],
        row="group",
        value="rate",
        title="False-positive rate",
        colour="judged",
        colours={"enough rows": _SERIES[0], "too few rows to judge": _MUTED},
        description=f"False-positive rate by {column}",
    )


def gaps(evaluation: EvaluationReport) -> Spec | None:
    """Draw the largest false-positive-rate gap a column beside its limit."""
    names = {
        "pass": "within the limit",
        "fail": "beyond the limit",
        "insufficient_data": "insufficient data",
    }
    rows = [
        {
            "column": g.column,
            "gap": g.gap,
            "low": g.gap_ci[0],
            "high": g.gap_ci[1],
            "verdict": names[g.verdict],
            "limit": g.limit,
        }
        for g in evaluation.fairness.gaps
        if g.limit is not None
    ]
    if not rows:
        return None
    limit = (
        alt.Chart(_data([{"limit": rows[0]["limit"], "text": "limit"}]))
        .mark_rule(color=_INK, strokeDash=[5, 4])
        .encode(x="limit:Q")
    )
    return _intervals(
        rows,
        row="column",
        value="gap",
        title="Largest difference in false-positive rate (dashed: limit)",
        colour="verdict",
        colours=dict(
            zip(names.values(), ["var(--good)", "var(--bad)", "var(--unsure)"], strict=True)
        ),
        description="Largest false-positive-rate gap by group column",
        above=limit,
    )


def baseline_differences(evaluation: EvaluationReport) -> Spec | None:
    """Draw candidate minus baseline for every figure, with intervals around zero."""
    rows = [
        {
            "figure": name.replace("_", " "),
            "difference": d.difference,
            "low": d.difference_ci[0],
            "high": d.difference_ci[1],
            "side": "all",
        }
        for name, d in evaluation.baseline.differences.items()
    ]
    if not rows:
        return None
    zero = alt.Chart(_data([{"zero": 0}])).mark_rule(color=_INK).encode(x="zero:Q")
    return _intervals(
        rows,
        row="figure",
        value="difference",
        title="Candidate minus baseline (right of 0: candidate ahead)",
        colour=None,
        colours={},
        description="Candidate minus baseline",
        above=zero,
        format_=".3f",
    )


def prevalence(evaluation: EvaluationReport, stated: float | None) -> Spec:
    """Draw the share of violating rows a split (and the stated one)."""
    rows: list[dict[str, object]] = [
        {"split": split, "share": share} for split, share in evaluation.prevalence.items()
    ]
    if stated is not None:
        rows.append({"split": "stated production", "share": stated})
    base = alt.Chart(_data(rows)).encode(
        x=_share(alt.X, "share", "Share of violating rows"),
        y=alt.Y("split:N", title=None, sort=None),
        tooltip=[_tip("split", None), _tip("share", ".2%")],
    )
    text = base.mark_text(align="left", dx=5, color=_INK).encode(
        text=alt.Text("share:Q", format=".1%")
    )
    return _spec(
        alt.layer(base.mark_bar(color=_VIOLATING, height=16), text),
        "Share of violating rows a split",
        height=34 * len(rows),
    )


def search_history(search: SearchResult) -> Spec:
    """Draw every trial's average precision by algorithm, and the best so far."""
    rows: list[dict[str, Any]] = []
    best = 0.0
    for trial in search.trials:
        if trial.average_precision is None:
            continue
        best = max(best, trial.average_precision)
        rows.append(
            {
                "trial": trial.number,
                "average precision": trial.average_precision,
                "best so far": best,
                "algorithm": trial.algorithm,
                "status": trial.status.replace("_", " "),
                "seconds": round(trial.seconds, 2),
            }
        )
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("trial:Q", title="Trial", axis=alt.Axis(tickMinStep=1, format="d"))
    )
    scale = alt.Scale(zero=False, nice=True)
    layers = [
        base.mark_line(color=_MUTED, interpolate="step-after").encode(
            y=alt.Y("best so far:Q", title="Average precision (line: best so far)", scale=scale)
        ),
        base.mark_point(filled=True, size=70, opacity=0.9).encode(
            y=alt.Y("average precision:Q", scale=scale),
            color=alt.Color("algorithm:N", title=None, scale=_series_scale(rows, "algorithm")),
            shape=alt.Shape(
                "algorithm:N",
                title=None,
                scale=alt.Scale(domain=sorted({str(row["algorithm"]) for row in rows})),
            ),
            tooltip=[
                _tip("trial", None),
                _tip("algorithm", None),
                _tip("average precision", ".4f"),
                _tip("status", None),
                _tip("seconds", ",.2f"),
            ],
        ),
    ]
    return _spec(alt.layer(*layers), "Average precision of every trial", height=260)


def learning_curve(trial: TrialResult) -> Spec | None:
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
    chart = (
        alt.Chart(_data(rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("step:Q", title="Step", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("log-loss:Q", title="Log-loss", scale=alt.Scale(zero=False)),
            color=alt.Color("rows:N", title=None, scale=_series_scale(rows, "rows")),
            strokeDash=alt.StrokeDash(
                "rows:N", title=None, scale=alt.Scale(domain=["training", "validation"])
            ),
            tooltip=[_tip("rows", None), _tip("step", None), _tip("log-loss", ".4f")],
        )
    )
    return _spec(chart, f"Log-loss a step of trial {trial.number}", height=220)


def _intervals(
    rows: list[dict[str, Any]],
    *,
    row: str,
    value: str,
    title: str,
    colour: str | None,
    colours: Mapping[str, str],
    description: str,
    above: Any = None,
    format_: str = ".1%",
) -> Spec:
    """Draw one point with its interval a row."""
    shade = alt.value(_SERIES[0])
    if colour is not None:
        used = [name for name in colours if any(r[colour] == name for r in rows)]
        shade = alt.Color(
            f"{colour}:N",
            title=None,
            scale=alt.Scale(domain=used, range=[colours[name] for name in used]),
        )
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y(f"{row}:N", title=None, sort=None),
        color=shade,
        tooltip=[
            _tip(row, None),
            _tip(value, format_),
            _tip("low", format_),
            _tip("high", format_),
        ],
    )
    ticks = "%" if format_ == ".1%" else "+.2f"
    axis = alt.X("low:Q", title=title, axis=alt.Axis(format=ticks, tickCount=8))
    layers = [
        base.mark_rule(strokeWidth=3, opacity=0.7).encode(x=axis, x2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=f"{value}:Q"),
    ]
    layers = layers if above is None else [above, *layers]
    return _spec(alt.layer(*layers), description, height=max(70, 28 * len(rows)))


def _data(rows: Any) -> Any:
    return alt.InlineData(values=list(rows))


def _share(channel: Any, field: str, title: str, *, domain: list[float] | None = None) -> Any:
    scale = alt.Undefined if domain is None else alt.Scale(domain=domain)
    axis = alt.Axis(format="%", tickCount=6)
    return channel(f"{field}:Q", title=title, scale=scale, axis=axis)


def _tip(field: str, format_: str | None = ".1%", title: str | None = None) -> Any:
    kind = "N" if format_ is None else "Q"
    return alt.Tooltip(
        f"{field}:{kind}",
        title=title or field,
        format=alt.Undefined if format_ is None else format_,
    )


def _series_scale(rows: Sequence[Mapping[str, Any]], field: str) -> Any:
    names = sorted({str(row[field]) for row in rows})
    return alt.Scale(domain=names, range=[_SERIES[i % len(_SERIES)] for i in range(len(names))])


def _spec(chart: Any, description: str, *, height: int) -> Spec:
    spec: dict[str, Any] = chart.properties(
        width="container", height=height, description=description
    ).to_dict()
    for key in ("config", "$schema"):  # the page has one configuration, and needs no address
        spec.pop(key, None)
    return spec
