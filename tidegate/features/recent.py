"""Rows of features that were computed lately: what comes again is not computed again.

Bounded in bytes, the least lately used leave first; and in age, because what is looked up (an
account's place in a graph) changes even where its key does not.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

#: Of an entry beside its figures: key, array header, place in the order.
ENTRY_BYTES = 300


@dataclass(frozen=True)
class Use:
    """What one look into a cache found.

    Parameters
    ----------
    name : str
        Of the cache.
    hits, misses : int
        Rows that were there, and rows that had to be computed.
    evictions : int
        Entries that left, for their age or for want of room.
    held_bytes : int
        What it holds now.
    """

    name: str
    hits: int
    misses: int
    evictions: int
    held_bytes: int


@runtime_checkable
class Reusing(Protocol):
    """A fitted transformer that can be given a cache of its rows."""

    def reuse(self, recent: "RecentRows") -> None:
        """Look for rows in the cache first, and put computed ones there."""


class RecentRows:
    """A cache of float32 rows by key.

    Parameters
    ----------
    name : str
        What it is called in metrics.
    max_bytes : int
    max_age_seconds : float
        From when a row was computed, however often it is used.
    told : callable, optional
        Called with each `Use`.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        *,
        max_bytes: int,
        max_age_seconds: float,
        told: Callable[[Use], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._max_bytes, self._max_age_seconds = max_bytes, max_age_seconds
        self._told, self._clock = told, clock
        self._rows: OrderedDict[bytes, tuple[float, Matrix]] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def rows(
        self, keys: Sequence[bytes], width: int, compute: Callable[[Sequence[int]], Matrix]
    ) -> Matrix:
        """Return a row for each key, shape (keys, width).

        Parameters
        ----------
        compute : callable
            Given places in `keys`, returns their rows; called once at most.
        """
        found = np.empty((len(keys), width), dtype=np.float32)
        missing = []
        evicted = 0
        with self._lock:
            now = self._clock()
            for place, key in enumerate(keys):
                entry = self._rows.get(key)
                if entry is not None and now - entry[0] > self._max_age_seconds:
                    self._drop(key)
                    evicted, entry = evicted + 1, None
                if entry is None:
                    missing.append(place)
                else:
                    self._rows.move_to_end(key)
                    found[place] = entry[1]
        if missing:
            found[missing] = compute(missing)
            with self._lock:
                for place in missing:
                    evicted += self._keep(keys[place], found[place].copy())
        if self._told is not None:
            hits = len(keys) - len(missing)
            self._told(Use(self.name, hits, len(missing), evicted, self._held_bytes))
        return found

    def _keep(self, key: bytes, row: Matrix) -> int:
        """Keep a row; return how many others left."""
        if row.nbytes + ENTRY_BYTES > self._max_bytes:
            return 0
        if key in self._rows:
            self._drop(key)
        self._rows[key] = (self._clock(), row)
        self._held_bytes += row.nbytes + ENTRY_BYTES
        evicted = 0
        while self._held_bytes > self._max_bytes:
            self._drop(next(iter(self._rows)))
            evicted += 1
        return evicted

    def _drop(self, key: bytes) -> None:
        _, row = self._rows.pop(key)
        self._held_bytes -= row.nbytes + ENTRY_BYTES


def key_of(source: str, value: str) -> bytes:
    """Return the key of what `source` (an encoder's digest, a table's) says of a value."""
    content = source.encode() + b"\0" + value.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).digest()
