"""A small text classifier as a bundle, right or wrong on purpose, in a second or two."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import with_decision_rule, write_bundle
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.records import BundleManifest, Column, DecisionRule
from tidegate.store import digest_json


def train_small_model(
    folder: Path,
    texts: list[str],
    labels: npt.NDArray[np.int8],
    *,
    name: str,
    threshold: float = 0.5,
    params: dict[str, Any] | None = None,
    rule: DecisionRule | None = None,
) -> BundleManifest:
    """Fit a logistic regression on texts and write its bundle to ``folder/bundle``.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    texts, labels : list, array of shape (rows,)
        1 is violating; give inverted labels for a model that gets everything wrong.
    name : str
        The model's name.
    threshold : float
        Rows that score at or above it are flagged.
    params : dict, optional
        Hyperparameters to set beside the algorithm's defaults.
    rule : DecisionRule, optional
        What is served beside the threshold; nothing without one.
    """
    import pandas as pd

    columns = (Column(name="text", kind="text"),)
    frame = pd.DataFrame({"text": texts})
    featurizer = Featurizer.fit(frame, columns, labels, FeatureConfig())
    featurizer.save(folder / "featurizer")
    logistic = algorithm("logistic")
    chosen = {**logistic.defaults, **(params or {})}
    model = logistic.build(chosen, Setting())
    model.fit(featurizer.transform(frame), labels, np.ones(len(texts)))
    write_bundle(
        folder / "bundle",
        name=name,
        algorithm="logistic",
        params=chosen,
        model=model,
        featurizer_folder=folder / "featurizer",
        columns=columns,
        snapshot_digest=digest_json([texts, labels.tolist()]),
    )
    return with_decision_rule(
        folder / "bundle",
        folder / "bundle",
        threshold=threshold,
        min_precision=0.9,
        confidence=0.95,
        rule=rule,
    )
