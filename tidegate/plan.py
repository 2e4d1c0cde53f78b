"""What a retrain is given: the digests that its caches go by, its baseline, its steps' settings."""

import contextlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidegate.config import DataConfig, RunConfig, SearchConfig, SplitRule
from tidegate.data.functional_suite import suite_uri
from tidegate.data.sources import digest_sources
from tidegate.errors import BadInput
from tidegate.evaluation.history import earlier, read_history, worn_holdouts
from tidegate.models.catalogue import algorithm
from tidegate.records import BaselineModel
from tidegate.rollout.baseline import find_baseline
from tidegate.rollout.model_store import ModelStore
from tidegate.search.backends import cluster_settings
from tidegate.search.warmstart import AUTO, refreshed
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
    data = _with_fresh_holdout(config, store, digests["run"])
    arguments = {
        "name": config.name,
        # For the report, which is for many eyes: an address may carry a password.
        "config": config.model_dump_json(
            exclude={"rollout": True, "monitor": True, "baseline": True, "cluster": {"endpoint"}}
        ),
        "data": data.model_dump_json(),
        "validation": config.validation.model_dump_json(),
        "features": config.features_in_time.model_dump_json(),
        "search_settings": _searched(config, store, digests["source"], baseline).model_dump_json(),
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


def _with_fresh_holdout(config: RunConfig, model_store: Path, run_digest: str) -> DataConfig:
    """Return the data section with another split seed for every holdout that is worn.

    What other runs decided counts, so that a run that is repeated keeps its split.
    """
    rule = config.data.split
    if not isinstance(rule, SplitRule) or rule.by == "time" or not config.policy.fresh_holdout:
        return config.data
    past = earlier(read_history(model_store / config.name), run_digest)
    worn = worn_holdouts(past, config.policy.max_holdout_uses)
    fresh = rule.model_copy(update={"seed": rule.seed + worn})
    return config.data.model_copy(update={"split": fresh})


def _tables(data: DataConfig) -> tuple[str, ...]:
    """Return every table that ingest reads."""
    suites = map(suite_uri, data.functional_tests)
    golden = [data.golden_set] if data.golden_set else []
    return (*data.source, *golden, *data.unlabelled, *suites)


def _with_mitigation(config: RunConfig, search: SearchConfig) -> SearchConfig:
    """Let the search's final stage train what the policy wants shown beside the winner."""
    if not config.policy.mitigate:
        return search
    if not config.data.groups:
        raise BadInput(
            "policy.mitigate", "there are no groups to weigh", "name data.groups or leave it out"
        )
    return search.model_copy(update={"mitigate": config.policy.mitigate})


def _searched(
    config: RunConfig, model_store: Path, source_digest: str, baseline: BaselineModel
) -> SearchConfig:
    """Return the search section with what the plan settles: the start, and a cascade's filter."""
    if config.search.refresh and baseline.bundle:
        started = refreshed(config.search, Path(baseline.bundle))
    else:
        started = _with_start(config, model_store, source_digest)
        started = started.model_copy(update={"refresh": False})
    search = _with_mitigation(config, started)
    return search if config.policy.cascade is None else search.model_copy(update={"distill": True})


def _with_start(config: RunConfig, model_store: Path, source_digest: str) -> SearchConfig:
    """Let an automatic warm start be from the last release of this name that had other data.

    A release of the same data says nothing new, and a search that started from it would not be
    the one in the cache: the start is what it was before that data's first release.
    """
    if config.search.warm_start != AUTO:
        return config.search
    store = ModelStore(model_store)
    releases = list(store.history(config.name))
    current = store.current(config.name)
    if current is not None and current not in releases[-1:]:
        releases.append(current)
    sources = [release.source_digest for release in releases]
    before = sources.index(source_digest) if source_digest in sources else len(releases)
    for release in reversed(releases[:before]):
        with contextlib.suppress(BadInput):  # an old version may be gone or damaged
            start = str(store.bundle_folder(release))
            return config.search.model_copy(update={"warm_start": start})
    return config.search


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
