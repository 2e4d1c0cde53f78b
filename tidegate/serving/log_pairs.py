"""Requests and responses of KServe's logger, brought together within a bound of time and memory."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tidegate.serving.log_event import LoggedEvent

Call = tuple[str, str, str]
#: What became of an event: it completed a call, waits for its other half, came a second time,
#: came after its other half was given up, or has no room.
Fate = Literal["paired", "waiting", "duplicate", "late", "full"]


@dataclass(frozen=True)
class PairLimits:
    """How long an event waits for its other half, and how many may."""

    seconds: float = 60.0
    events: int = 10_000
    mib: float = 128.0


@dataclass(frozen=True)
class _Half:
    event: LoggedEvent
    until: float


class Pairs:
    """Events that wait for their other half, and calls that were seen of late.

    The memory of finished calls, as many as may wait, is what tells a duplicate; the payload log's
    reader removes the duplicates that it forgot.

    Parameters
    ----------
    limits : PairLimits
    elapsed : callable
        Seconds of a clock that never jumps.
    """

    def __init__(self, limits: PairLimits, elapsed: Callable[[], float]) -> None:
        self._limits, self._elapsed = limits, elapsed
        self._waiting: OrderedDict[Call, _Half] = OrderedDict()
        self._bytes = 0
        self._seen: OrderedDict[Call, Literal["paired", "given up"]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def take(self, event: LoggedEvent) -> tuple[Fate, tuple[LoggedEvent, LoggedEvent] | None]:
        """Take an event; return its fate, and request and response where it completes them."""
        half = self._waiting.get(event.call)
        if half is not None and half.event.kind != event.kind:
            self._drop(event.call, "paired")
            both = (half.event, event)
            return "paired", both if event.kind == "response" else (event, half.event)
        if half is not None:
            return "duplicate", None
        seen = self._seen.get(event.call)
        if seen is not None:
            return ("duplicate" if seen == "paired" else "late"), None
        is_full = self._bytes + len(event.body) > self._limits.mib * 2**20
        if is_full or len(self._waiting) >= self._limits.events:
            return "full", None
        self._waiting[event.call] = _Half(event, self._elapsed() + self._limits.seconds)
        self._bytes += len(event.body)
        return "waiting", None

    def give_up(self) -> list[LoggedEvent]:
        """Let go of the events whose other half did not come in time, and return them."""
        now, gone = self._elapsed(), []
        while self._waiting:
            call, half = next(iter(self._waiting.items()))
            if half.until > now:
                break
            self._drop(call, "given up")
            gone.append(half.event)
        return gone

    def _drop(self, call: Call, why: Literal["paired", "given up"]) -> None:
        self._bytes -= len(self._waiting.pop(call).event.body)
        self._seen[call] = why
        while len(self._seen) > self._limits.events:
            self._seen.popitem(last=False)
