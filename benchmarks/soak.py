"""Ten minutes of more than the server can bear: it refuses, stays healthy, and its memory is flat.

``python benchmarks/soak.py [--minutes 10] [--connections 128] [--max-concurrent 16]`` trains a
small model, serves it with few requests in hand allowed, asks from many connections without a
pause, and every second sends something hostile beside it: bodies of 100 MB, JSON of 10,000 levels,
NaN, wrong shapes, bytes that are no UTF-8, and requests that dribble. Memory is flat when a line
through its second half rises by less than 2 % of the mean. The last line is one JSON object.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
from serving import QUIET, ROOT, Side, memory_mib, train, wait_for

PATH = "/v1/models/model:predict"
MOST_RISE = 0.02
HOSTILE = (
    b'{"instances": ' + b"[" * 10_000,
    b'{"instances": [{"text": NaN}]}',
    b'{"instances": [{"text": ["a"]}]}',
    b'{"instances": [{"text": "\xff\xfe"}]}',
    b"\x00" * 1000,
)


def head(length: int) -> bytes:
    """Return the head of a request whose body has so many bytes."""
    return f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode()


def answered(port: int, *parts: bytes) -> str:
    """Send parts over a connection of its own; return the status, or what became of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            return connection.recv(64).split(b" ")[1].decode()
        except (OSError, IndexError):
            return "cut off"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--max-concurrent", type=int, default=16)
    parser.add_argument("--port", type=int, default=18_090)
    asked = parser.parse_args()
    settings = json.dumps({"max_concurrent": asked.max_concurrent, "timeout_seconds": 2.0})
    with tempfile.TemporaryDirectory() as folder:
        texts = train(Path(folder), "logistic", 1000)
        command = [
            *(sys.executable, "-m", "tidegate.serving", "--bundle", f"{folder}/bundle"),
            *("--port", str(asked.port), "--grpc-port", "none", "--settings", settings),
        ]
        environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            side = Side("tidegate", command, PATH, asked.port, _asks, {})
            wait_for(side, texts[0], server)
            found = soak(asked, server.pid, texts)
        finally:
            server.terminate()
            server.wait(30)
    print(
        f"{found['requests']} answered, {found['failed']} of them refusals; hostile: "
        f"{found['hostile']}; health failed {found['health_failures']} times; memory "
        f"{found['memory_mib_first']:.0f} to {found['memory_mib_last']:.0f} MiB, "
        f"{'flat' if found['memory_is_flat'] else 'NOT FLAT'}"
    )
    print(json.dumps(found))


def _asks(text: str) -> dict[str, object]:
    return {"instances": [{"text": text}]}


def soak(asked: argparse.Namespace, pid: int, texts: list[str]) -> dict[str, object]:
    """Ask too much for so many minutes; return what came of it."""
    order = {
        **{"port": asked.port, "path": PATH, "bodies": [_asks(text) for text in texts[:500]]},
        **{"connections": asked.connections, "seconds": asked.minutes * 60, "rate": 0},
    }
    generator = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("load_generator.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert generator.stdin is not None
    generator.stdin.write(json.dumps(order))
    generator.stdin.close()
    generator.stdin = None
    memory: list[float] = []
    hostile: Counter[str] = Counter()
    slowest = health_failures = number = 0
    dribbling: list[socket.socket] = []
    while generator.poll() is None:
        begun = time.monotonic()
        body = HOSTILE[number % len(HOSTILE)]
        hostile[answered(asked.port, head(len(body)), body)] += 1
        if number % 10 == 0:
            hostile[answered(asked.port, head(100_000_000), *[b"x" * 1_000_000] * 100)] += 1
        for connection in dribbling[:-5]:
            connection.close()
        dribbling = [*dribbling[-5:], socket.create_connection(("127.0.0.1", asked.port))]
        dribbling[-1].sendall(head(100)[:30])
        slowest = max(slowest, time.monotonic() - begun)
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{asked.port}/v2/health/ready", timeout=5
            ) as answer:
                health_failures += not json.load(answer)["ready"]
        except OSError:
            health_failures += 1
        memory.append(memory_mib(pid))
        number += 1
        time.sleep(max(0.0, 1 - (time.monotonic() - begun)))
    output, _ = generator.communicate()
    figures = json.loads(output)
    later = np.array(memory[len(memory) // 2 :])
    slope = np.polyfit(np.arange(later.size), later, 1)[0] if later.size > 1 else 0.0
    return {
        **figures,
        "minutes": asked.minutes,
        "hostile": dict(hostile),
        "slowest_hostile_seconds": slowest,
        "health_failures": health_failures,
        "memory_mib_first": memory[0],
        "memory_mib_last": memory[-1],
        "memory_mib_highest": max(memory),
        "memory_rise": float(slope * later.size / later.mean()),
        "memory_is_flat": bool(slope * later.size / later.mean() < MOST_RISE),
    }


if __name__ == "__main__":
    main()
