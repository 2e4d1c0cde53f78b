"""A tiny weighted proxy before model servers on this machine, for tests and the demo only.

It sends each request to one version by the weights in force, counts what came of it, and keeps
copies of the last requests, so that a release can be analysed without Prometheus and without a
payload log. A cluster has a gateway, Prometheus and the payload log for all this.
"""

import asyncio
import json
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.rollout.unit_split import UnitSplit

VERSION_HEADER = "x-tidegate-version"
#: Latencies in milliseconds that are counted.
EDGES_MS = (5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0, 3000.0)

_DROPPED_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


@dataclass
class VersionCounts:
    """What became of a version's requests since the proxy began; times in milliseconds."""

    requests: int = 0
    errors: int = 0
    slower: dict[float, int] = field(default_factory=lambda: dict.fromkeys(EDGES_MS, 0))

    def add(self, *, failed: bool, took_ms: float) -> None:
        """Count one request."""
        self.requests += 1
        self.errors += failed
        for edge in EDGES_MS:
            if took_ms <= edge:
                break
            self.slower[edge] += 1

    def copy(self) -> "VersionCounts":
        """Return the counts as they are now."""
        return VersionCounts(self.requests, self.errors, dict(self.slower))


@dataclass(frozen=True)
class CopiedRequest:
    """One prediction request as it came, and how many had come before it."""

    number: int
    path: str
    body: bytes


class LocalProxy:
    """Listens on loopback in a thread of its own until `stop`.

    Parameters
    ----------
    port : int
        0 takes a free one.
    timeout_seconds : float
        For a version to answer; later it counts as failed.
    kept_requests : int
        How many copies are kept; the oldest go.
    seed : int
        Of the draws.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        timeout_seconds: float = 10.0,
        kept_requests: int = 5000,
        seed: int = 0,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._random = random.Random(seed)
        self._addresses: Mapping[str, str] = {}
        self._shares: Mapping[str, float] = {}
        self._split: UnitSplit | None = None
        self._copies: deque[CopiedRequest] = deque(maxlen=kept_requests)
        self._seen = 0
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._server: Any = None
        self._thread = threading.Thread(target=self._run, name="local-proxy", daemon=True)
        self.counts: dict[str, VersionCounts] = {}

    @property
    def address(self) -> str:
        """Where clients send their requests."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def start(self, deadline_seconds: float = 20.0) -> None:
        """Begin to listen."""
        self._thread.start()
        until = time.monotonic() + deadline_seconds
        while self._server is None or not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the local proxy did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Finish what is running and leave."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(10)
        self._socket.close()

    def route(
        self,
        addresses: Mapping[str, str],
        shares: Mapping[str, float],
        split: UnitSplit | None = None,
    ) -> None:
        """Send requests to versions by these shares from now on.

        Parameters
        ----------
        addresses : mapping
            Version to the address of its server.
        shares : mapping
            Version to its share of the requests; together 1.
        split : UnitSplit, optional
            Decides for requests whose parameters name a unit, and tells them their arm.
        """
        self._addresses, self._shares, self._split = dict(addresses), dict(shares), split

    def copies_after(self, number: int) -> tuple[CopiedRequest, ...]:
        """Return the kept copies of requests that came after a number of them, oldest first."""
        return tuple(copy for copy in tuple(self._copies) if copy.number >= number)

    @property
    def seen(self) -> int:
        """How many prediction requests have come."""
        return self._seen

    def _run(self) -> None:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.routing import Route

        application = Starlette(
            routes=[Route("/{path:path}", self._forward, methods=["GET", "POST"])]
        )
        config = uvicorn.Config(application, log_level="error", lifespan="off", access_log=False)
        self._server = uvicorn.Server(config)
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        import httpx

        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        async with httpx.AsyncClient(timeout=self._timeout_seconds, limits=limits) as client:
            self._client = client
            await self._server.serve(sockets=[self._socket])

    async def _forward(self, request: Any) -> Any:
        import httpx
        from starlette.responses import JSONResponse, Response

        body = await request.body()
        predicts = request.method == "POST"
        version, sent = self._assigned(body) if predicts else (self._draw(), body)
        if version is None:
            return JSONResponse({"error": "no version is in service"}, 503)
        if predicts:
            self._copies.append(CopiedRequest(self._seen, request.url.path, body))
            self._seen += 1
        headers = {k: v for k, v in request.headers.items() if k not in _DROPPED_HEADERS}
        began = time.perf_counter()
        try:
            answer = await self._client.request(
                request.method,
                self._addresses[version] + request.url.path,
                content=sent,
                headers=headers,
            )
        except httpx.HTTPError as error:
            says = f"version {version} did not answer: {type(error).__name__}"
            response: Any = JSONResponse({"error": says}, 502)
        else:
            kept = {k: v for k, v in answer.headers.items() if k not in _DROPPED_HEADERS}
            kept.pop("content-encoding", None)
            response = Response(answer.content, answer.status_code, kept)
        if predicts:
            took_ms = 1000 * (time.perf_counter() - began)
            counts = self.counts.setdefault(version, VersionCounts())
            counts.add(failed=response.status_code >= 500, took_ms=took_ms)
        response.headers[VERSION_HEADER] = version
        return response

    def _assigned(self, body: bytes) -> tuple[str | None, bytes]:
        """Return a request's version and its body, which names the arm that it was assigned."""
        split = self._split
        if split is None:
            return self._draw(), body
        try:
            document = json.loads(body)
            parameters = document["parameters"]
            found = split.assign(parameters)
        except (ValueError, KeyError, TypeError):
            found = None
        if found is None:
            return self._draw(), body
        arm, version = found
        parameters["arm"] = arm
        return version, json.dumps(document).encode()

    def _draw(self) -> str | None:
        shares = self._shares
        if not shares:
            return None
        return self._random.choices(list(shares), weights=list(shares.values()))[0]
