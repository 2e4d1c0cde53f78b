"""What a retrain is given: the digests that its caches go by, its baseline, its steps' settings."""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidegate.config import DataConfig, RunConfig, SearchConfig
from tidegate.data.functional_suite import suite_uri
from tidegate.data.sources import digest_sources
from tidegate.errors import BadInput
from tidegate.models.catalogue import algorithm
from tidegate.records import BaselineModel
from tidegate.rollout.baseline import find_baseline
from tidegate.search.backends import cluster_settings
from tidegate.search.warmstart import AUTO
from tidegate.store import code_digest, digest_json, read_json

#: Libraries whose version can change a result; they are part of every cache key.
_LIBRARIES = (
    "great-expectations",
    "kfp",
    "numpy",
    "optuna",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "xgboost-cpu",
)


@dataclass(frozen=True)
class RetrainPlan:
    """The arguments of the retrain pipeline's steps, and the digests and versions behind them."""

    arguments: Mapping[str, str]
    digests: Mapping[str, str]
    versions: Mapping[str, str]


def plan_retrain(config: RunConfig, model_store: Path) -> RetrainPlan:
    """Digest the data and the code, find the baseline, and write down the steps' arguments.

    Parameters
    ----------
    config : RunConfig
        Paths in it are read where this runs: on this machine, or in the first step on a cluster.
    model_store : Path
        Folder of released bundles, unless the configuration names one.

    Raises
    ------
    BadInput
        If an algorithm is unknown, or the data, the baseline or the reference run cannot be read.
    """
    for name in config.search.algorithms:
        algorithm(name)
    versions = _versions()
    digests = {
        "source": digest_sources(_tables(config.data)),
        "code": digest_json([code_digest(), versions]),
        "config": digest_json(config.model_dump(mode="json")),
    }
    what_counts = config.model_dump(
        mode="json", exclude={"baseline", "rollout", "monitor", "cluster"}
    )
    digests["run"] = digest_json([what_counts, digests["source"], digests["code"]])
    store = Path(config.rollout.model_store or model_store)
    baseline = find_baseline(config, store, run_digest=digests["run"])
    arguments = {
        "name": config.name,
        # For the report, which is for many eyes: an address may carry a password.
        "config": config.model_dump_json(
            exclude={"rollout": True, "monitor": True, "baseline": True, "cluster": {"endpoint"}}
        ),
        "data": config.data.model_dump_json(),
        "validation": config.validation.model_dump_json(),
        "features": config.features_in_time.model_dump_json(),
        "search_settings": _with_start(_with_mitigation(config), baseline).model_dump_json(),
        "cluster": cluster_settings(config),
        "policy": config.policy.model_dump_json(),
        "baseline": baseline.model_dump_json(),
        "approval": config.rollout.approval,
        "model_store": str(store),
        "digests": json.dumps({key: digests[key] for key in ("source", "code", "run")}),
        "source_digest": digests["source"],
        "reference_digest": _reference_digest(config),
        "code_digest": digests["code"],
        "run_digest": digests["run"],
    }
    return RetrainPlan(arguments, digests, versions)


def _tables(data: DataConfig) -> tuple[str, ...]:
    """Return every table that ingest reads."""
    suites = map(suite_uri, data.functional_tests)
    return (*data.source, *([data.golden_set] if data.golden_set else []), *suites)


def _with_mitigation(config: RunConfig) -> SearchConfig:
    """Let the search's final stage train what the policy wants shown beside the winner."""
    if not config.policy.mitigate:
        return config.search
    if not config.data.groups:
        raise BadInput(
            "policy.mitigate", "there are no groups to weigh", "name data.groups or leave it out"
        )
    return config.search.model_copy(update={"mitigate": config.policy.mitigate})


def _with_start(search: SearchConfig, baseline: BaselineModel) -> SearchConfig:
    """Let an automatic warm start be from the released model of this name, if there is one."""
    if search.warm_start != AUTO or baseline.kind != "in_service":
        return search
    return search.model_copy(update={"warm_start": baseline.bundle})


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("tidegate", *_LIBRARIES)}


def _reference_digest(config: RunConfig) -> str:
    if config.validation.reference is None:
        return ""
    path = Path(config.validation.reference) / "snapshot.json"
    if not path.is_file():
        raise BadInput(
            "validation.reference", f"{path} does not exist", "name the directory of a finished run"
        )
    return digest_json(read_json(path))
