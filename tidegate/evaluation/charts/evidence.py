"""Charts of where the model is wrong, and of what is measured beside the holdout."""

from collections.abc import Sequence

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
from tidegate.records import (
    FunctionalReport,
    GoldenSetReport,
    GroupPair,
    MitigationReport,
    ReferenceMapping,
    WorstSlice,
)

_MOST_PAIRS = 20
_MOST_HISTORY = 30


def group_pairs(pairs: Sequence[GroupPair]) -> Spec | None:
    """Draw the size of the difference between two groups, pair by pair, beside its limit."""
    shown = list(pairs)[:_MOST_PAIRS]
    if not shown or shown[0].limit is None:
        return None
    several = len({p.column for p in shown}) > 1
    rows = [
        {
            "pair": f"{p.first} – {p.second}" + (f" ({p.column})" if several else ""),
            "size": abs(p.difference),
            "low": p.size_ci[0],
            "high": p.size_ci[1],
            "verdict": VERDICTS.get(p.verdict, (p.verdict, MUTED))[0],
        }
        for p in shown
    ]
    limit = alt.Chart(data([{"limit": shown[0].limit}]))
    return intervals(
        rows,
        row="pair",
        value="size",
        title="Size of the difference in false-positive rate",
        colour="verdict",
        colours=dict(VERDICTS.values()),
        description="Differences in false-positive rate between pairs of groups",
        beside=[limit.mark_rule(color=INK, strokeDash=[5, 4]).encode(x="limit:Q")],
    )


def mitigated_gaps(models: Sequence[MitigationReport]) -> Spec | None:
    """Draw each model's largest gaps beside their limits."""
    judged = [(m, g) for m in models for g in m.fairness.gaps if g.limit is not None]
    if len(models) < 2 or not judged:
        return None
    title, names = gap_names([g for _, g in judged])
    several = len(set(names)) > 1
    rows = [
        gap_row(g, m.name.replace("_", " ") + (f" · {name}" if several else ""))
        for name in dict.fromkeys(names)
        for (m, g), own in zip(judged, names, strict=True)
        if own == name
    ]
    return intervals(
        rows,
        row="row",
        value="gap",
        title=title,
        colour="verdict",
        colours=dict(VERDICTS.values()),
        description="Largest gaps of the untreated and the treated models",
        beside=[limits(rows)],
    )


def slice_losses(slices: Sequence[WorstSlice]) -> Spec | None:
    """Draw each slice's loss beside that of all other rows."""
    if not slices:
        return None
    rows = [
        {
            "slice": " and ".join(f"{c.column}: {c.value}" for c in s.conditions),
            "loss": s.loss,
            "elsewhere": s.loss_elsewhere,
            "rows": s.n,
        }
        for s in slices
    ]
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("slice:N", title=None, sort=None),
        tooltip=[tip("slice", None), tip("loss", ".3f"), tip("elsewhere", ".3f"), tip("rows", ",")],
    )
    ends = alt.Scale(domain=["in the slice", "elsewhere"], range=[VIOLATING, MUTED])
    layers = [
        base.mark_rule(color=VIOLATING, strokeWidth=2, opacity=0.6).encode(
            x=alt.X(
                "elsewhere:Q",
                title="Mean squared error of the score",
                axis=alt.Axis(tickCount=8),
            ),
            x2="loss:Q",
        ),
        *(
            base.transform_calculate(where=f"'{name}'")
            .mark_point(filled=True, size=90, opacity=1)
            .encode(x=f"{field}:Q", color=alt.Color("where:N", title=None, scale=ends))
            for field, name in (("elsewhere", "elsewhere"), ("loss", "in the slice"))
        ),
    ]
    return spec(alt.layer(*layers), "Loss of the worst slices", height=max(70, 30 * len(rows)))


def pass_rates(found: FunctionalReport) -> Spec | None:
    """Draw how many templates of each kind of sentence pass."""
    rows = [
        {
            "functionality": f.functionality.replace("_", " "),
            "rate": f.pass_rate,
            "low": f.pass_rate_ci[0],
            "high": f.pass_rate_ci[1],
            "right": "should be flagged" if f.violating else "should be left",
        }
        for f in found.functionalities
    ]
    if not rows:
        return None
    return intervals(
        rows,
        row="functionality",
        value="rate",
        title="Pass rate over templates",
        colour="right",
        colours={"should be flagged": SERIES[1], "should be left": SERIES[0]},
        description="Pass rate of the functional tests by kind of sentence",
    )


