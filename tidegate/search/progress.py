"""One line a finished trial: what people read in the step's log and the progress bar parses.

``trial 3/40 xgboost average_precision=0.9120 best=0.9310 (4.1 s, 480 s left)``; a trial that did
not succeed has its status before the figures, and a figure that is not known is left out.
"""

import re

from tidegate.records import Record, TrialResult

_LINE = re.compile(
    r"trial (?P<finished>\d+)/(?P<total>\d+) (?P<algorithm>\S+)"
    r"(?: (?P<status>early_stopped|failed|out_of_time|out_of_memory))?"
    r"(?: average_precision=(?P<average_precision>[\d.]+))?"
    r"(?: best=(?P<best>[\d.]+))?"
    r" \((?P<seconds>[\d.]+) s, (?P<seconds_left>\d+) s left\)"
)


class SearchProgress(Record):
    """Where a search stands after a trial."""

    finished: int
    total: int
    algorithm: str
    status: str
    average_precision: float | None
    best: float | None
    seconds: float
    seconds_left: float

    @classmethod
    def after(
        cls,
        result: TrialResult,
        *,
        finished: int,
        total: int,
        best: float | None,
        seconds_left: float,
    ) -> "SearchProgress":
        """Return the progress that a finished trial makes."""
        return cls(
            finished=finished,
            total=total,
            algorithm=result.algorithm,
            status=result.status,
            average_precision=result.average_precision,
            best=best,
            seconds=result.seconds,
            seconds_left=seconds_left,
        )

    def line(self) -> str:
        """Return the line that `parse` reads; figures are rounded to four decimals."""
        words = [f"trial {self.finished}/{self.total} {self.algorithm}"]
        if self.status != "succeeded":
            words.append(self.status)
        if self.average_precision is not None:
            words.append(f"average_precision={self.average_precision:.4f}")
        if self.best is not None:
            words.append(f"best={self.best:.4f}")
        return f"{' '.join(words)} ({self.seconds:.1f} s, {self.seconds_left:.0f} s left)"

    @classmethod
    def parse(cls, line: str) -> "SearchProgress | None":
        """Return the progress that a line of a log tells, None for any other line."""
        match = _LINE.fullmatch(line.strip())
        if match is None:
            return None
        found = match.groupdict()
        return cls.model_validate({**found, "status": found["status"] or "succeeded"})
