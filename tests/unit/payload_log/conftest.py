"""A log in a folder, rows as the server offers them, and a clock that tests turn."""

from datetime import UTC, datetime, timedelta

import pytest

from tidegate.config import PayloadLogConfig
from tidegate.records import Column
from tidegate.serving.log_reader import read_log
from tidegate.serving.payload_log import PayloadLog

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COLUMNS = (
    Column(name="text", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="lang", kind="categorical"),
)
KEY = b"a secret of sixteen bytes or more"


def served(row_id, **more):
    row = {
        "row_id": row_id,
        "model_name": "toy",
        "model_version": "v1",
        "score": 0.75,
        "threshold": 0.5,
        "decision": "flagged",
        "action": "flagged",
        "explored": False,
        "action_probability": 1.0,
        "segment": None,
        "path": "full",
        "input_text": "lunch at noon",
        "input_age": 3.0,
        "input_lang": "en",
    }
    return {**row, **more}


class Clock:
    def __init__(self):
        self.now = NOON
        self.seconds = 0.0

    def turn(self, **by):
        self.now += timedelta(**by)
        self.seconds += timedelta(**by).total_seconds()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_log(tmp_path, clock):
    """Make logs that write when told, and end them."""
    made = []

    def make(*, columns=COLUMNS, key=KEY, **settings):
        settings = {"uri": str(tmp_path / "log"), "flush_seconds": 3600} | settings
        config = PayloadLogConfig(**settings)
        log = PayloadLog(
            config, columns=columns, key=key, now=lambda: clock.now, elapsed=lambda: clock.seconds
        )
        made.append(log)
        return log

    yield make
    for log in made:
        log.close(timeout_seconds=0)


@pytest.fixture
def read(tmp_path):
    """Read the log that `open_log` writes, from hours after noon to hours after noon."""

    def reading(since=-1.0, until=2.0, columns=None, **more):
        hours = [NOON + timedelta(hours=number) for number in (since, until)]
        return read_log(str(tmp_path / "log"), *hours, columns, **more)

    return reading
