"""Requests that Schemathesis makes of the server's own OpenAPI document: none breaks it."""

import importlib.util
import os
import subprocess
import sys

import pytest

needs_it = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
)
EXAMPLES = "12"


@needs_it
def test_no_request_is_answered_with_a_fault_of_the_server(server, tmp_path):
    """Every way that the OpenAPI document names, with what fits it and what does not."""
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", address),
            *("--checks", "not_a_server_error", "--phases", "fuzzing", "--mode", "all"),
            *("--max-examples", EXAMPLES, "--seed", "1", "--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert server.http.get("/v2/health/ready").json() == {"ready": True}
