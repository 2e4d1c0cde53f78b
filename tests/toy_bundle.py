"""A small real bundle: a logistic model over a toy table, with what a drift check watches."""

from pathlib import Path

import numpy as np
import pandas as pd

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import write_bundle
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import BINARY, Setting
from tidegate.models.watched import drift_reference
from tidegate.records import LABEL, WEIGHT, BundleManifest, Column

Table = tuple[pd.DataFrame, np.ndarray]


def write_toy_bundle(
    folder: Path,
    *,
    train: Table,
    norm: Table,
    columns: tuple[Column, ...],
    max_rows: int,
    components: int = 4,
) -> BundleManifest:
    """Write ``folder / "bundle"``, trained on one table and watching for another's like."""
    frame, labels = train
    featurizer = Featurizer.fit(
        frame, columns, labels, FeatureConfig(projection_components=components)
    )
    (folder / "featurizer").mkdir()
    featurizer.save(folder / "featurizer")
    logistic = algorithm("logistic")
    model = logistic.build(logistic.defaults, Setting())
    model.fit(featurizer.transform(frame), labels, np.ones(len(labels)))
    usual, known = norm
    return write_bundle(
        folder / "bundle",
        name="toy",
        algorithm="logistic",
        params=logistic.defaults,
        model=model,
        featurizer_folder=folder / "featurizer",
        columns=columns,
        snapshot_digest="d",
        drift_reference=drift_reference(
            featurizer,
            model,
            usual.assign(**{LABEL: known, WEIGHT: 1.0}),
            columns=columns,
            target=BINARY,
            max_rows=max_rows,
            seed=0,
        ),
    )
