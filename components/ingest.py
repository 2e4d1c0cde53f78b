"""Source tables to a checked, digested snapshot."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def ingest(
    name: str,
    data: str,
    source_digest: str,
    code_digest: str,
    snapshot: dsl.Output[dsl.Dataset],
) -> None:
    """Read, type, split and digest the data."""
    from pathlib import Path

    from tidegate.config import DataConfig
    from tidegate.data.ingest import ingest

    config = DataConfig.model_validate_json(data)
    found = ingest(config, name=name, source_digest=source_digest, out=Path(snapshot.path))
    snapshot.metadata["digest"] = found.digest
    for split, summary in found.splits.items():
        snapshot.metadata[f"{split}_rows"] = summary.rows
        snapshot.metadata[f"{split}_prevalence"] = summary.prevalence
