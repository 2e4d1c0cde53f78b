"""What a release on this machine is judged by, for tests and the demo only.

Counts come from the proxy, and copies of the requests that it forwarded are replayed to both
versions past it. A cluster has Prometheus and the payload log for this.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tidegate.config import RunConfig
from tidegate.models.bundle import read_manifest
from tidegate.records import BundleManifest, ReleaseState
from tidegate.rollout.evidence import OpsCounts, OpsEvidence
from tidegate.rollout.live_analyst import LiveAnalyst, ReplayedShadow
from tidegate.rollout.local_proxy import LocalProxy, VersionCounts
from tidegate.rollout.local_servers import LocalServers
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.quality_sources import live_quality
from tidegate.rollout.replay import LoggedRow, groups_of
from tidegate.rollout.version_client import VersionClient


def local_analyst(servers: LocalServers, store: ModelStore, config: RunConfig) -> LiveAnalyst:
    """Return the analyst of a release that `servers` serve.

    Parameters
    ----------
    servers : LocalServers
        What serves, behind its proxy.
    store : ModelStore
        Holds the manifests.
    config : RunConfig
        The limits, in its sections rollout and policy.
    """

    def client(version: str) -> VersionClient | None:
        address = servers.address(version)
        return None if address is None else VersionClient(address, config.name)

    def manifest(version: str) -> BundleManifest:
        return read_manifest(store.folder_of(config.name) / "versions" / version)

    # Servers and proxy may have been there before this release.
    restarted = dict(servers.restarts)
    return LiveAnalyst(
        config.rollout,
        policy=config.policy,
        ops=ProxyOps(servers.proxy),
        shadow=ReplayedShadow(
            config.rollout,
            ProxyRows(servers.proxy, config.rollout.group_columns),
            client,
            manifest,
        ),
        quality=live_quality(config, client),
        restarts=lambda version: servers.restarts.get(version, 0) - restarted.get(version, 0),
    )


class ProxyOps:
    """The proxy's counts since the look that began a step.

    Parameters
    ----------
    proxy : LocalProxy
        Counts requests by version.
    """

    def __init__(self, proxy: LocalProxy) -> None:
        self._proxy = proxy
        self._step: tuple[str, int, str] | None = None
        self._last = {version: counts.copy() for version, counts in proxy.counts.items()}
        self._before = self._last

    def ops(self, state: ReleaseState, now: datetime) -> OpsEvidence:
        """Return what both versions did since the step began."""
        step = (state.candidate, state.step, state.step_began_at)
        if self._step != step:
            self._before = self._last
        self._step = step
        self._last = {version: counts.copy() for version, counts in self._proxy.counts.items()}
        return OpsEvidence(
            candidate=self._since(state.candidate), baseline=self._since(state.baseline)
        )

    def _since(self, version: str) -> OpsCounts | None:
        now = self._last.get(version)
        before = self._before.get(version, VersionCounts())
        if now is None or now.requests == before.requests:
            return None
        return OpsCounts(
            requests=float(now.requests - before.requests),
            errors=float(now.errors - before.errors),
            slower={edge: float(now.slower[edge] - before.slower[edge]) for edge in now.slower},
        )


class ProxyRows:
    """Rows of V1 and V2 requests that the proxy copied, each once.

    Parameters
    ----------
    proxy : LocalProxy
        Keeps the copies.
    group_columns : sequence of str
        Inputs whose values are groups.
    """

    def __init__(self, proxy: LocalProxy, group_columns: Sequence[str] = ()) -> None:
        self._proxy = proxy
        self._group_columns = tuple(group_columns)
        self._next = 0

    def rows(self, since: datetime, until: datetime, most: int) -> Sequence[LoggedRow]:
        """Return the newest rows of requests that came since the last call."""
        copies = self._proxy.copies_after(self._next)
        self._next = self._proxy.seen
        found = [
            LoggedRow(f"{copy.number}.{place}", row, groups_of(row, self._group_columns))
            for copy in copies
            for place, row in enumerate(_rows(copy.body))
        ]
        return found[-most:]


def _rows(body: bytes) -> list[dict[str, Any]]:
    """Return the rows of a request, a mapping from column to value each; none of a strange one."""
    try:
        document: Mapping[str, Any] = json.loads(body)
        if "instances" in document:
            return [dict(row) for row in document["instances"]]
        tensors = {tensor["name"]: list(tensor["data"]) for tensor in document["inputs"]}
        count = max((len(data) for data in tensors.values()), default=0)
        return [{name: data[row] for name, data in tensors.items()} for row in range(count)]
    except (ValueError, LookupError, TypeError):
        return []
