"""A promoted bundle to the model store."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def release(
    model_store: str,
    run_digest: str,
    code_digest: str,
    bundle: dsl.Input[dsl.Model],
    released: dsl.Output[dsl.Artifact],
) -> None:
    """Move the store's `current` pointer to the bundle."""
    from pathlib import Path

    from tidegate.rollout.model_store import ModelStore
    from tidegate.store import write_record

    record = ModelStore(Path(model_store)).release(Path(bundle.path), run_digest=run_digest)
    write_record(Path(released.path), record)
