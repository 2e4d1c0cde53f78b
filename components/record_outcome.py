"""How a run on a cluster ended, written down whatever happened."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def record_outcome(workspace: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Write what Kubeflow knows of the final status to the workspace."""
    from datetime import UTC, datetime
    from pathlib import Path

    from tidegate.records import RunOutcome
    from tidegate.store import write_record

    run = status.pipeline_job_resource_name.rpartition("/")[2]
    outcome = RunOutcome(
        run=run,
        state=status.state,
        error=status.error_message,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_record(Path(workspace) / "outcomes" / f"{run}.json", outcome)
    print(f"run {run} ended: {outcome.state}")
