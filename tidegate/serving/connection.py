"""One HTTP connection: a head and a body have a size and a time, whatever a client sends.

Uvicorn bounds neither: a head may grow without end, a body may dribble for days.
"""

from asyncio import TimerHandle, Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidegate.serving.refusals import as_http, told
from tidegate.serving.schema import Reason, RequestRefused

MAX_HEAD_BYTES = 32_768
# Of bodies that are still arriving, all connections together, in largest bodies.
_BODIES_AT_ONCE = 8
# A client that is refused in the middle of its body may go on sending for so long; a connection
# that is cut at once would lose the answer.
_LINGER_SECONDS = 2.0


@dataclass
class Bounds:
    """What all connections of a process share.

    Parameters
    ----------
    max_body_bytes : int
        Of one body.
    timeout_seconds : float
        From a request's first byte to its last.
    refused : callable
        Called with the reason of each refusal.
    arriving_bytes : int
        Of bodies that are not answered yet.
    """

    max_body_bytes: int
    timeout_seconds: float
    refused: Callable[[Reason], None]
    arriving_bytes: int = 0

    @property
    def has_room(self) -> bool:
        """Whether there is memory for more of a body."""
        return self.arriving_bytes <= _BODIES_AT_ONCE * self.max_body_bytes


class _Refused(Exception):
    """Stops the parser."""


class BoundedConnection(HttpToolsProtocol):  # type: ignore[misc]
    """Uvicorn's connection with bounds."""

    bounds: Bounds

    def connection_made(self, transport: Transport) -> None:
        """Start the clock: a client that says nothing is not waited for."""
        self._refusal: RequestRefused | None = None
        self._is_closed = self._is_arriving = self._is_head = False
        self._head_bytes = self._body_bytes = 0
        self._timer: TimerHandle | None = None
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what was held of a body."""
        self._stop_clock()
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the client has been refused."""
        if self._is_closed:
            return
        super().data_received(data)
        if self._is_head:
            # A head that came whole is no larger than what one read of the socket returns.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                problem = f"must have at most {MAX_HEAD_BYTES} bytes"
                self._end(RequestRefused("too_large", "headers", problem))
        self._keep_clock()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_arriving = self._is_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse a body whose announced size is too large."""
        if name.lower() == b"content-length":
            self._require_size(int(value) if value.isdigit() else 0)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head."""
        self._is_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count the body, which may come without an announced size."""
        self._body_bytes += len(body)
        self.bounds.arriving_bytes += len(body)
        self._require_size(self._body_bytes)
        if not self.bounds.has_room:
            self._stop("overloaded", "request", "too much is being sent; come again")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request's arrival."""
        self._is_arriving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Free the body."""
        self._release()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be parsed, or was refused, and end the connection."""
        self._end(self._refusal or RequestRefused("malformed", "request", "is not HTTP/1.1"))

    def _require_size(self, size: int) -> None:
        most = self.bounds.max_body_bytes
        if size > most:
            self._stop("too_large", "body", f"must have at most {most} bytes")

    def _stop(self, reason: Reason, field: str, problem: str) -> None:
        self._refusal = RequestRefused(reason, field, problem)
        raise _Refused

    def _keep_clock(self) -> None:
        whole = self._is_closed or (self.cycle is not None and not self._is_arriving)
        if whole and self._timer is not None:
            self._stop_clock()
        elif not whole and self._timer is None:
            self._start_clock()

    def _start_clock(self) -> None:
        self._timer = self.loop.call_later(self.bounds.timeout_seconds, self._is_too_slow)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_too_slow(self) -> None:
        seconds = self.bounds.timeout_seconds
        self._end(RequestRefused("too_slow", "request", f"must arrive within {seconds:g} s"))

    def _end(self, refusal: RequestRefused) -> None:
        if self._is_closed or self.transport.is_closing():
            return
        self._is_closed = True
        self._stop_clock()
        self._release()
        self.bounds.refused(refusal.reason)
        cycle: Any = self.cycle
        if cycle is not None:
            # The application may be waiting for the body: it is told that the client has gone.
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(as_http(*told(refusal)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _release(self) -> None:
        self.bounds.arriving_bytes -= self._body_bytes
        self._body_bytes = 0


def bounded(bounds: Bounds) -> type[BoundedConnection]:
    """Return the class of connections that share these bounds, for uvicorn's ``http`` setting."""
    return type("Connection", (BoundedConnection,), {"bounds": bounds})
