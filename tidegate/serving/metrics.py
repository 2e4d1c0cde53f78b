"""What ``/metrics`` tells of a version: requests, rows, decisions, scores, times, refusals."""

import os
from collections import Counter as Tally
from collections.abc import Iterable, Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, exposition
from prometheus_client.multiprocess import MultiProcessCollector

from tidegate.features.recent import Use
from tidegate.serving.workers import METRICS_VARIABLE

_LABELS = ("model_name", "model_version")
_SCORE_BUCKETS = tuple(round(i / 20, 2) for i in range(1, 21))
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_REQUESTS = Counter("tidegate_requests", "Answered requests.", (*_LABELS, "protocol"))
_ROWS = Counter("tidegate_scored_rows", "Rows that were scored.", _LABELS)
_FLAGGED = Counter("tidegate_flagged_rows", "Rows that the thresholds flag.", _LABELS)
_DECISIONS = Counter("tidegate_decisions", "Rows by decision.", (*_LABELS, "decision"))
_ACTIONS = Counter("tidegate_actions", "Rows by action taken.", (*_LABELS, "action"))
_EXPLORED = Counter("tidegate_explored_rows", "Rows whose action was drawn by chance.", _LABELS)
_PATHS = Counter("tidegate_path_rows", "Rows by the path they took.", (*_LABELS, "path"))
_HEAVY_CALLS = Counter("tidegate_heavy_calls", "Rows that a cascade's heavy model scored.", _LABELS)
_HEAVY_CALLS_SAVED = Counter(
    "tidegate_heavy_calls_saved", "Rows that stopped at a cascade's light model.", _LABELS
)
_CASCADE_LOAD = Gauge(
    "tidegate_cascade_load",
    "Where a cascade's knob stands: 0 at rest, 1 at full load.",
    _LABELS,
    multiprocess_mode="livemax",
)
_SCORES = Histogram("tidegate_score", "Scores given.", _LABELS, buckets=_SCORE_BUCKETS)
_LATENCY = Histogram(
    "tidegate_request_seconds",
    "From a request's last byte to its answer.",
    (*_LABELS, "protocol"),
    buckets=_SECONDS,
)
_BATCH = Histogram(
    "tidegate_batch_rows",
    "Rows that were scored together.",
    _LABELS,
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024),
)
_REJECTED = Counter(
    "tidegate_rejected_requests", "Requests that were refused.", (*_LABELS, "reason")
)
_FAILED = Counter("tidegate_failed_requests", "Requests that the model failed on.", _LABELS)
_CACHE_HITS = Counter(
    "tidegate_cache_hits", "Rows of features found in a cache.", (*_LABELS, "cache")
)
_CACHE_MISSES = Counter(
    "tidegate_cache_misses", "Rows of features that had to be computed.", (*_LABELS, "cache")
)
_CACHE_EVICTIONS = Counter(
    "tidegate_cache_evictions",
    "Rows that left a cache, for their age or for want of room.",
    (*_LABELS, "cache"),
)
_CACHE_BYTES = Gauge(
    "tidegate_cache_bytes",
    "What a cache of features holds.",
    (*_LABELS, "cache"),
    multiprocess_mode="livesum",
)
_IN_HAND = Gauge(
    "tidegate_requests_in_hand",
    "Requests that wait or are being answered.",
    _LABELS,
    multiprocess_mode="livesum",
)
_WAITING = Gauge(
    "tidegate_requests_waiting",
    "Requests that wait for the model.",
    _LABELS,
    multiprocess_mode="livesum",
)


class Metrics:
    """The metrics of one version."""

    def __init__(self, name: str, version: str) -> None:
        self._version = (name, version)
        self._rows, self._flagged = _ROWS.labels(*self._version), _FLAGGED.labels(*self._version)
        self._scores, self._batch = _SCORES.labels(*self._version), _BATCH.labels(*self._version)
        self._explored, self._failed = (
            _EXPLORED.labels(*self._version),
            _FAILED.labels(*self._version),
        )
        self._in_hand = _IN_HAND.labels(*self._version)
        self._waiting = _WAITING.labels(*self._version)
        self._by_value: dict[tuple[Counter, str], Counter] = {}
        self._by_protocol = {
            protocol: (
                _REQUESTS.labels(*self._version, protocol),
                _LATENCY.labels(*self._version, protocol),
            )
            for protocol in ("v1", "v2")
        }

    def answered(self, protocol: str, seconds: float) -> None:
        """Count one answered request."""
        requests, latency = self._by_protocol[protocol]
        requests.inc()
        latency.observe(seconds)

    def scored(
        self,
        scores: Iterable[float],
        decisions: Sequence[str] | None,
        actions: Sequence[str] | None,
        paths: Sequence[str],
    ) -> None:
        """Count the rows of one batch."""
        self._rows.inc(len(paths))
        self._batch.observe(len(paths))
        for score in scores:
            self._scores.observe(score)
        for path, rows in _tally(paths):
            self._of(_PATHS, path).inc(rows)
        for decision, rows in _tally(decisions or ()):
            self._of(_DECISIONS, decision).inc(rows)
            if decision == "flagged":
                self._flagged.inc(rows)
        for action, rows in _tally(actions or ()):
            self._of(_ACTIONS, action).inc(rows)

    def _of(self, counter: Counter, value: str) -> Counter:
        """Return a counter of this version and one value; looking it up takes longer than `inc`."""
        found = self._by_value.get((counter, value))
        if found is None:
            found = self._by_value[counter, value] = counter.labels(*self._version, value)
        return found

    def routed(self, rows: int, stopped: int) -> None:
        """Count the rows of a cascade and those of them that its heavy model never saw."""
        _HEAVY_CALLS.labels(*self._version).inc(rows - stopped)
        _HEAVY_CALLS_SAVED.labels(*self._version).inc(stopped)

    def cascade_load(self, load: float) -> None:
        """Say where a cascade's knob stands."""
        _CASCADE_LOAD.labels(*self._version).set(load)

    def reused(self, use: Use) -> None:
        """Count what a cache of features had."""
        _CACHE_HITS.labels(*self._version, use.name).inc(use.hits)
        _CACHE_MISSES.labels(*self._version, use.name).inc(use.misses)
        _CACHE_EVICTIONS.labels(*self._version, use.name).inc(use.evictions)
        _CACHE_BYTES.labels(*self._version, use.name).set(use.held_bytes)

    def explored(self, rows: int) -> None:
        """Count rows whose action was drawn by chance."""
        self._explored.inc(rows)

    def rejected(self, reason: str) -> None:
        """Count one refused request."""
        _REJECTED.labels(*self._version, reason).inc()

    def failed(self) -> None:
        """Count one request that the model failed on."""
        self._failed.inc()

    def load(self, in_hand: int, waiting: int) -> None:
        """Say how many requests are in hand and how many of them wait."""
        self._in_hand.set(in_hand)
        self._waiting.set(waiting)


def _tally(values: Sequence[str]) -> Iterable[tuple[str, int]]:
    return ((values[0], 1),) if len(values) == 1 else Tally(values).items()


def exposed(accept: str) -> tuple[bytes, str]:
    """Return what ``/metrics`` answers and its content type, added up over all workers."""
    encode, content_type = exposition.choose_encoder(accept)
    registry = REGISTRY
    if METRICS_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return encode(registry), content_type
