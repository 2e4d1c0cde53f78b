"""Worker processes are watched: one that dies is replaced, none outlives who started it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import os, sys
from tidegate.serving.workers import say_ready
say_ready()
sys.stdin.buffer.read()
"""
SUPERVISOR = """
import sys
from tidegate.serving import workers
workers._SHORT_LIFE_SECONDS = 0.0
command = [sys.executable, "-c", sys.argv[1]]
sys.exit(workers.supervise(command, 2, lambda: print("all listen", flush=True)))
"""


def supervised(worker):
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, worker],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(process):
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return {int(one) for one in listed.split()}


def eventually(holds, seconds=60):
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def gone(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def crew():
    process = supervised(WORKER)
    with process:
        assert process.stdout.readline() == "all listen\n"
        yield process
        process.kill()


def test_a_worker_that_dies_is_replaced_and_its_neighbour_stays(crew):
    first = children(crew)
    assert len(first) == 2
    died = min(first)
    subprocess.run(["kill", "-KILL", str(died)], check=True)
    assert eventually(lambda: len(children(crew) - first) == 1)
    assert first - {died} <= children(crew)


def test_all_stop_together_when_told_to(crew):
    pids = children(crew)
    crew.send_signal(signal.SIGTERM)
    assert crew.wait(60) == 0
    assert gone(pids)


def test_no_worker_outlives_a_supervisor_that_was_killed(crew):
    pids = children(crew)
    crew.kill()
    crew.wait(60)
    assert eventually(lambda: gone(pids))


def test_a_worker_that_cannot_start_ends_it_with_its_code_and_without_another():
    with supervised("import sys; print('no bundle', file=sys.stderr); sys.exit(2)") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (2, "", "no bundle\n")
