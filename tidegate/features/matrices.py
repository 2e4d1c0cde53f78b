"""The featurize step: a snapshot's tables to matrices on disk."""

from pathlib import Path
from typing import Any

from scipy import sparse

from tidegate import store
from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.records import (
    GROUP_PREFIX,
    ID,
    LABEL,
    SPLITS,
    TIME,
    WEIGHT,
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
        feature_count=featurizer.feature_count,
        block_sizes=featurizer.block_sizes,
    )
    with store.new_directory(out) as folder:
        featurizer.save(folder / "featurizer")
        for split in SPLITS:
            rows = train if split == "train" else _rows(snapshot_folder, split)
            # Uncompressed: the matrices are read once a trial and thrown away with the run.
            sparse.save_npz(folder / f"{split}.npz", featurizer.transform(rows), compressed=False)
            store.write_table(folder / f"{split}.parquet", rows[_role_columns(snapshot, rows)])
        store.write_record(folder / "features.json", features)
    return features


def load_features(folder: Path, split: SplitName) -> tuple[Any, Any]:
    """Read one split of a folder that `featurize` wrote.

    Returns
    -------
    X : CSR matrix, float32, of shape (rows, features)
    roles : DataFrame
        The role columns of the same rows, under the names of `tidegate.records`.
    """
    X = sparse.csr_matrix(sparse.load_npz(folder / f"{split}.npz"))
    return X, store.read_table(folder / f"{split}.parquet")


def _rows(snapshot_folder: Path, split: str) -> Any:
    return store.read_table(snapshot_folder / f"{split}.parquet")


def _role_columns(snapshot: Snapshot, rows: Any) -> list[str]:
    roles = [ID, TIME, LABEL, WEIGHT, *(GROUP_PREFIX + group for group in snapshot.groups)]
    return [role for role in roles if role in rows.columns]
