"""A promoted bundle to the model store, or to whoever approves it."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def release(
    model_store: str,
    run_digest: str,
    approval: str,
    code_digest: str,
    bundle: dsl.Input[dsl.Model],
    released: dsl.Output[dsl.Artifact],
) -> None:
    """Move the store's `current` pointer to the bundle, or ask for the approval to do so."""
    from pathlib import Path

    from tidegate.rollout.approval import release_or_ask
    from tidegate.rollout.model_store import ModelStore
    from tidegate.store import write_record

    store = ModelStore(Path(model_store))
    record = release_or_ask(store, Path(bundle.path), run_digest=run_digest, approval=approval)
    write_record(Path(released.path), record)