def identity_shifts(found: FunctionalReport) -> Spec | None:
    """Draw how much naming one identity raises a sentence's score above naming another."""
    rows = [
        {"identity": i.identity, "shift": i.score_shift, "cases": i.cases, "zero": 0}
        for i in sorted(found.identities, key=lambda i: -i.score_shift)
    ]
    if not rows:
        return None
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("identity:N", title=None, sort=None),
        tooltip=[tip("identity", None), tip("shift", "+.3f"), tip("cases", ",")],
    )
    axis = alt.X(
        "shift:Q",
        title="Score above the template's mean",
        axis=alt.Axis(format="+.2f", tickCount=8),
    )
    layers = [
        alt.Chart(data([{"zero": 0}])).mark_rule(color=INK).encode(x="zero:Q"),
        base.mark_rule(color=SERIES[0], strokeWidth=3, opacity=0.7).encode(x=axis, x2="zero:Q"),
        base.mark_point(color=SERIES[0], filled=True, size=80, opacity=1).encode(x="shift:Q"),
    ]
    return spec(
        alt.layer(*layers), "Shift of the score by the identity named", height=22 * len(rows)
    )


def golden_history(found: GoldenSetReport) -> Spec | None:
    """Draw the golden set's figures retrain by retrain; None where there is only this one."""
    past = [(e.evaluated_at[:16].replace("T", " "), e.golden) for e in found.history if e.golden]
    if not past:
        return None
    rows = []
    for number, (when, figures) in enumerate([*past, ("this run", found.figures)][-_MOST_HISTORY:]):
        at = {"retrain": number, "when": when}
        rows.append(at | {"figure": "average precision", "value": figures.average_precision})
        if figures.precision is not None:
            low = figures.precision_lower_bound
            rows.append(
                at
                | {"figure": "precision", "value": figures.precision, "low": low}
                | {"high": figures.precision}
            )
        if figures.recall is not None and figures.recall_ci is not None:
            low, high = figures.recall_ci
            rows.append(
                at | {"figure": "recall", "value": figures.recall, "low": low, "high": high}
            )
    names = ["average precision", "precision", "recall"]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("when:N", title=None, sort=None, axis=alt.Axis(labelAngle=-30)),
        color=alt.Color("figure:N", title=None, scale=alt.Scale(domain=names, range=SERIES[:3])),
        tooltip=[tip("when", None), tip("figure", None), tip("value"), tip("low"), tip("high")],
    )
    axis = share(alt.Y, "value", "On the golden set", domain=[0, 1])
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.5).encode(y="low:Q", y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=axis),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            y=axis, shape=alt.Shape("figure:N", title=None, scale=alt.Scale(domain=names))
        ),
    ]
    return spec(alt.layer(*layers), "The golden set's figures retrain by retrain", height=240)


def score_scale(mapping: ReferenceMapping) -> Spec:
    """Draw which score of the reference flags as many rows as this model's, beside equality."""
    rows = [
        {"score": knot, "reference": value}
        for knot, value in zip(mapping.knots, mapping.values, strict=True)
    ]
    ends = [min(0.0, rows[0]["score"]), max(1.0, rows[-1]["score"])]
    same = [{"score": end, "reference": end} for end in ends]
    x = alt.X("score:Q", title="This model's score", scale=alt.Scale(domain=ends, nice=False))
    y = alt.Y("reference:Q", title=f"Same share flagged by {mapping.reference}")
    layers = [
        alt.Chart(data(same)).mark_line(color=MUTED, strokeDash=[5, 4]).encode(x=x, y=y),
        alt.Chart(data(rows))
        .mark_line(color=SERIES[0], strokeWidth=2)
        .encode(x=x, y=y, tooltip=[tip("score", ".3f"), tip("reference", ".3f")]),
    ]
    return spec(alt.layer(*layers), "This model's score on the scale in service", height=280)
