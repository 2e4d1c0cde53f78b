"""Everything a run found to one page, a model card and an audit record."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def report(
    config: str,
    digests: str,
    code_digest: str,
    snapshot: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Artifact],
    feature_set: dsl.Input[dsl.Dataset],
    trials: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
    audit: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Render report.html, model_card.md and audit.json."""
    from pathlib import Path

    from components.kubeflow_ui import log_metrics
    from tidegate.config import RunConfig
    from tidegate.cost import cost_line, search_cost
    from tidegate.evaluation.steps import write_report
    from tidegate.records import SearchResult
    from tidegate.store import read_record

    search = read_record(Path(trials.path) / "search.json", SearchResult)
    cost = search_cost(search, RunConfig.model_validate_json(config))

    write_report(
        config=config,
        digests=digests,
        snapshot=Path(snapshot.path),
        validation=Path(validation.path),
        features=Path(feature_set.path),
        search=Path(trials.path),
        evaluation=Path(evaluation.path),
        page=Path(page.path),
        card=Path(card.path),
        audit=Path(audit.path),
        search_cost=cost_line(cost),
    )
    asked = cost.model_dump(exclude={"currency"})
    log_metrics(metrics, {f"search_{name}": value for name, value in asked.items()})
