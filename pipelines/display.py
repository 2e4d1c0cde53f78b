"""What a person sees while a run goes on, and what it prints at the end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.local import StepEvent
from pipelines.run_record import RunRecord
from tidegate.cost import cost_line
from tidegate.records import EvaluationReport
from tidegate.search.progress import SearchProgress

_STYLES = {
    "waiting": "dim",
    "running": "bold cyan",
    "done": "green",
    "cached": "blue",
    "failed": "bold red",
    "skipped": "dim",
}


class StepTable:
    """A live table of steps; on a pipe, one line as each step ends.

    Parameters
    ----------
    steps : sequence of str
        Names in the order in which they run.
    console : Console
        Where to draw.
    """

    def __init__(self, steps: Sequence[str], console: Console) -> None:
        self._console = console
        self._status = dict.fromkeys(steps, "waiting")
        self._began: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._search: SearchProgress | None = None

    @contextmanager
    def live(self) -> Iterator["StepTable"]:
        """Draw until the block ends."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=4, transient=False
        ):
            yield self

    def see(self, event: StepEvent) -> None:
        """Take note of an event."""
        if event.kind == "line":
            self._search = SearchProgress.parse(event.line) or self._search
            return
        self._status[event.step] = "running" if event.kind == "started" else event.kind
        if event.kind == "started":
            self._began[event.step] = time.monotonic()
            return
        began = self._began.get(event.step)
        self._seconds[event.step] = 0.0 if began is None else time.monotonic() - began
        if not self._console.is_terminal:
            seconds = self._seconds[event.step]
            self._console.print(f"{event.step:<10} {event.kind:<8} {seconds:6.1f} s")

    def finish(self) -> None:
        """Call what never started skipped."""
        for step, status in self._status.items():
            if status == "waiting":
                self._status[step] = "skipped"

    def _draw(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for heading in ("step", "status", "seconds", ""):
            table.add_column(heading, justify="right" if heading == "seconds" else "left")
        for step, status in self._status.items():
            table.add_row(
                step,
                Text(status, style=_STYLES.get(status, "")),
                self._elapsed(step),
                self._note(step),
            )
        return Group(table)

    def _elapsed(self, step: str) -> str:
        if step in self._seconds:
            return f"{self._seconds[step]:.1f}"
        if step in self._began:
            return f"{time.monotonic() - self._began[step]:.0f}"
        return ""

    def _note(self, step: str) -> RenderableType:
        if step != "search" or self._search is None:
            return ""
        found = self._search
        row = Table.grid(padding=(0, 1))
        best = "" if found.best is None else f"best average precision {found.best:.4f}"
        row.add_row(
            ProgressBar(total=found.total, completed=found.finished, width=24),
            f"{found.finished}/{found.total}",
            best,
        )
        return row


def print_outcome(console: Console, out: Path, run: RunRecord, report: EvaluationReport) -> None:
    """Print the decision, its reasons, the key figures and where to read on."""
    style = {"promote": "bold green", "hold": "bold yellow"}.get(report.decision, "bold magenta")
    console.print()
    console.print(Text.assemble("decision  ", (report.decision, style)))
    for reason in report.reasons:
        console.print(Text(f"  · {reason}"), soft_wrap=not console.is_terminal)
    for line in figures(report):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(f"report    {out / 'report.html'}"), soft_wrap=True)
    console.print(Text(f"bundle    {out / 'bundle'}"), soft_wrap=True)
    if (out / "approval_request.json").exists():
        told = f"approval  wanted: tidegate approve {out} --by NAME --reason … --key FILE"
        console.print(Text(told), soft_wrap=True)
    console.print(Text(f"took      {run.seconds:.1f} s"))
    if run.cost is not None and run.cost.amount is not None:
        console.print(Text(f"cost      {cost_line(run.cost)}"), soft_wrap=True)


def figures(report: EvaluationReport) -> list[str]:
    """Return the key figures, one line each, with their bounds."""
    lines = [f"model     {report.algorithm}, average precision {report.average_precision:.4f}"]
    if report.threshold is None:
        return [*lines, "threshold none: the precision floor could not be shown"]
    lines.append(f"threshold {report.threshold:.4f}")
    if report.precision is not None and report.precision_lower_bound is not None:
        lines.append(
            f"precision {report.precision:.4f} on the holdout, at least "
            f"{report.precision_lower_bound:.4f} with {report.confidence:.0%} confidence "
            f"(floor {report.min_precision:.2f})"
        )
    if report.recall is not None and report.recall_ci is not None:
        low, high = report.recall_ci
        lines.append(f"recall    {report.recall:.4f} on the holdout, [{low:.4f}, {high:.4f}]")
    return lines


def runs_table(runs: Sequence[tuple[Path, RunRecord]]) -> Table:
    """Return runs side by side, newest first; in 80 columns."""
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="ellipsis", no_wrap=True)
    for heading in ("data", "started", "outcome"):
        table.add_column(heading, no_wrap=True)
    for heading in ("AP", "cut", "prec", "≥", "rec", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for folder, run in sorted(runs, key=lambda pair: pair[1].started_at, reverse=True):
        keys = ("average_precision", "threshold", "precision", "precision_lower_bound", "recall")
        values = [run.metrics.get(key) for key in keys]
        table.add_row(
            folder.name,
            run.digests.get("source", "")[:6],
            run.started_at[5:16].replace("T", " "),
            run.decision or run.status,
            *("" if value is None else f"{value:.3f}" for value in values),
            "" if run.seconds is None else f"{run.seconds:.0f}",
        )
    return table
