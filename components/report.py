"""Everything a run found to one page and a model card."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def report(
    config: str,
    digests: str,
    code_digest: str,
    snapshot: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Artifact],
    trials: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> None:
    """Render report.html and model_card.md."""
    from pathlib import Path

    from tidegate.evaluation.steps import write_report

    write_report(
        config=config,
        digests=digests,
        snapshot=Path(snapshot.path),
        validation=Path(validation.path),
        search=Path(trials.path),
        evaluation=Path(evaluation.path),
        page=Path(page.path),
        card=Path(card.path),
    )
