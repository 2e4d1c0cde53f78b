"""What the log of a pipeline on this machine says about its steps."""

import pytest

from pipelines.local import LogReader, StepEvent, StepFailed
from tidegate.errors import BadInput

STAMP = "12:00:00.123 - INFO - "
START = f"{STAMP}Executing task \x1b[96m'ingest'\x1b[0m\n"
END = f"{STAMP}Task \x1b[96m'ingest'\x1b[0m finished with status \x1b[9%sm%s\x1b[0m\n"


def read(*lines: str) -> tuple[LogReader, list[StepEvent | None]]:
    reader = LogReader()
    return reader, [reader.read(line) for line in lines]


def test_a_step_starts_speaks_and_ends():
    _, events = read(START, "    hello\n", END % (2, "SUCCESS"))
    assert events == [
        StepEvent("ingest", "started"),
        StepEvent("ingest", "line", "hello"),
        StepEvent("ingest", "done"),
    ]


def test_a_cache_hit_is_told_by_the_root_logger():
    _, events = read(f"2026-01-01 {STAMP}Task ingest cache hit (key=abc); skipping execution.\n")
    assert events == [StepEvent("ingest", "cached")]


def test_a_step_cannot_imitate_the_end_of_a_step():
    _, events = read(START, "    " + END % (2, "SUCCESS"))
    assert events[1] is not None
    assert events[1].kind == "line"


def test_lines_between_steps_belong_to_no_step():
    _, events = read(f"{STAMP}Running pipeline: 'x'\n", "-----\n")
    assert events == [None, None]


def failure_of(tmp_path, *lines: str) -> Exception:
    said = [f"    {line}\n" for line in lines]
    reader, _ = read(START, *said, END % (1, "FAILURE"))
    return reader.failure("ingest", tmp_path / "ingest.log")


def test_refused_input_comes_back_as_bad_input_with_its_one_line(tmp_path):
    error = failure_of(
        tmp_path,
        "Traceback (most recent call last):",
        '  File "x.py", line 3, in ingest',
        "tidegate.errors.BadInput: data.label: no such column 'y'; did you mean 'label'?",
    )
    assert isinstance(error, BadInput)
    assert str(error) == "data.label: no such column 'y'; did you mean 'label'?"
    assert error.mend == "did you mean 'label'?"


def test_a_full_disk_is_the_users_to_mend(tmp_path):
    error = failure_of(tmp_path, "OSError: [Errno 28] No space left on device")
    assert isinstance(error, BadInput)
    assert "disk is full" in str(error)


def test_a_defect_shows_the_step_the_message_the_last_lines_and_the_log(tmp_path):
    error = failure_of(
        tmp_path,
        "Traceback (most recent call last):",
        '  File "x.py", line 3, in ingest',
        "ZeroDivisionError: division by zero",
    )
    assert isinstance(error, StepFailed)
    assert error.message == "ZeroDivisionError: division by zero"
    assert 'File "x.py", line 3, in ingest' in str(error)
    assert str(error).endswith(f"log: {tmp_path / 'ingest.log'}")


@pytest.mark.parametrize("lines", [(), ("Killed",)])
def test_a_step_that_dies_without_a_word_is_still_named(tmp_path, lines):
    error = failure_of(tmp_path, *lines)
    assert isinstance(error, StepFailed)
    assert "ingest" in str(error)
