"""The analyst of a release on a cluster: Prometheus, the payload log, golden rows and labels."""

from typing import Protocol

from tidegate.config import RunConfig
from tidegate.models.bundle import read_manifest
from tidegate.records import BundleManifest
from tidegate.rollout.live_analyst import LiveAnalyst, ReplayedShadow
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.prometheus import PrometheusOps
from tidegate.rollout.quality_sources import live_quality
from tidegate.rollout.replay import PayloadLogRows
from tidegate.rollout.version_client import VersionClient


class Pods(Protocol):
    """Knows the pods of a version."""

    def address_of(self, version: str) -> str | None:
        """Return where a version answers past the traffic split; None while it is not served."""

    def restarts_of(self, version: str) -> int | None:
        """Return how often its containers have restarted; None where that is not known."""


def cluster_analyst(config: RunConfig, store: ModelStore, pods: Pods) -> LiveAnalyst:
    """Return the analyst that the configuration's sources allow.

    Without ``rollout.ops.prometheus`` there are no serving figures, without
    ``serving.payload_log.uri`` nothing is replayed: the analysis then pauses, and says why.

    Parameters
    ----------
    config : RunConfig
        Names the sources and the limits.
    store : ModelStore
        Holds the manifests.
    pods : Pods
        The backend.
    """

    def client(version: str) -> VersionClient | None:
        address = pods.address_of(version)
        return None if address is None else VersionClient(address, config.name)

    def manifest(version: str) -> BundleManifest | None:
        folder = store.folder_of(config.name) / "versions" / version
        return read_manifest(folder) if folder.is_dir() else None

    rollout, log = config.rollout, config.serving.payload_log
    shadow = None
    if log.uri is not None:
        rows = PayloadLogRows(log.uri, rollout.group_columns, lag_seconds=2 * log.flush_seconds)
        shadow = ReplayedShadow(rollout, rows, client, manifest)
    return LiveAnalyst(
        rollout,
        policy=config.policy,
        ops=None if rollout.ops.prometheus is None else PrometheusOps(rollout.ops),
        shadow=shadow,
        quality=live_quality(config, client),
        restarts=pods.restarts_of,
    )
