"""Hostile and too much: every request is answered in bounded time, health all along."""

import json
import re
import socket
import threading
import time

import httpx
import pytest

from tests.local.server.process import ROW, Server

BOUNDS = {"max_body_mib": 0.25, "timeout_seconds": 0.6, "max_concurrent": 2, "batch_rows": 1}
HEAD = b"POST /v1/models/toy:predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def bounded(bundle):
    server = Server(bundle, settings=BOUNDS, max_rows=1024)
    yield server
    server.stop()


def talk(server, *parts, pause=0.0):
    """Send bytes over a connection of its own; return all that is answered and the seconds."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:
            pass  # cut off in the middle of what it was sending
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionResetError:
            pass
    return answer, time.monotonic() - begun


def status(answer):
    return int(answer.split(b" ")[1]) if answer else None


def test_a_body_too_large_is_refused_before_it_is_read(bounded):
    answer, seconds = talk(bounded, HEAD + b"content-length: 100000000\r\n\r\n" + b"x" * 1000)
    assert (status(answer), seconds < 5) == (413, True)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] == "too_large"


def test_a_body_of_no_announced_size_is_refused_once_it_is_too_large(bounded):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer, seconds = talk(bounded, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 40)
    assert (status(answer), seconds < 5) == (413, True)


def test_a_head_without_end_is_refused(bounded):
    answer, seconds = talk(bounded, HEAD, *[b"x-more: " + b"y" * 8000 + b"\r\n"] * 20)
    assert (status(answer), seconds < 5) == (413, True)


@pytest.mark.parametrize(
    "slow",
    [HEAD[:20], HEAD, HEAD + b"content-length: 50\r\n\r\n{", b""],
    ids=["in the request line", "in the head", "in the body", "nothing at all"],
)
def test_a_request_that_dribbles_is_ended_in_time(bounded, slow):
    answer, seconds = talk(bounded, slow, *[b"a"] * (10 if slow else 0), pause=0.1)
    assert status(answer) == 408
    assert seconds < 5


def test_what_is_not_http_is_400(bounded):
    answer, _ = talk(bounded, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert status(answer) == 400


def test_too_many_at_once_are_told_to_come_again_and_health_stays_true(bounded):
    body = {"instances": [{**ROW, "text": "win a free prize " * 100}] * 8}
    seen, healthy = [], []

    def ask():
        with httpx.Client(base_url=f"http://127.0.0.1:{bounded.port}", timeout=20) as client:
            for _ in range(3):
                answer = client.post("/v1/models/toy:predict", json=body)
                seen.append((answer.status_code, answer.headers.get("retry-after")))
                healthy.append(client.get("/v2/health/ready").json()["ready"])

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {code for code, _ in seen} <= {200, 429, 503}
    assert (200, None) in seen
    assert (429, "1") in seen
    assert all(healthy)
    text = bounded.http.get("/metrics").text
    for reason in ("overloaded", "too_slow", "too_large"):
        pattern = rf'tidegate_rejected_requests_total{{.*reason="{reason}"}} [1-9]'
        assert re.search(pattern, text), reason
    assert re.search(r"tidegate_requests_in_hand{.*} 0", text)


def test_it_serves_on_after_all_that(bounded):
    assert bounded.v1([ROW]).status_code == 200
    assert bounded.http.get("/v2/health/ready").json() == {"ready": True}


def test_pipelined_requests_are_answered_in_order(bounded):
    bodies = [json.dumps({"instances": [ROW], "ids": [str(n)]}).encode() for n in range(3)]
    requests = [HEAD + b"content-length: %d\r\n\r\n" % len(body) + body for body in bodies]
    last = requests[-1].replace(b"host: x", b"host: x\r\nconnection: close")
    answer, _ = talk(bounded, b"".join([*requests[:-1], last]))
    assert re.findall(rb'"id":"(\d)"', answer) == [b"0", b"1", b"2"]
