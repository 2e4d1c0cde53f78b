"""How the server starts, where it listens, and how it ends."""

import signal
import time
from pathlib import Path

import pytest

from tests.local.server.process import ROW, Server, free_port, infer, start


def run(*arguments):
    process = start(*arguments)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_a_port_in_use_is_one_message_and_exit_2(server, bundle):
    code, errors = run("--bundle", bundle, "--port", server.port, "--grpc-port", "none")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert f"--port: cannot listen on 127.0.0.1:{server.port}" in errors
    code, errors = run("--bundle", bundle, "--port", free_port(), "--grpc-port", server.grpc_port)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "--grpc-port: cannot listen on" in errors


def test_a_classical_model_is_served_without_torch_or_scikit_learn(server):
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert [name for name in ("torch", "sklearn", "xgboost", "onnxruntime") if name in loaded] == []


def test_a_damaged_bundle_is_one_message_and_exit_2(bundle, tmp_path):
    code, errors = run("--bundle", tmp_path / "nowhere", "--port", free_port())
    assert (code, len(errors.splitlines())) == (2, 1)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_on_loopback_alone_and_stops_at_once_with_0(bundle, sign):
    server = Server(bundle)
    try:
        assert server.v1([ROW]).status_code == 200
        infer(server)
        tables = [Path(f"/proc/{server.process.pid}/net/{kind}") for kind in ("tcp", "tcp6")]
        sockets = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
        ours = {
            address.rpartition(":")[0]
            for _, address, _, state, *_ in sockets
            if state == "0A" and int(address.rpartition(":")[2], 16) in server.ports
        }
        assert ours == {"0100007F", "0000000000000000FFFF00000100007F"}
    finally:
        stopped = time.monotonic()
        server.process.send_signal(sign)
        _, errors = server.process.communicate(timeout=20)
        server.http.close()
    assert server.process.returncode == 0
    assert time.monotonic() - stopped < 5
    assert "Traceback" not in errors
