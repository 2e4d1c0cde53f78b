"""The payload log: what was asked and answered, kept as Parquet without ever delaying an answer.

The server offers rows and goes on; a thread of its own writes them. What cannot be kept is dropped
and counted, never waited for. `tidegate.serving.log_reader.read_log` reads the log back.
"""

import atexit
import io
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from prometheus_client import Counter, Gauge

from tidegate.config import PayloadLogConfig
from tidegate.errors import BadInput
from tidegate.records import Column
from tidegate.serving.keyed_draw import checked_key, read_key
from tidegate.serving.log_layout import file_name, hour_of, open_log_folder
from tidegate.serving.log_table import LogSchema, instant

logger = logging.getLogger(__name__)

_WHERE = "serving.payload_log"
_WRITTEN = Counter("tidegate_payload_log_written_rows", "Rows that are in the payload log.")
_SAMPLED_OUT = Counter(
    "tidegate_payload_log_sampled_out_rows", "Rows that the configured sample leaves out."
)
_DROPPED = Counter(
    "tidegate_payload_log_dropped_rows", "Rows that the payload log lost.", ("reason",)
)
_MISFITS = Counter(
    "tidegate_payload_log_misfit_values", "Values that did not fit their column, kept as null."
)
_FAILED_WRITES = Counter(
    "tidegate_payload_log_failed_writes", "Tries to write a file that failed and are repeated."
)
_EXPORTED = {"written": _WRITTEN, "sampled_out": _SAMPLED_OUT, "failed_writes": _FAILED_WRITES}
_WAITING = Gauge(
    "tidegate_payload_log_waiting_rows",
    "Rows that wait to be written.",
    multiprocess_mode="livesum",
)

_LONGEST_BACKOFF_SECONDS = 60.0
_PRUNE_EVERY_SECONDS = 3600.0
# A clock that jumped must not decide what is old, until a day has passed without another jump.
_PRUNE_HOLD_SECONDS = 86_400.0
_JUMP_SECONDS = 60.0
_CLOSING_RETRY_SECONDS = 0.2
_GIVE_WAY_ROWS = 50
_GIVE_WAY_SECONDS = 0.0002

Reason = Literal["full", "closed", "unreadable", "unwritten"]


@dataclass(frozen=True)
class LogCounts:
    """What became of the rows that one log was offered."""

    offered: int = 0
    written: int = 0
    sampled_out: int = 0
    dropped: int = 0
    failed_writes: int = 0


_COUNTED = tuple(LogCounts.__dataclass_fields__)


@dataclass(frozen=True)
class _Offer:
    at: datetime
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class _File:
    name: str
    content: bytes
    rows: int


