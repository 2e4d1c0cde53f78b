"""What the doctor found: records, and what a person reads of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tidegate.records import Record

if TYPE_CHECKING:
    from rich.table import Table

Status = Literal["ok", "warning", "problem", "unknown"]

_STYLES: dict[Status, str] = {
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
    "unknown": "magenta",
}


class Finding(Record):
    """One thing that was looked at.

    `status` is ``problem`` when something Tidegate needs will fail, ``warning`` when a part of it
    will or when it works badly, and ``unknown`` when nobody could tell from here. `mend` says what
    to do, or what to ask whom; it is empty where nothing is to be done.
    """

    name: str
    status: Status
    what: str
    mend: str = ""


def ok(name: str, what: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(name=name, status="ok", what=what)


def warning(name: str, what: str, mend: str) -> Finding:
    """Return a finding of something that works badly or in part."""
    return Finding(name=name, status="warning", what=what, mend=mend)


def problem(name: str, what: str, mend: str) -> Finding:
    """Return a finding of something that will fail."""
    return Finding(name=name, status="problem", what=what, mend=mend)


def unknown(name: str, what: str, mend: str) -> Finding:
    """Return a finding of something that could not be told from here."""
    return Finding(name=name, status="unknown", what=what, mend=mend)


def findings_table(findings: Sequence[Finding]) -> "Table":
    """Return the findings as a table; each mend stands below what it mends."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        told = Text(finding.what)
        if finding.mend:
            told.append(f"\n→ {finding.mend}", style="bold" if finding.status == "problem" else "")
        table.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.name, told)
    return table


def summary(findings: Sequence[Finding]) -> str:
    """Return one line that counts the findings by status, the worst first."""
    counts = {
        status: sum(finding.status == status for finding in findings)
        for status in ("problem", "warning", "unknown", "ok")
    }
    words = {"problem": "problems", "warning": "warnings"}
    return ", ".join(
        f"{count} {words.get(status, status) if count != 1 else status}"
        for status, count in counts.items()
        if count or status == "problem"
    )
