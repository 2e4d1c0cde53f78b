"""``python -m tidegate.serving.log_receiver``: KServe's logger on one side, the payload log behind.

An InferenceService of any runtime posts its calls here with ``logger: {mode: all, url: …}``. KServe
waits inside the request when its own small queue is full, so an answer here is always quick: 202
when an event is taken, 503 when there is no room for it, 4xx when it is none.
"""

import argparse
import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, generate_latest

from tidegate.errors import BadInput
from tidegate.serving.log_event import (
    EventRefused,
    LoggedEvent,
    inference_document,
    parse_event,
    payload_rows,
)
from tidegate.serving.log_pairs import PairLimits, Pairs
from tidegate.serving.payload_log import PayloadLog

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_EVENTS = Counter("tidegate_log_receiver_events", "Events of KServe's logger.", ("fate",))
_WAITING = Gauge("tidegate_log_receiver_waiting_events", "Events without their other half yet.")
_RETRY_SECONDS = 5


class LogReceiver:
    """Takes events, brings both halves of a call together and offers its rows to a payload log.

    Parameters
    ----------
    log : PayloadLog
        Where rows go; closed with the receiver's application.
    limits : PairLimits
        How long and how many events wait for their other half.
    elapsed : callable
        Seconds of a clock that never jumps.
    """

    def __init__(
        self,
        log: PayloadLog,
        limits: PairLimits | None = None,
        *,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._pairs = Pairs(limits or PairLimits(), elapsed)

    def take(self, event: LoggedEvent) -> int:
        """Take one event; return the HTTP status that answers it.

        Raises
        ------
        EventRefused
            If its data is not JSON, or the two halves of a call do not fit.
        """
        self.give_up()
        if inference_document(event.body) is None:
            return self._answer("ignored")
        if not self._log.has_room:
            return self._answer("full")
        fate, call = self._pairs.take(event)
        if call is not None:
            self._log.offer(payload_rows(*call))
        return self._answer(fate)

    def give_up(self) -> None:
        """Count the events whose other half did not come in time."""
        _EVENTS.labels("unpaired").inc(len(self._pairs.give_up()))
        _WAITING.set(self._pairs.waiting)

    def close(self) -> None:
        """Write what is complete."""
        self._log.close()

    def _answer(self, fate: str) -> int:
        _EVENTS.labels(fate).inc()
        _WAITING.set(self._pairs.waiting)
        return 503 if fate == "full" else 202


def receiver_app(
    receiver: LogReceiver, *, max_body_mib: float = 16.0, timeout_seconds: float = 10.0
) -> "Starlette":
    """Return the receiver as an ASGI application.

    ``POST`` any path takes an event; ``GET /healthz`` and ``GET /metrics`` tell how it goes.

    Parameters
    ----------
    receiver : LogReceiver
        Closed when the application ends.
    max_body_mib : float
        Larger bodies are refused with 413 before they are read whole.
    timeout_seconds : float
        For a body to arrive.
    """
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def post(request: "Request") -> "Response":
        try:
            content = await asyncio.wait_for(_body(request, max_body_mib), timeout_seconds)
            status = receiver.take(parse_event(request.headers, content))
        except TimeoutError:
            return _refused(408, f"the body did not arrive within {timeout_seconds:g} s")
        except _TooLarge:
            return _refused(413, f"the body is larger than {max_body_mib:g} MiB")
        except EventRefused as refusal:
            return _refused(400, str(refusal))
        if status == 503:
            return PlainTextResponse("no room", 503, {"Retry-After": str(_RETRY_SECONDS)})
        return Response(status_code=status)

    async def health(_: "Request") -> "Response":
        return PlainTextResponse("ok")

    async def metrics(_: "Request") -> "Response":
        receiver.give_up()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        receiver.close()

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/metrics", metrics),
            Route("/{path:path}", post, methods=["POST"]),
        ],
        lifespan=lifespan,
    )


class _TooLarge(Exception):
    """A body over the limit."""


async def _body(request: "Request", max_body_mib: float) -> bytes:
    most = int(max_body_mib * 2**20)
    if int(request.headers.get("content-length", "0")) > most:
        raise _TooLarge
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


def _refused(status: int, says: str) -> "Response":
    from starlette.responses import JSONResponse

    _EVENTS.labels("refused").inc()
    return JSONResponse({"error": says}, status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Receive until SIGTERM or SIGINT; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m tidegate.serving.log_receiver",
        description="Receive the calls that KServe's logger posts, and keep them as Parquet.",
    )
    parser.add_argument("--config", type=Path, help="run configuration; its serving.payload_log")
    parser.add_argument("--uri", help="folder or fsspec URI of the log [that of the configuration]")
    parser.add_argument("--bundle", type=Path, help="bundle that serves, for the inputs' types")
    parser.add_argument("--host", default="127.0.0.1", help="[%(default)s]; pods: 0.0.0.0")
    parser.add_argument("--port", type=int, default=8080, help="[%(default)s]; 0: any")
    parser.add_argument("--pair-seconds", type=float, default=60.0, help="[%(default)s]")
    parser.add_argument("--pair-events", type=int, default=10_000, help="[%(default)s]")
    parser.add_argument("--max-body-mib", type=float, default=16.0, help="[%(default)s]")
    given = parser.parse_args(arguments)
    try:
        _serve(given)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(given: argparse.Namespace) -> None:
    import uvicorn

    from tidegate.config import PayloadLogConfig, load_config

    config = PayloadLogConfig()
    if given.config is not None:
        config = load_config(given.config).serving.payload_log
    if given.uri is not None:
        config = config.model_copy(update={"uri": given.uri})
    columns = None
    if given.bundle is not None:
        from tidegate.models.bundle import read_manifest

        columns = read_manifest(given.bundle).inputs
    receiver = LogReceiver(
        PayloadLog(config, columns=columns),
        PairLimits(seconds=given.pair_seconds, events=given.pair_events),
    )
    app = receiver_app(receiver, max_body_mib=given.max_body_mib)
    listening = _listening(given.host, given.port)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=10)
    )
    port = listening.getsockname()[1]
    print(f"receives events at http://{given.host}:{port} into {config.uri}", flush=True)
    with listening:
        server.run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise BadInput("--port", f"must be in 0..65535, got {port}", "write a free port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        problem = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise BadInput("--port", problem, "stop what uses it or choose another one") from None


if __name__ == "__main__":
    sys.exit(main())