class PayloadLog:
    """Keeps served rows: a bounded queue, and a thread that writes a file an hour or fuller.

    A row is a mapping with the names of `PAYLOAD_COLUMNS` and, under `INPUT_PREFIX`, its inputs;
    what is absent is null. `time` is now and `event_id` a new one where they are not given. A file
    that cannot be written is tried again under its name until it is, so that a row may be
    there twice and never counts twice. A process that is killed loses what waited: at most
    ``flush_seconds``.

    The thread begins with the first offer, so that a log may be made before a process forks.

    Parameters
    ----------
    config : PayloadLogConfig
        Where to, how often, and what is left out.
    columns : sequence of Column, optional
        The model's inputs, for the types; without them a value's own type counts.
    key : bytes, optional
        Secret of the sample and of digests; without it the environment variable that the
        configuration names.
    now : callable
        The wall clock, in UTC.
    elapsed : callable
        Seconds of a clock that never jumps.

    Raises
    ------
    BadInput
        If there is no address or no library for it or for Parquet, a redacted column is unknown, a
        local folder cannot be made, or a key is needed and absent.
    """

    def __init__(
        self,
        config: PayloadLogConfig,
        *,
        columns: Sequence[Column] | None = None,
        key: bytes | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.uri is None:
            raise BadInput(f"{_WHERE}.uri", "is not set", "write a folder or an fsspec URI")
        self._config, self._now, self._elapsed = config, now, elapsed
        self._folder = open_log_folder(config.uri)
        self._folder.require_place()
        self._schema = LogSchema(config, columns, _key(config, key))
        self._queue: deque[_Offer] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._unwritten: tuple[_File, ...] = ()
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._thread: threading.Thread | None = None
        self._closing = False
        self._writer, self._events, self._files = "", 0, 0
        self._clock_offset = now().timestamp() - elapsed()
        self._prune_at = elapsed()
        try:
            # Arrow is imported now, and not beside the first requests.
            self._schema.table([])
        except ImportError:
            raise BadInput(_WHERE, "needs pyarrow, which is absent", "install it") from None

    def offer(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows to be kept, or drop and count what there is no room for.

        Never blocks and never raises. The rows are read later: don't change them afterwards.
        """
        try:
            at, given = self._now(), tuple(rows)
            with self._changed:
                room = 0 if self._closing else self._config.queue_rows - self._waiting
                taken = given if len(given) <= room else given[: max(room, 0)]
                if taken:
                    self._queue.append(_Offer(at, taken))
                    self._waiting += len(taken)
                self._counts["offered"] += len(given)
                if len(taken) < len(given):
                    self._drop(len(given) - len(taken), "closed" if self._closing else "full")
                if self._thread is None and not self._closing:
                    self._begin()
                if self._waiting >= self._config.file_rows:
                    self._changed.notify()
        except Exception as error:  # noqa: BLE001 - an answer is worth more than its log
            logger.error("the payload log could not take rows: %s", type(error).__name__)

    @property
    def has_room(self) -> bool:
        """Whether an offer of a few rows would be taken now."""
        return not self._closing and self._waiting < self._config.queue_rows

    @property
    def counts(self) -> LogCounts:
        """What became of the rows so far; what is in none of the other counts still waits."""
        with self._changed:
            return LogCounts(**self._counts)

    def flush(self) -> bool:
        """Write what waits, in the calling thread; return whether all of it is written."""
        with self._writing:
            while self._write_files():
                offers = self._take()
                if not offers:
                    return True
                self._unwritten = self._files_of(offers)
            return False

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Take no more, write what waits, and give up what cannot be written in time."""
        atexit.unregister(self.close)
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            self._closing = True
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(timeout_seconds)
        # A thread that still hangs in a write would make this one wait for it too.
        while not (thread is not None and thread.is_alive()) and not self.flush():
            if time.monotonic() >= deadline:
                break
            time.sleep(_CLOSING_RETRY_SECONDS)
        with self._changed:
            lost = self._waiting + sum(file.rows for file in self._unwritten)
            self._queue.clear()
            self._waiting, self._unwritten = 0, ()
            self._drop(lost, "unwritten")
        if lost:
            logger.error("the payload log could not be written: %d rows are lost", lost)

    def prune(self, now: datetime) -> int:
        """Delete the hours that are older than the configured days; return how many.

        Raises
        ------
        BadInput
            If the store cannot be listed.
        """
        return self._folder.prune(now - timedelta(days=self._config.retention_days))

    def _begin(self) -> None:
        self._writer = uuid.uuid4().hex
        _WAITING.set_function(lambda: self._waiting)
        self._thread = threading.Thread(target=self._run, name="payload-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        backoff, closing = 0.0, False
        while not closing:
            with self._changed:
                if backoff:
                    self._changed.wait_for(lambda: self._closing, timeout=backoff)
                else:
                    self._changed.wait_for(self._is_due, timeout=self._config.flush_seconds)
                closing = self._closing
            try:
                done = self.flush()
                self._prune_when_due()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever a store does
                logger.error("the payload log's writer stumbled: %s", type(error).__name__)
                done = False
            backoff = 0.0 if done else min(max(1.0, 2 * backoff), _LONGEST_BACKOFF_SECONDS)

    def _is_due(self) -> bool:
        return self._closing or self._waiting >= self._config.file_rows

    def _take(self) -> list[_Offer]:
        """Take the oldest offers off the queue, a file's worth."""
        taken, rows = [], 0
        with self._changed:
            while self._queue and rows < self._config.file_rows:
                taken.append(self._queue.popleft())
                rows += len(taken[-1].rows)
            self._waiting -= rows
        return taken

    def _files_of(self, offers: Sequence[_Offer]) -> tuple[_File, ...]:
        by_hour: dict[datetime, list[dict[str, Any]]] = {}
        sampled_out = 0
        for offer in offers:
            kept = by_hour.setdefault(hour_of(offer.at), [])
            for row in offer.rows:
                if self._events % _GIVE_WAY_ROWS == 0:
                    _give_way()
                try:
                    whole = self._identified(row, offer.at)
                    sampled = self._schema.keeps(whole["row_id"] or whole["event_id"])
                except Exception as error:  # noqa: BLE001 - one odd row must not take others along
                    self._give_up(1, error)
                    continue
                if sampled:
                    kept.append(whole)
                sampled_out += not sampled
        self._add(sampled_out=sampled_out)
        files = [self._file(hour, rows) for hour, rows in by_hour.items() if rows]
        return tuple(file for file in files if file is not None)

    def _identified(self, row: Mapping[str, Any], at: datetime) -> dict[str, Any]:
        self._events += 1
        return {
            **row,
            "event_id": row.get("event_id") or f"{self._writer}-{self._events}",
            "row_id": None if row.get("row_id") is None else str(row["row_id"]),
            "time": instant(row.get("time")) or at,
        }

    def _file(self, hour: datetime, rows: Sequence[Mapping[str, Any]]) -> _File | None:
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        try:
            made = self._schema.table(rows, give_way=_give_way)
            pq.write_table(made.table, buffer, compression="zstd")
        except Exception as error:  # noqa: BLE001 - what cannot be written now never can be
            self._give_up(len(rows), error)
            return None
        _MISFITS.inc(made.misfits)
        self._files += 1
        name = file_name(hour, f"{self._writer}-{self._files}", buffer.getvalue())
        return _File(name, buffer.getvalue(), len(rows))

    def _write_files(self) -> bool:
        """Write the files at hand; return whether none is left."""
        while self._unwritten:
            file = self._unwritten[0]
            try:
                self._folder.put(file.name, file.content)
            except Exception as error:  # noqa: BLE001 - every store fails in its own way
                # A store's message may hold an address with credentials.
                logger.warning("a payload log file is not written yet: %s", type(error).__name__)
                self._add(failed_writes=1)
                return False
            self._add(written=file.rows)
            self._unwritten = self._unwritten[1:]
        return True

    def _prune_when_due(self) -> None:
        elapsed = self._elapsed()
        offset = self._now().timestamp() - elapsed
        if abs(offset - self._clock_offset) > _JUMP_SECONDS:
            logger.warning("the clock jumped; no old hour is deleted for a day")
            self._clock_offset, self._prune_at = offset, elapsed + _PRUNE_HOLD_SECONDS
        if elapsed >= self._prune_at:
            self._prune_at = elapsed + _PRUNE_EVERY_SECONDS
            self.prune(self._now())

    def _drop(self, rows: int, reason: Reason) -> None:
        if rows:
            _DROPPED.labels(reason).inc(rows)
            self._add(dropped=rows)

    def _give_up(self, rows: int, error: Exception) -> None:
        # Its message may quote the row.
        logger.error("%d rows cannot be logged: %s", rows, type(error).__name__)
        self._drop(rows, "unreadable")

    def _add(self, **more: int) -> None:
        with self._changed:
            for name, number in more.items():
                self._counts[name] += number
        for name, number in more.items():
            if name in _EXPORTED:
                _EXPORTED[name].inc(number)


def _give_way() -> None:
    """Let the threads that answer run: a thread that computes is not interrupted for 5 ms."""
    time.sleep(_GIVE_WAY_SECONDS)


def _key(config: PayloadLogConfig, key: bytes | None) -> bytes:
    if config.sample >= 1.0 and "hash" not in config.redact.values():
        return b""
    purpose = "to sample rows and to hash what is redacted"
    if key is not None:
        return checked_key(key, where=_WHERE, purpose=purpose)
    return read_key(config.key_variable, where=_WHERE, purpose=purpose)
