"""The winning trial to a candidate: a bundle and its scored tables."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def assemble(
    name: str,
    baseline: str,
    code_digest: str,
    snapshot: dsl.Input[dsl.Dataset],
    feature_set: dsl.Input[dsl.Dataset],
    trials: dsl.Input[dsl.Artifact],
    candidate: dsl.Output[dsl.Model],
) -> None:
    """Bundle the winner and score validation and holdout with it and with the baseline."""
    from pathlib import Path

    from tidegate.models.candidate import assemble_candidate
    from tidegate.records import BaselineModel

    assemble_candidate(
        name,
        snapshot=Path(snapshot.path),
        features=Path(feature_set.path),
        search=Path(trials.path),
        baseline=BaselineModel.model_validate_json(baseline),
        out=Path(candidate.path),
    )
