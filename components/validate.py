"""The data gate: a snapshot that breaks a critical expectation ends the run."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def validate(
    data: str,
    validation: str,
    reference_digest: str,
    code_digest: str,
    snapshot: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
) -> None:
    """Check the snapshot with Great Expectations and write Data Docs."""
    from pathlib import Path

    from tidegate.config import DataConfig, ValidationConfig
    from tidegate.data.validation import require_passed, validate

    settings = ValidationConfig.model_validate_json(validation)
    columns = DataConfig.model_validate_json(data)
    found = validate(Path(snapshot.path), config=settings, data=columns, out=Path(report.path))
    require_passed(found)
