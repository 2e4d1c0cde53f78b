"""Requests to a server as fast as it answers, or at a fixed rate, from a process of its own.

``python benchmarks/load_generator.py < ORDER.json`` where the order has ``port``, ``path``,
``bodies`` (JSON documents), ``connections``, ``seconds`` and ``rate`` (0: as fast as it answers).
At a rate, the time of a request counts from when it was due, so that a server that stalls is not
spared the requests it kept waiting (coordinated omission). Writes one JSON object.
"""

import asyncio
import json
import sys
import time
from collections import deque
from typing import Any

import numpy as np


class Connection(asyncio.Protocol):
    """One connection that sends a request at a time and reports the answer."""

    def __init__(self, run: "Run") -> None:
        self._run, self._received = run, bytearray()
        self._due = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._run.idle(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._received) < end + 4 + length:
            return
        self._run.answered(head.startswith(b"http/1.1 200"), time.perf_counter() - self._due)
        del self._received[: end + 4 + length]
        self._run.idle(self)

    def close(self) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost += 1


class Run:
    """What is to be sent, and what came of it."""

    def __init__(self, requests: list[bytes], seconds: float, rate: float) -> None:
        self._requests, self._rate = requests, rate
        self._sent = self.lost = self.failed = 0
        self._waiting: deque[Connection] = deque()
        self.seconds_each: list[float] = []
        self._begun = time.perf_counter()
        self._until = self._begun + seconds

    def idle(self, connection: Connection) -> None:
        if self._rate:
            self._waiting.append(connection)
            self.send_due()
        elif time.perf_counter() < self._until:
            self._send(connection, time.perf_counter())

    def send_due(self) -> None:
        """Send what is due over the connections that are free."""
        now = time.perf_counter()
        while self._waiting and (due := self._begun + self._sent / self._rate) <= now:
            if due > self._until:
                return
            self._send(self._waiting.popleft(), due)

    def _send(self, connection: Connection, due: float) -> None:
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        connection.send(request, due)

    def answered(self, well: bool, seconds: float) -> None:
        self.failed += not well
        self.seconds_each.append(seconds)


async def _run(order: dict[str, Any]) -> dict[str, float]:
    requests = []
    for document in order["bodies"]:
        body = json.dumps(document).encode()
        head = f"POST {order['path']} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
        requests.append(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    loop = asyncio.get_running_loop()
    run = Run(requests, order["seconds"], order["rate"])
    connections = [
        (await loop.create_connection(lambda: Connection(run), "127.0.0.1", order["port"]))[1]
        for _ in range(order["connections"])
    ]
    begun, until = time.perf_counter(), time.perf_counter() + order["seconds"]
    while (now := time.perf_counter()) < until:
        run.send_due()
        await asyncio.sleep(0.0005 if order["rate"] else min(0.05, until - now))
    elapsed = time.perf_counter() - begun
    times = np.array(run.seconds_each) * 1000
    for connection in connections:
        connection.close()
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) if times.size else (np.nan,) * 3
    return {
        "requests": int(times.size),
        "failed": run.failed,
        "lost_connections": run.lost,
        "requests_per_second": times.size / elapsed,
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "p99_ms": float(p99),
    }


def main() -> None:
    import uvloop

    print(json.dumps(uvloop.run(_run(json.load(sys.stdin)))))


if __name__ == "__main__":
    main()
