"""A promoted bundle on its way into service, or to whoever approves it."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def release(
    model_store: str,
    run_digest: str,
    approval: str,
    on_cluster: str,
    code_digest: str,
    bundle: dsl.Input[dsl.Model],
    released: dsl.Output[dsl.Artifact],
) -> None:
    """Hand the bundle to the release controller, put it in service, or ask for its approval."""
    from pathlib import Path

    from tidegate.rollout.pipeline_step import release_of_run
    from tidegate.store import write_record

    record = release_of_run(
        Path(model_store),
        Path(bundle.path),
        run_digest=run_digest,
        approval=approval,
        on_cluster=on_cluster,
    )
    write_record(Path(released.path), record)
