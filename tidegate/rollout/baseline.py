"""Which model a candidate must beat."""

from pathlib import Path

from tidegate.config import RunConfig
from tidegate.errors import BadInput
from tidegate.records import BaselineModel, BundleManifest
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_record


def find_baseline(config: RunConfig, model_store: Path, *, run_digest: str) -> BaselineModel:
    """Return the configured baseline, else the model in service, else the benchmark model.

    Parameters
    ----------
    config : RunConfig
        `baseline` names a run directory or a bundle.
    model_store : Path
        Folder of released bundles.
    run_digest : str
        This run's digest: a model that this very run released is not its own baseline.

    Raises
    ------
    BadInput
        If the configured baseline holds no bundle.
    """
    if config.baseline is not None:
        folder = bundle_folder(Path(config.baseline), where="baseline")
        manifest = read_record(folder / "bundle.json", BundleManifest)
        return BaselineModel(
            kind="configured", name=manifest.name, version=manifest.version, bundle=str(folder)
        )
    store = ModelStore(model_store)
    release = store.baseline(config.name, run_digest=run_digest)
    if release is None:
        return BaselineModel(kind="benchmark_model", name="benchmark model")
    return BaselineModel(
        kind="in_service",
        name=release.name,
        version=release.version,
        bundle=str(store.bundle_folder(release)),
    )


def bundle_folder(path: Path, *, where: str) -> Path:
    """Return the bundle in a run directory, or the folder itself when it is a bundle.

    Parameters
    ----------
    path : Path
        A run directory or a bundle.
    where : str
        The key or option that named it, for the message.

    Raises
    ------
    BadInput
        If neither is there.
    """
    for folder in (path, path / "bundle"):
        if (folder / "bundle.json").is_file():
            return folder
    raise BadInput(where, f"{path} holds no bundle", "name a finished run directory or a bundle")
