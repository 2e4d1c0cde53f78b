"""What a person sees of a release: where it stands, what was found, what happened."""

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from tidegate.config import RolloutConfig
from tidegate.records import Finding, ReleaseEvent, ReleaseState, StepAnalysis, Verdict
from tidegate.rollout.known_versions import KnownVersion
from tidegate.rollout.transitions import seconds_since

_STYLES: dict[Verdict, str] = {"advance": "green", "pause": "yellow", "rollback": "bold red"}
_SAYS: dict[Verdict, str] = {"advance": "fine", "pause": "not sure", "rollback": "harm"}


def headline(state: ReleaseState, config: RolloutConfig, now: datetime) -> list[str]:
    """Return where a release stands, in a few lines."""
    traffic = state.traffic
    lines = [f"{state.name}: {state.phase.replace('_', ' ')}"]
    if traffic.candidate is None:
        lines.append(f"in service  {traffic.baseline}, all traffic")
    else:
        share = traffic.candidate_percent
        lines.append(f"baseline    {traffic.baseline}, {100 - share} % of the traffic")
        what = "shadow: replayed requests only" if share == 0 else f"{share} % of the traffic"
        lines.append(f"candidate   {traffic.candidate}, {what}")
    path = " > ".join(
        f"[{_step(percent)}]" if place == state.step and not state.is_over else _step(percent)
        for place, percent in enumerate(state.steps)
    )
    lines.append(f"steps       {path}")
    if state.phase in ("progressing", "paused") and state.in_force:
        seconds = seconds_since(state.step_began_at, now)
        lines.append(f"this step   {_duration(seconds)} of {_duration(config.step_seconds)}")
    elif state.phase == "progressing":
        lines.append("this step   waits for the candidate and its traffic")
    if state.held_by is not None:
        lines.append(f"held by     {state.held_by}: {state.reason}")
    elif state.reason:
        lines.append(f"because     {state.reason}")
    return lines


def findings_table(analysis: StepAnalysis) -> Table:
    """Return what the last analysis found, worst first."""
    table = Table(
        title=f"last analysis: {_SAYS[analysis.verdict]}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("verdict", "source", "finding"):
        table.add_column(column, overflow="fold")
    for finding in analysis.findings:
        table.add_row(*_finding(finding))
    return table


def events_table(events: Sequence[ReleaseEvent]) -> Table:
    """Return what happened, oldest first."""
    table = Table(title="what happened", title_justify="left", box=None, pad_edge=False)
    for column in ("at (UTC)", "who", "what", "step", "because"):
        table.add_column(column, overflow="fold")
    for event in events:
        table.add_row(
            event.at[:19].replace("T", " "),
            event.actor,
            event.kind.replace("_", " "),
            _step(event.percent),
            Text(_because(event)),
        )
    return table


def versions_table(versions: Sequence[KnownVersion]) -> Table:
    """Return every version, oldest first, and the page about each that failed."""
    table = Table(box=None, pad_edge=False)
    for column in ("version", "standing", "since (UTC)", "bundle", "because"):
        table.add_column(column, overflow="fold")
    for one in versions:
        page = "" if one.page is None else f" (see {one.page})"
        table.add_row(
            one.version,
            one.standing,
            "" if one.at is None else one.at[:19].replace("T", " "),
            "kept" if one.is_kept else "gone",
            Text(f"{one.says}{page}"),
        )
    return table


def event_line(event: ReleaseEvent) -> str:
    """Return an event as one line of a running log."""
    kind = event.kind.replace("_", " ")
    return f"{event.at[11:19]}  {kind:<11} {_step(event.percent):>6}  {_because(event)}"


def _because(event: ReleaseEvent) -> str:
    return event.says if event.page is None else f"{event.says} (see {event.page})"


def _finding(finding: Finding) -> tuple[Text, str, Text]:
    verdict = Text(_SAYS[finding.verdict], style=_STYLES[finding.verdict])
    return verdict, finding.source, Text(f"{finding.name}: {finding.says}")


def _step(percent: int) -> str:
    return "shadow" if percent == 0 else f"{percent} %"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
