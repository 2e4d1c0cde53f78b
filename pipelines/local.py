"""Following a pipeline that runs on this machine: KFP's log in, step events and log files out."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from tidegate.errors import BadInput

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_STAMP = r"^\d[\d:., -]* - (?:INFO|ERROR) - "
_STARTED = re.compile(_STAMP + r"Executing task '(?P<step>[\w-]+)'")
_ENDED = re.compile(_STAMP + r"Task '(?P<step>[\w-]+)' finished with status (?P<status>\w+)")
_CACHED = re.compile(_STAMP + r"Task (?P<step>[\w-]+) cache hit")
_INDENT = "    "  # what kfp.local puts before a step's own lines
_BAD_INPUT = f"{BadInput.__module__}.{BadInput.__name__}: "
_FULL_DISK = re.compile(r"\[Errno (?:28|122)\]")
_TAIL_LINES = 12
_GRACE_SECONDS = 5


@dataclass(frozen=True)
class StepEvent:
    """Something that happened to a step; `line` is a line of its log."""

    step: str
    kind: Literal["started", "line", "done", "failed", "cached"]
    line: str = ""


class StepFailed(Exception):
    """A step ended with an error that is not the user's input.

    Parameters
    ----------
    step : str
        Which step.
    message : str
        The exception's own line.
    tail : sequence of str
        The last lines of the step's log.
    log : Path
        Where the whole log is.
    """

    def __init__(self, step: str, message: str, tail: Sequence[str], log: Path) -> None:
        super().__init__(step, message)
        self.step = step
        self.message = message
        self.tail = tuple(tail)
        self.log = log

    def __str__(self) -> str:
        """Return step, message, tail and where the log is."""
        lines = "\n".join(f"  {line}" for line in self.tail)
        return f"step {self.step} failed: {self.message}\n{lines}\nlog: {self.log}"


@dataclass
class LogReader:
    """Sorts the lines of KFP's log into steps."""

    step: str | None = None
    _lines: dict[str, list[str]] = field(default_factory=dict)

    def read(self, raw: str) -> StepEvent | None:
        """Return the event that one raw line of the log means, if any."""
        line = _ANSI.sub("", raw.rstrip("\n"))
        if match := _STARTED.match(line):
            self.step = match["step"]
            self._lines[self.step] = []
            return StepEvent(self.step, "started")
        if match := _CACHED.match(line):
            return StepEvent(match["step"], "cached")
        if match := _ENDED.match(line):
            step, self.step = match["step"], None
            return StepEvent(step, "done" if match["status"] == "SUCCESS" else "failed")
        if self.step is not None and line.startswith(_INDENT):
            text = line.removeprefix(_INDENT)
            self._lines[self.step].append(text)
            return StepEvent(self.step, "line", text)
        return None

    def failure(self, step: str, log: Path) -> Exception:
        """Return what ended a step: `BadInput` when the step said so, else `StepFailed`."""
        lines = [line for line in self._lines.get(step, []) if line.strip()]
        raised = [i for i, line in enumerate(lines) if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
        last = raised[-1] if raised else len(lines) - 1
        message = lines[last] if lines else "the process ended without a word"
        if message.startswith(_BAD_INPUT):
            return _parsed_bad_input(message.removeprefix(_BAD_INPUT))
        if _FULL_DISK.search(message):
            return BadInput(f"step {step}", "the disk is full", "free space or choose --out DIR")
        return StepFailed(step, message, lines[max(0, last + 1 - _TAIL_LINES) : last + 1], log)


def _parsed_bad_input(text: str) -> BadInput:
    where, _, rest = text.partition(": ")
    problem, _, mend = rest.rpartition("; ")
    return BadInput(where, problem or rest, mend)


def follow(
    command: Sequence[str], logs: Path, scratch: Path, report: Callable[[StepEvent], None]
) -> None:
    """Run the worker to its end, reporting every step event and writing ``logs/STEP.log``.

    Parameters
    ----------
    command : sequence of str
        The worker's command line.
    logs : Path
        Existing folder for the logs.
    scratch : Path
        Existing folder for the temporary files of the steps.
    report : callable
        Called with each `StepEvent` in order.

    Raises
    ------
    BadInput
        If a step refused its input.
    StepFailed
        If a step broke.
    """
    reader = LogReader()
    failed: str | None = None
    with contextlib.ExitStack() as stack:
        pipeline_log = stack.enter_context((logs / "pipeline.log").open("w", encoding="utf-8"))
        process = stack.enter_context(_started(command, scratch))
        step_log: TextIO | None = None
        for raw in process.stdout or ():
            event = reader.read(raw)
            if event is None:
                pipeline_log.write(_ANSI.sub("", raw))
                continue
            if event.kind == "started":
                step_log = stack.enter_context(_open_log(logs, event.step))
            elif event.kind == "line" and step_log is not None:
                step_log.write(event.line + "\n")
                step_log.flush()
            elif event.kind == "failed":
                failed = event.step
            report(event)
        code = process.wait()
    if failed is not None:
        raise reader.failure(failed, logs / f"{failed}.log")
    if code != 0:
        tail = (logs / "pipeline.log").read_text(encoding="utf-8").splitlines()[-_TAIL_LINES:]
        raise StepFailed("pipeline", f"exit code {code}", tail, logs / "pipeline.log")


def _open_log(logs: Path, step: str) -> TextIO:
    return (logs / f"{step}.log").open("w", encoding="utf-8")


@contextlib.contextmanager
def _started(command: Sequence[str], scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the worker in a process group of its own, and leave nobody of it behind."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(scratch),
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "0",
            "GX_ANALYTICS_ENABLED": "false",
            # The steps must import this very code, also from a checkout that is not installed.
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
            ).rstrip(os.pathsep),
        },
    )
    try:
        yield process
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
    if process.stdout is not None:
        process.stdout.close()


def worker_command(
    *, image: str, arguments: Path, artifacts: Path, cache: Path, outputs: Path
) -> list[str]:
    """Return the command line of `pipelines.local_worker`."""
    return [
        sys.executable,
        "-m",
        "pipelines.local_worker",
        f"--image={image}",
        f"--arguments={arguments}",
        f"--artifacts={artifacts}",
        f"--cache={cache}",
        f"--outputs={outputs}",
    ]
