"""The serving of both versions as a Prometheus saw it.

An answer that is empty, partial, not a number or late is missing, and never a zero: a version
without a series has no figures, and a Prometheus that cannot be asked is a problem to be told.
"""

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal

from tidegate.config import OpsConfig
from tidegate.errors import BadInput
from tidegate.records import ReleaseState
from tidegate.rollout.evidence import OpsCounts, OpsEvidence

Query = Literal["requests", "errors", "latency_buckets", "saturation"]

_SERIES = 'model_name="{model}",model_version="{version}"'
_TURNED_AWAY = _SERIES + ',reason=~"overloaded|timeout"'
_OURS = f"tidegate_scored_rows_total{{{_SERIES}}}"

#: What is asked where the configuration has no query of its own: the server's own metrics, and
#: the memory of its pods by cAdvisor over their limit by kube-state-metrics. Each counts over the
#: last {seconds}; `saturation` is asked over the whole step.
BUILT_IN: dict[Query, str] = {
    "requests": f"sum(increase(tidegate_requests_total{{{_SERIES}}}[{{seconds}}s])) + "
    f"sum(increase(tidegate_failed_requests_total{{{_SERIES}}}[{{seconds}}s])) + "
    f"(sum(increase(tidegate_rejected_requests_total{{{_TURNED_AWAY}}}[{{seconds}}s]))"
    " or vector(0))",
    "errors": f"sum(increase(tidegate_failed_requests_total{{{_SERIES}}}[{{seconds}}s])) + "
    f"(sum(increase(tidegate_rejected_requests_total{{{_TURNED_AWAY}}}[{{seconds}}s]))"
    " or vector(0))",
    "latency_buckets": "sum by (le) "
    f"(increase(tidegate_request_seconds_bucket{{{_SERIES}}}[{{seconds}}s]))",
    "saturation": 'max((container_memory_working_set_bytes{container="kserve-container"} '
    '/ on (namespace, pod) kube_pod_container_resource_limits{container="kserve-container",'
    f'resource="memory"}}) and on (namespace, pod) {_OURS})',
}
_MOST_BYTES = 8 << 20
_MOST_READINGS = 60
_ANSWERS = 3


class NoFigures(Exception):
    """Prometheus could not be asked, or its answer is not one; the text says why."""


