"""The featurize step: a snapshot's tables to matrices on disk."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate import store
from tidegate.config import FeatureConfig
from tidegate.data.mitigation import reweighed
from tidegate.errors import BadInput
from tidegate.features.blocks import Blocks
from tidegate.features.featurizer import Featurizer
from tidegate.records import (
    CLASS,
    GROUP_PREFIX,
    ID,
    LABEL,
    SPLITS,
    TASK_PREFIX,
    TIME,
    UNLABELLED,
    WEIGHT,
    FeatureBlock,
    FeatureSet,
    Snapshot,
    SplitName,
)


def featurize(snapshot_folder: Path, config: FeatureConfig, out: Path) -> FeatureSet:
    """Fit a featurizer on a snapshot's training rows and write the matrices of every split.

    Parameters
    ----------
    snapshot_folder : Path
        The folder that `Snapshot` describes.
    config : FeatureConfig
        Bounds of the vocabularies and of the projection.
    out : Path
        The folder that `FeatureSet` describes; written whole or not at all.

    Raises
    ------
    BadInput
        If nothing at all becomes a feature.
    """
    snapshot = store.read_record(snapshot_folder / "snapshot.json", Snapshot)
    train = store.read_table(snapshot_folder / "train.parquet")
    featurizer = Featurizer.fit(train, snapshot.columns, train[LABEL].to_numpy(), config)
    features = FeatureSet(
        snapshot_digest=snapshot.digest,
        target=snapshot.target,
        blocks=featurizer.blocks,
        cleaning=featurizer.cleaned_rows,
    )
    with store.new_directory(out) as folder:
        featurizer.save(folder / "featurizer")
        for split in SPLITS:
            rows = train if split == "train" else _rows(snapshot_folder, split)
            _save_blocks(featurizer.transform(rows), folder, split)
            roles = rows[_role_columns(snapshot, rows)]
            if split == "train" and config.reweight_groups:
                roles = roles.assign(**{WEIGHT: _reweighed(snapshot, rows)})
            store.write_table(folder / f"{split}.parquet", roles)
        if snapshot.unlabelled_rows:
            rows = _rows(snapshot_folder, UNLABELLED)
            _save_blocks(featurizer.transform(rows), folder, UNLABELLED)
            store.write_table(folder / f"{UNLABELLED}.parquet", rows[[ID]])
        store.write_record(folder / "features.json", features)
    return features


def load_features(folder: Path, split: SplitName | Literal["unlabelled"]) -> tuple[Any, Any]:
    """Read one split of a folder that `featurize` wrote, or its unlabelled rows.

    Returns
    -------
    X : Blocks
        Read block by block when asked for.
    roles : DataFrame
        The role columns of the same rows, under the names of `tidegate.records`.
    """
    features = store.read_record(folder / "features.json", FeatureSet)
    roles = store.read_table(folder / f"{split}.parquet")
    number_of = {block.name: number for number, block in enumerate(features.blocks)}

    def read(block: FeatureBlock) -> Any:
        stem = folder / split / f"{number_of[block.name]:02d}"
        if stem.with_suffix(".npy").exists():
            return np.load(stem.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        return sparse.csr_matrix(sparse.load_npz(stem.with_suffix(".npz")))

    def texts() -> dict[str, list[str]]:
        table = store.read_table(folder / f"{split}_texts.parquet")
        return {name: table[name].tolist() for name in table}

    return Blocks(len(roles), features.blocks, read, texts), roles


def _save_blocks(X: Blocks, folder: Path, split: str) -> None:
    import pandas as pd

    (folder / split).mkdir()
    for number, block in enumerate(X.blocks):
        part, stem = X.part(block), folder / split / f"{number:02d}"
        if sparse.issparse(part):
            # Uncompressed: the matrices are read once a trial and thrown away with the run.
            sparse.save_npz(stem.with_suffix(".npz"), part, compressed=False)
        else:
            np.save(stem.with_suffix(".npy"), part, allow_pickle=False)
    store.write_table(folder / f"{split}_texts.parquet", pd.DataFrame(X.texts()))


def _rows(snapshot_folder: Path, split: str) -> Any:
    return store.read_table(snapshot_folder / f"{split}.parquet")


def _reweighed(snapshot: Snapshot, train: Any) -> npt.NDArray[np.float64]:
    groups = {group: train[GROUP_PREFIX + group] for group in snapshot.groups}
    if not any(column.map(_names_a_group).any() for column in groups.values()):
        raise BadInput(
            "policy.mitigate",
            "no training row names a group, so that there is nothing to weigh",
            "leave it out, or label the groups of training rows",
        )
    return reweighed(train[LABEL], groups, train[WEIGHT])


def _names_a_group(cell: Any) -> bool:
    return bool(len(cell)) if isinstance(cell, str | list | np.ndarray) else False


def _role_columns(snapshot: Snapshot, rows: Any) -> list[str]:
    groups = [GROUP_PREFIX + group for group in snapshot.groups]
    tasks = [TASK_PREFIX + task for task in snapshot.target.outputs]
    roles = [ID, TIME, LABEL, CLASS, *tasks, WEIGHT, *groups]
    return [role for role in roles if role in rows.columns]
