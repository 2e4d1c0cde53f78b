"""The monitor's page: what the latest windows show, and how that came about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegate.config import PolicyConfig
from tidegate.records import ChangeKind, MonitorReport, WindowCheck

_WORDS: dict[ChangeKind, str] = {
    "none": "No drift",
    "prior_shift": "Prior shift",
    "covariate_shift": "Covariate shift",
    "concept_drift": "Concept drift",
    "quality_loss": "Quality below the promise",
    "unclear": "A change of unclear kind",
}
_SMALLEST = 1e-12


def monitor_page(
    report: MonitorReport, history: Sequence[WindowCheck], policy: PolicyConfig
) -> str:
    """Return one self-contained page; `history` holds this call's checks too, oldest first."""
    from tidegate.evaluation.page import render_page

    latest = [check for check in history if check.until == history[-1].until] if history else []
    alarmed = [c for c in latest if c.diagnosis is not None and c.diagnosis.kind != "none"]
    shown = alarmed[0] if alarmed else latest[0] if latest else None
    kind = None if shown is None or shown.diagnosis is None else shown.diagnosis.kind
    whole = [check for check in history if check.segment is None]
    return render_page(
        "drift.html",
        folders=[Path(__file__).parent / "pages"],
        charts={
            "evidence": _evidence(whole),
            "prevalence": _prevalence(whole),
            "precision": _precision(whole, policy.min_precision),
        },
        r=report,
        latest=latest,
        history=list(reversed(history)),
        word="No window tested" if kind is None else _WORDS[kind],
        says=report.says if shown is None else shown.says,
        tone={"none": "promote", None: "insufficient_data"}.get(kind, "hold"),
    )


def _evidence(history: Sequence[WindowCheck]) -> Any:
    import altair as alt

    from tidegate.evaluation.charts.drawing import INK, data, series_scale, spec, tip

    rows = [
        {
            "until": check.until,
            "test": f"{test.name} ({check.scale})",
            "ratio": max(test.p_value, _SMALLEST) / test.threshold,
        }
        for check in history
        if check.report is not None
        for test in check.report.tests
    ]
    if not rows:
        return None
    lines = (
        alt.Chart(data(rows))
        .mark_line(point=True, opacity=0.7)
        .encode(
            x=alt.X("until:T", title=None),
            y=alt.Y("ratio:Q", title="p over threshold", scale=alt.Scale(type="log")),
            color=alt.Color("test:N", title=None, scale=series_scale(rows, "test")),
            detail="test:N",
            tooltip=[tip("until", None), tip("test", None), tip("ratio", ".3g")],
        )
    )
    limit = alt.Chart(data([{"at": 1.0}])).mark_rule(strokeDash=[4, 4], color=INK).encode(y="at:Q")
    return spec(alt.layer(limit, lines), "Smallest p-values over time", height=260)


def _prevalence(history: Sequence[WindowCheck]) -> Any:
    rows = [
        {
            "until": check.until,
            "windows": str(check.scale),
            "value": check.diagnosis.prior.prevalence,
            "low": check.diagnosis.prior.interval[0],
            "high": check.diagnosis.prior.interval[1],
        }
        for check in history
        if check.diagnosis is not None and check.diagnosis.prior is not None
    ]
    return _bands(rows, "windows", "Violating posts", None)


def _precision(history: Sequence[WindowCheck], floor: float) -> Any:
    rows = []
    for check in history:
        if check.diagnosis is None or check.scale != 1:
            continue
        for name, quality in (
            ("expected", check.diagnosis.expected),
            ("labelled", check.diagnosis.labelled),
        ):
            if quality is not None and quality.precision is not None:
                low, high = quality.precision_interval or (quality.precision, quality.precision)
                row = {"until": check.until, "windows": name, "value": quality.precision}
                rows.append({**row, "low": low, "high": high})
    return _bands(rows, "windows", "Precision", floor)


def _bands(rows: Sequence[dict[str, Any]], series: str, title: str, floor: float | None) -> Any:
    import altair as alt

    from tidegate.evaluation.charts.drawing import INK, data, series_scale, share, spec, tip

    if not rows:
        return None
    base = alt.Chart(data(rows)).encode(
        x=alt.X("until:T", title=None),
        color=alt.Color(f"{series}:N", title=None, scale=series_scale(rows, series)),
        tooltip=[tip("until", None), tip(series, None), tip("value"), tip("low"), tip("high")],
    )
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.4).encode(
            y=share(alt.Y, "low", title), y2="high:Q"
        ),
        base.mark_line(point=True).encode(y=share(alt.Y, "value", title)),
    ]
    if floor is not None:
        limit = alt.Chart(data([{"at": floor}])).mark_rule(strokeDash=[4, 4], color=INK)
        layers.append(limit.encode(y="at:Q"))
    return spec(alt.layer(*layers), f"{title} over time", height=220)