class PrometheusOps:
    """Asks a Prometheus for requests, errors, latencies and saturation of both versions.

    Parameters
    ----------
    config : OpsConfig
        `prometheus` is its address; `queries` replace built-in ones. A ``latency_buckets`` query
        gives one series an upper bound ``le`` in seconds, as histograms of Prometheus have it.

    Raises
    ------
    BadInput
        If the address is none.
    """

    def __init__(self, config: OpsConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        address = config.prometheus or ""
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise BadInput(
                "rollout.ops.prometheus",
                f"must be an http or https address, got {config.prometheus!r}",
                "write for example http://prometheus:9090",
            )
        self._address = address.rstrip("/")
        self._config = config
        self._clock = clock
        self._until = 0.0

    def ops(self, state: ReleaseState, now: datetime) -> OpsEvidence:
        """Return what both versions did since the step began.

        All answers together may take `_ANSWERS` times as long as one: the controller's lease runs.
        """
        self._until = self._clock() + _ANSWERS * self._config.timeout_seconds
        began = datetime.fromisoformat(state.step_began_at)
        try:
            candidate, baseline = (
                self._counts(state.name, version, began, now)
                for version in (state.candidate, state.baseline)
            )
        except NoFigures as error:
            return OpsEvidence(problem=str(error))
        return OpsEvidence(candidate=candidate, baseline=baseline)

    def _counts(self, model: str, version: str, began: datetime, now: datetime) -> OpsCounts | None:
        seconds = max(1, math.ceil((now - began).total_seconds()))

        def query(name: Query) -> str:
            text = self._config.queries.get(name) or BUILT_IN[name]
            named = {"{model}": _quoted(model), "{version}": _quoted(version)}
            for place, value in {**named, "{seconds}": str(seconds)}.items():
                text = text.replace(place, value)
            return text

        requests = self._number(query("requests"), now)
        if requests is None:
            return None
        errors = self._number(query("errors"), now)
        if errors is None:
            raise NoFigures(f"Prometheus counts requests of version {version}, but not its errors")
        slower = self._slower(query("latency_buckets"), now, requests)
        if not slower and requests > 0:
            raise NoFigures(f"Prometheus counts requests of version {version}, but no latencies")
        saturation = self._readings(query("saturation"), began, now)
        if not saturation and "saturation" in self._config.queries:
            raise NoFigures(f"Prometheus has no saturation of version {version}")
        return OpsCounts(requests, min(errors, requests), slower, saturation)

    def _number(self, query: str, at: datetime) -> float | None:
        """Return the only value of an instant query; None where there is no series."""
        series = self._ask("query", {"query": query, "time": at.timestamp()})
        if not series:
            return None
        if len(series) > 1:
            raise NoFigures(f"{len(series)} series answer where one was asked for: {query}")
        return next(_values([series[0]["value"]], query))[1]

    def _slower(self, query: str, at: datetime, requests: float) -> dict[float, float]:
        """Return, by latency in milliseconds, how many requests took longer."""
        found: dict[float, float] = {}
        for one in self._ask("query", {"query": query, "time": at.timestamp()}):
            bound = one.get("metric", {}).get("le")
            if bound is None:
                raise NoFigures(f"a latency series has no label le: {query}")
            found[float(bound)] = next(_values([one["value"]], query))[1]
        total = found.pop(math.inf, None)
        if not found:
            return {}
        if total is None:
            raise NoFigures(f"the latencies have no bucket +Inf: {query}")
        share = requests / total if total else 0.0
        return {1000 * le: max(0.0, total - below) * share for le, below in sorted(found.items())}

    def _readings(
        self, query: str, began: datetime, now: datetime
    ) -> tuple[tuple[float, float], ...]:
        seconds = (now - began).total_seconds()
        if seconds <= 0:
            return ()
        step = max(1.0, seconds / _MOST_READINGS)
        window = {"start": began.timestamp(), "end": now.timestamp(), "step": f"{step:.3f}"}
        series = self._ask("query_range", {"query": query, **window})
        if len(series) > 1:
            raise NoFigures(f"{len(series)} series answer where one was asked for: {query}")
        if not series:
            return ()
        values = _values(series[0]["values"], query)
        return tuple((at - began.timestamp(), value) for at, value in values)

    def _ask(self, what: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the series of one answer."""
        form = urllib.parse.urlencode(parameters).encode()
        seconds = min(self._config.timeout_seconds, self._until - self._clock())
        if seconds <= 0:
            raise NoFigures("Prometheus is too slow: not all figures came in time")
        try:
            url = f"{self._address}/api/v1/{what}"
            with urllib.request.urlopen(url, data=form, timeout=seconds) as answer:
                content = answer.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                told = error.read(2000).decode("utf-8", "replace")
            raise NoFigures(f"Prometheus answered {error.code}: {_reason(told)}") from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise NoFigures(f"Prometheus did not answer within {seconds:g} s: {reason}") from None
        try:
            found = json.loads(content)
            series: list[dict[str, Any]] = found["data"]["result"]
            is_whole = found["status"] == "success" and not found.get("warnings")
            is_list = all(isinstance(one, dict) for one in series)
        except (ValueError, KeyError, TypeError):
            raise NoFigures("Prometheus sent what is no answer of its interface") from None
        if not is_whole or not is_list or len(content) > _MOST_BYTES:
            told = "; ".join(map(str, found.get("warnings") or ())) or "it is not whole"
            raise NoFigures(f"Prometheus warns of its answer: {told}"[:300])
        return series


def _values(pairs: Any, query: str) -> Iterator[tuple[float, float]]:
    """Read pairs of time and text; what is no finite number, or negative, is missing."""
    for pair in pairs:
        try:
            at, value = float(pair[0]), float(pair[1])
        except (TypeError, ValueError, IndexError, KeyError):
            raise NoFigures(f"Prometheus gave no number for {query}") from None
        if not math.isfinite(value) or value < 0:
            raise NoFigures(f"Prometheus gave {value:g} for {query}")
        yield at, value


def _reason(told: str) -> str:
    try:
        return str(json.loads(told)["error"])[:200]
    except (ValueError, KeyError, TypeError):
        return " ".join(told.split())[:200] or "nothing further"


def _quoted(word: str) -> str:
    """Return a word as it may stand inside a PromQL string."""
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
