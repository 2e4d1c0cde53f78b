"""Several processes on one port: they add up, one that dies is replaced, all stop together."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.local.server.process import ROW, Server, infer, start


@pytest.fixture(scope="module")
def crew(bundle):
    server = Server(bundle, settings={"workers": 2})
    yield server
    server.stop()


def workers(server):
    pid = server.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answered(server):
    text = server.http.get("/metrics").text
    found = re.findall(r'^tidegate_requests_total{.*protocol="v1"} ([\d.]+)', text, re.MULTILINE)
    return sum(map(float, found))


def ask_anew(server):
    """Ask over a new connection, which the kernel gives to any of the workers."""
    server.http.headers["connection"] = "close"
    return server.v1([ROW])


def test_the_metrics_of_any_worker_are_those_of_all(crew):
    before = answered(crew)
    for _ in range(20):
        assert ask_anew(crew).status_code == 200
    assert {answered(crew) for _ in range(6)} == {before + 20}
    infer(crew)


def test_a_worker_that_dies_is_replaced_and_nobody_is_left_without(crew):
    first = workers(crew)
    assert len(first) == 2
    time.sleep(max(0.0, crew.started + 5.5 - time.monotonic()))
    os.kill(first[0], signal.SIGKILL)
    until = time.monotonic() + 60
    while time.monotonic() < until and (
        set(workers(crew)) == {first[1]} or first[0] in workers(crew)
    ):
        assert ask_anew(crew).status_code == 200
        time.sleep(0.1)
    assert len(set(workers(crew)) - set(first)) == 1
    assert first[1] in workers(crew)


def test_all_stop_together_with_0(bundle):
    server = Server(bundle, settings={"workers": 2})
    children = workers(server)
    code, errors = server.stop()
    assert (code, "Traceback" in errors) == (0, False)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_workers_end_with_the_process_that_started_them(bundle):
    server = Server(bundle, settings={"workers": 2})
    children = workers(server)
    server.process.kill()
    server.process.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and any(Path(f"/proc/{one}").exists() for one in children):
        time.sleep(0.1)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    server.http.close()


def test_what_is_wrong_with_a_bundle_is_said_once(bundle, tmp_path):
    process = start("--bundle", tmp_path, "--settings", '{"workers": 3}')
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, len(errors.splitlines())) == (2, 1)


@pytest.mark.parametrize("settings", ['{"workers": 0}', "{", "nowhere.json", '{"wrokers": 2}'])
def test_settings_that_are_wrong_are_one_message(bundle, settings):
    process = start("--bundle", bundle, "--settings", settings)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, len(errors.splitlines())) == (2, 1)
