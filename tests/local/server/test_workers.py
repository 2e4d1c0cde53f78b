"""Several processes on one port: their metrics add up, and all stop together."""

import re
from pathlib import Path

import pytest

from tests.local.server.process import ROW, Server, infer, start


def workers(server):
    pid = server.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answered(server):
    text = server.http.get("/metrics").text
    found = re.findall(r'^tidegate_requests_total{.*protocol="v1"} ([\d.]+)', text, re.MULTILINE)
    return sum(map(float, found))


def test_workers_share_the_port_add_up_and_stop_together_with_0(bundle):
    server = Server(bundle, settings={"workers": 2})
    try:
        children = workers(server)
        assert len(children) == 2
        # A new connection each time, which the kernel gives to any of the workers.
        server.http.headers["connection"] = "close"
        for _ in range(20):
            assert server.v1([ROW]).status_code == 200
        assert {answered(server) for _ in range(6)} == {20}
        infer(server)
    finally:
        code, errors = server.stop()
    assert (code, "Traceback" in errors) == (0, False)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_what_is_wrong_with_a_bundle_is_said_once(tmp_path):
    process = start("--bundle", tmp_path, "--settings", '{"workers": 3}')
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, len(errors.splitlines())) == (2, 1)


@pytest.mark.parametrize("settings", ['{"workers": 0}', "{", "nowhere.json", '{"wrokers": 2}'])
def test_settings_that_are_wrong_are_one_message(settings, capsys):
    from tidegate.serving.__main__ import main

    assert main(["--bundle", "nowhere", "--settings", settings]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
