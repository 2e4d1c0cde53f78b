"""An experiment's looks, kept in a folder: ``experiment.json`` with every one, and a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidegate.errors import BadInput
from tidegate.records.experiment import ExperimentResult, ExperimentVerdict
from tidegate.store import read_json, write_json, write_text

_WORDS: dict[ExperimentVerdict, str] = {
    "better": "The candidate is better",
    "worse": "The candidate is worse",
    "no_difference": "No difference that matters",
    "go_on": "Go on",
    "undecided": "Undecided",
    "insufficient_data": "Too few units",
    "invalid": "The split is broken",
}
_TONES: dict[ExperimentVerdict, str] = {
    "better": "promote",
    "no_difference": "promote",
    "worse": "hold",
    "invalid": "hold",
}


def add_look(folder: Path, result: ExperimentResult) -> tuple[ExperimentResult, ...]:
    """Put a look beside the earlier ones of an experiment and write its page anew; return all.

    Raises
    ------
    BadInput
        If the folder holds another experiment, or a file that is not ours.
    """
    looks = (*read_looks(folder), result)
    if any(look.name != result.name for look in looks):
        raise BadInput(str(folder), f"holds experiment {looks[0].name!r}", "name another folder")
    write_json(
        folder / "experiment.json", {"looks": [look.model_dump(mode="json") for look in looks]}
    )
    write_text(folder / "experiment.html", experiment_page(looks))
    return looks


def read_looks(folder: Path) -> tuple[ExperimentResult, ...]:
    """Return the looks that a folder holds, none if it is new.

    Raises
    ------
    BadInput
        If its ``experiment.json`` is not ours.
    """
    path = folder / "experiment.json"
    try:
        return tuple(ExperimentResult.model_validate(look) for look in read_json(path)["looks"])
    except FileNotFoundError:
        return ()
    except (KeyError, TypeError, ValueError, ValidationError):
        raise BadInput(str(path), "is not the record of an experiment", "move it away") from None


def experiment_page(looks: Sequence[ExperimentResult]) -> str:
    """Return one self-contained page about an experiment, the last look first."""
    from tidegate.evaluation.page import render_page

    last = looks[-1]
    interval = None
    if last.interval is not None:
        interval = f"{last.interval[0]:+.3g} to {last.interval[1]:+.3g}"
    return render_page(
        "experiment.html",
        folders=[Path(__file__).parent / "pages"],
        charts={"looks": _chart(looks)},
        r=last,
        looks=looks,
        word=_WORDS[last.verdict],
        tone=_TONES.get(last.verdict, "insufficient_data"),
        difference="–" if last.difference is None else f"{last.difference:+.3g}",
        interval=interval,
    )


def _chart(looks: Sequence[ExperimentResult]) -> Any:
    import altair as alt

    from tidegate.evaluation.charts.drawing import INK, MUTED, SERIES, data, spec, tip

    rows = [
        {"days": k.days, "difference": k.difference, "low": k.interval[0], "high": k.interval[1]}
        for k in looks
        if k.interval is not None
    ]
    if not rows:
        return None
    smallest = looks[-1].smallest_effect
    marks = [
        {"at": at, "kind": "none" if at == 0 else "smallest"} for at in (-smallest, 0, smallest)
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("days:Q", title="Days", scale=alt.Scale(zero=False)),
        tooltip=[tip(name, "+.4g") for name in ("days", "difference", "low", "high")],
    )
    lines = alt.Chart(data(marks)).mark_rule(strokeDash=[4, 4]).encode(y="at:Q")
    layers = [
        lines.encode(
            color=alt.Color(
                "kind:N",
                legend=None,
                scale=alt.Scale(domain=["none", "smallest"], range=[INK, MUTED]),
            )
        ),
        base.mark_rule(strokeWidth=3, opacity=0.7, color=SERIES[0]).encode(
            y=alt.Y("low:Q", title="Candidate less baseline"), y2="high:Q"
        ),
        base.mark_point(filled=True, size=80, opacity=1, color=SERIES[0]).encode(y="difference:Q"),
    ]
    return spec(alt.layer(*layers), "Difference at each look", height=260)
