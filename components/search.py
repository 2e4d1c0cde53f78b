"""Feature matrices to trials."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def search(
    search: str,
    cluster: str,
    code_digest: str,
    feature_set: dsl.Input[dsl.Dataset],
    trials: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Try algorithms and hyperparameters under the budget."""
    from pathlib import Path

    from components.kubeflow_ui import log_metrics
    from tidegate.config import ClusterConfig, SearchConfig
    from tidegate.search.backends import run_search

    config = SearchConfig.model_validate_json(search)
    where = ClusterConfig.model_validate_json(cluster)
    found = run_search(Path(feature_set.path), config, Path(trials.path), cluster=where)
    best = found.trials[found.best].average_precision
    log_metrics(metrics, {"trials": len(found.trials), "validation_average_precision": best})
