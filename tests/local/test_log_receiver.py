"""The receiver as a process of its own: events by HTTP, and SIGTERM loses none."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.unit.payload_log.test_receiver import V1, headers
from tidegate.serving.log_reader import read_log

ROOT = Path(__file__).resolve().parents[2]


def test_events_that_were_taken_are_in_the_log_after_sigterm(tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tidegate.serving.log_receiver"),
            *("--port", "0", "--uri", str(tmp_path / "log")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().split()[3]
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, timeout=10) as client:
            for number in range(20):
                now = {"ce-time": datetime.now(UTC).isoformat()}
                for kind, document in zip(("request", "response"), V1, strict=True):
                    sent = headers(kind, str(number), **now)
                    assert client.post("/", headers=sent, json=document).status_code == 202
            assert "tidegate_log_receiver_events_total" in client.get("/metrics").text
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert (process.returncode in (0, -15), errors) == (True, "")
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    frame, reading = read_log(str(tmp_path / "log"), now - hour, now + hour)
    assert (len(frame), reading.duplicates) == (40, 0)
