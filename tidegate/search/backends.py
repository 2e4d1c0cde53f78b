"""Where trials run: the table of backends behind one call."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tidegate.config import ClusterConfig, RunConfig, SearchConfig
from tidegate.records import SearchResult
from tidegate.search.progress import SearchProgress


class Backend(Protocol):
    """Runs a search and leaves ``search.json`` and ``trials/NNN/`` in `out`."""

    def __call__(
        self,
        features_folder: Path,
        config: SearchConfig,
        out: Path,
        *,
        cluster: ClusterConfig,
        progress: Callable[[SearchProgress], None] | None = None,
    ) -> SearchResult:
        """Return what `tidegate.search.local.run_search` promises."""


def _local(
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    *,
    cluster: ClusterConfig,
    progress: Callable[[SearchProgress], None] | None = None,
) -> SearchResult:
    from tidegate.search.local import run_search

    return run_search(features_folder, config, out, progress=progress)


def _katib(
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    *,
    cluster: ClusterConfig,
    progress: Callable[[SearchProgress], None] | None = None,
) -> SearchResult:
    from tidegate.search.katib_runs import run_search

    return run_search(features_folder, config, out, cluster=cluster, progress=progress)


#: By the name that ``search.backend`` gives.
BACKENDS: Mapping[str, Backend] = {"local": _local, "katib": _katib}


def run_search(
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    *,
    cluster: ClusterConfig,
    progress: Callable[[SearchProgress], None] | None = None,
) -> SearchResult:
    """Search where ``search.backend`` says; the result does not tell where.

    Parameters
    ----------
    features_folder : Path
        What `tidegate.records.FeatureSet` describes.
    out : Path
        Gets ``trials/NNN/result.json``, ``trials/NNN/model/`` of those that succeeded and, last,
        ``search.json``.
    """
    backend = BACKENDS[config.backend]
    return backend(features_folder, config, out, cluster=cluster, progress=progress)


def cluster_settings(config: RunConfig) -> str:
    """Return as JSON what of the cluster a search depends on, ``{}`` where trials run here.

    It is part of the search step's cache key: prices and other steps' settings stay out.
    """
    if config.search.backend == "local":
        return "{}"
    prices = {"cpu_hour_price", "memory_gib_hour_price", "gpu_hour_price"}
    return config.cluster.model_dump_json(
        include={
            "namespace",
            "image",
            "gpu_image",
            "workspace_claim",
            "object_store_secret",
            "pools",
        },
        exclude={"pools": {"__all__": prices}},
    )
