"""What the payload log costs: an offer, a file, a reading, an event of KServe's logger.

``python benchmarks/payload_log.py [--rows 100000] [--columns 50]``. CPU seconds of this process.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.config import PayloadLogConfig
from tidegate.records import Column
from tidegate.records.serving import PAYLOAD_COLUMNS
from tidegate.serving.log_event import parse_event
from tidegate.serving.log_reader import read_log
from tidegate.serving.log_receiver import LogReceiver
from tidegate.serving.payload_log import PayloadLog

_FILE_ROWS = 10_000
_CALLS = 5_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=50)
    given = parser.parse_args()
    figures = {"rows": given.rows, "columns": given.columns}
    with tempfile.TemporaryDirectory() as scratch:
        figures |= written_and_read(Path(scratch) / "log", given.rows, given.columns)
        figures |= received(Path(scratch) / "events")
    for name, value in figures.items():
        print(f"{name:32} {value:>12,.2f}")
    print(json.dumps(figures))


def written_and_read(folder: Path, rows: int, width: int) -> dict[str, float]:
    """Write and read rows with as many numeric inputs as fill the width."""
    names = [f"x{place}" for place in range(width - len(PAYLOAD_COLUMNS) - 1)]
    columns = [*(Column(name=n, kind="numeric") for n in names), Column(name="text", kind="text")]
    random = np.random.default_rng(0)
    log = PayloadLog(
        PayloadLogConfig(uri=str(folder), queue_rows=rows, flush_seconds=3600), columns=columns
    )
    offered = flushed = 0.0
    for start in range(0, rows, _FILE_ROWS):
        chunk = [
            _row(start + place, dict(zip(names, values, strict=True)))
            for place, values in enumerate(random.normal(size=(_FILE_ROWS, len(names))).tolist())
        ]
        # One less than a file, so that the thread leaves the writing to be timed here.
        offered += _seconds(lambda chunk=chunk: [log.offer([row]) for row in chunk[1:]])
        flushed += _seconds(log.flush)
    log.close()
    now, hour = datetime.now(UTC), timedelta(hours=1)
    frames: list[Any] = []
    read = _seconds(lambda: frames.append(read_log(str(folder), now - hour, now + hour)))
    frame, reading = frames[0]
    assert len(frame) == log.counts.written == reading.rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "offer_microseconds": 1e6 * offered / rows,
        "file_seconds": flushed * _FILE_ROWS / rows,
        "file_rows": _FILE_ROWS,
        "read_seconds": read,
        "peak_mib": peak,
    }


def received(folder: Path) -> dict[str, float]:
    """Take both halves of one-row calls, as the receiver does behind its HTTP server."""
    log = PayloadLog(PayloadLogConfig(uri=str(folder), flush_seconds=3600))
    receiver = LogReceiver(log)
    request = json.dumps({"instances": [{"text": "lunch at noon " * 10, "age": 3}]}).encode()
    answer = {"score": 0.5, "flagged": True, "threshold": 0.4, "model_version": "v1"}
    response = json.dumps({"predictions": [answer]}).encode()

    def take() -> None:
        for call in range(_CALLS):
            for kind, body in (("request", request), ("response", response)):
                receiver.take(parse_event(_headers(kind, call), body))

    seconds = _seconds(take)
    receiver.close()
    assert log.counts.written == _CALLS
    return {"event_microseconds": 1e6 * seconds / (2 * _CALLS)}


def _row(number: int, inputs: dict[str, float]) -> dict[str, Any]:
    return {
        "row_id": f"post-{number}",
        "model_name": "toy",
        "model_version": "v1",
        "score": 0.5,
        "threshold": 0.4,
        "decision": "flagged",
        "action": "flagged",
        "explored": False,
        "action_probability": 1.0,
        "path": "full",
        "input_text": "lunch at noon " * 10,
        **{f"input_{name}": value for name, value in inputs.items()},
    }


def _headers(kind: str, call: int) -> dict[str, str]:
    return {
        "ce-specversion": "1.0",
        "ce-id": str(call),
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "ce-source": "http://localhost:9081/",
        "ce-inferenceservicename": "toy",
        "ce-namespace": "tidegate",
        "content-type": "application/json",
    }


def _seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
