"""Requests that wait are scored together; one that comes alone is scored at once.

No request is held back so that others may join it: a batch is what has come in by the time the
model is free, as in Clipper's adaptive batching without its delay (Crankshaw et al., NSDI 2017).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tidegate.serving.schema import RequestRefused

A = TypeVar("A")
B = TypeVar("B")

#: Work that takes no longer is done between two events of the loop; the hop to a thread and its
#: fight for the interpreter cost more than that. Longer work would hold up a health check.
INLINE_SECONDS = 0.02
# How often, within the time of a request, is looked for those whose time is over.
_LOOKS = 8
# How much the newest batch says of the time that a row takes.
_NEWEST = 0.2


class TimedOut(Exception):
    """No answer in the time that the configuration allows."""


@dataclass
class _Waiting(Generic[A, B]):
    asked: A
    rows: int
    alone: bool
    answer: "asyncio.Future[B]"
    until: float


class Batcher(Generic[A, B]):
    """Hands requests to a function of many, bounded in number and in time.

    Parameters
    ----------
    work : callable
        ``work([asked, ...])`` returns an answer each, in order.
    batch_rows : int
        Most rows of requests that are answered together; one of more rows is answered alone.
    max_waiting : int
        Requests in hand; a further one is refused.
    timeout_seconds : float
        From when a request comes until its answer.
    row_seconds : float
        What a row is believed to take, until it is known better.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[B]],
        *,
        batch_rows: int,
        max_waiting: int,
        timeout_seconds: float,
        row_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._clock = work, clock
        self._batch_rows, self._max_waiting = batch_rows, max_waiting
        self._timeout_seconds = timeout_seconds
        self._queue: deque[_Waiting[A, B]] = deque()
        self._in_hand = 0
        self._row_seconds = row_seconds
        self._busy = self._scheduled = False
        # One thread: a large request delays other rows, but never a health check.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")

    @property
    def in_hand(self) -> int:
        """Requests that wait or are being answered."""
        return self._in_hand

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    async def answer(self, asked: A, rows: int, *, alone: bool = False) -> B:
        """Return the work's answer to one request.

        Parameters
        ----------
        rows : int
            Of this request.
        alone : bool
            Whether its work is long and is done in the thread, by itself.

        Raises
        ------
        RequestRefused
            If too many requests are in hand (``overloaded``).
        TimedOut
            If there is no answer in time.
        """
        if self._in_hand >= self._max_waiting:
            raise RequestRefused("overloaded", "request", "too many are in hand; come again")
        loop = asyncio.get_running_loop()
        waiting = _Waiting[A, B](
            asked, rows, alone, loop.create_future(), self._clock() + self._timeout_seconds
        )
        self._queue.append(waiting)
        self._in_hand += 1
        if not self._busy and not self._scheduled:
            # Not at once: what else has arrived by now joins the batch.
            self._scheduled = True
            loop.call_soon(self._next)
        try:
            return await waiting.answer
        finally:
            self._in_hand -= 1

    def _next(self) -> None:
        self._scheduled = False
        batch = self._batch()
        if not batch:
            return
        loop = asyncio.get_running_loop()
        rows = sum(waiting.rows for waiting in batch)
        begun = self._clock()
        if not batch[0].alone and rows * self._row_seconds <= INLINE_SECONDS:
            self._deliver(batch, _outcomes(self._work, [waiting.asked for waiting in batch]))
            self._learn(begun, rows, batch[0].alone)
            if self._queue:
                self._scheduled = True
                loop.call_soon(self._next)
            return
        self._busy = True
        asked = [waiting.asked for waiting in batch]
        running = loop.run_in_executor(self._thread, _outcomes, self._work, asked)
        self._watch(batch, running)

        def done(found: "asyncio.Future[list[B | Exception]]") -> None:
            self._busy = False
            self._deliver(batch, found.result())
            self._learn(begun, rows, batch[0].alone)
            self._next()

        running.add_done_callback(done)

    def _watch(self, batch: Sequence[_Waiting[A, B]], running: "asyncio.Future[Any]") -> None:
        """Give up on whoever has no time left, while the thread is at work."""
        if running.done():
            return
        now = self._clock()
        self._give_up([waiting for waiting in batch if waiting.until <= now])
        while self._queue and self._queue[0].until <= now:
            self._give_up([self._queue.popleft()])
        pause = self._timeout_seconds / _LOOKS
        asyncio.get_running_loop().call_later(pause, self._watch, batch, running)

    def _batch(self) -> list[_Waiting[A, B]]:
        """Take the longest waiting ones that still have time, as many as go together."""
        batch: list[_Waiting[A, B]] = []
        rows, now = 0, self._clock()
        while self._queue:
            first = self._queue[0]
            if first.answer.done():  # the client has gone
                self._queue.popleft()
                continue
            if first.until <= now:
                self._give_up([self._queue.popleft()])
                continue
            if batch and (first.alone or batch[0].alone or rows + first.rows > self._batch_rows):
                break
            rows += first.rows
            batch.append(self._queue.popleft())
        return batch

    def _give_up(self, batch: Sequence[_Waiting[A, B]]) -> None:
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(TimedOut("no answer in time"))

    def _deliver(self, batch: Sequence[_Waiting[A, B]], outcomes: Sequence[B | Exception]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(outcome, Exception):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)

    def _learn(self, begun: float, rows: int, alone: bool) -> None:
        if alone:
            return
        seconds = (self._clock() - begun) / rows
        known = self._row_seconds
        self._row_seconds = seconds if not known else known + _NEWEST * (seconds - known)


def _outcomes(
    work: Callable[[Sequence[A]], Sequence[B]], asked: Sequence[A]
) -> list[B | Exception]:
    """Return each request's answer or its own failure: a bad row must not fail its neighbours."""
    try:
        return list(work(asked))
    except Exception as error:  # noqa: BLE001 - it is handed to whoever asked
        if len(asked) == 1:
            return [error]
    return [outcome for one in asked for outcome in _outcomes(work, [one])]
