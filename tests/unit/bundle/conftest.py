"""A small model, and a bundle of it."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models import catalogue
from tidegate.models.bundle import (
    with_decision_rule,
    write_bundle,
)
from tidegate.models.interface import BINARY, Algorithm
from tidegate.models.watched import drift_reference
from tidegate.records import Column

COLUMNS = (
    Column(name="body", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="country", kind="categorical"),
)


class CosineModel:
    """Scores by the angle to the mean violating row: little to learn, everything to save."""

    def __init__(self, direction=None):
        self.direction = direction

    def fit(self, X, y, sample_weight, evaluation=None):
        self.direction = np.asarray(X.csr("words+chars")[y == 1].mean(axis=0)).ravel()
        return self

    def predict_proba(self, X):
        positive = 1 / (1 + np.exp(-(X.csr("words+chars") @ self.direction)))
        return np.column_stack([1 - positive, positive])

    def save(self, folder):
        np.save(folder / "direction.npy", self.direction, allow_pickle=False)


COSINE = Algorithm(
    name="cosine",
    build=lambda params, setting: CosineModel(),
    load=lambda folder: CosineModel(np.load(folder / "direction.npy")),
    search_space={},
    defaults={},
)


def rows(count, seed):
    generator = np.random.default_rng(seed)
    words = ["prize", "lunch", "free", "noon", "win", "code"]
    return pd.DataFrame(
        {
            "body": [" ".join(generator.choice(words, size=5)) for _ in range(count)],
            "age": generator.exponential(30, size=count),
            "country": generator.choice(["de", "fr"], count),
            "_id": [str(number) for number in range(count)],
            "_label": (generator.random(count) < 0.4).astype(np.int8),
            "_weight": 1.0,
            "_group_target": "women",
        }
    )


@pytest.fixture(autouse=True)
def our_algorithm(monkeypatch):
    """Add the small algorithm of this file to the catalogue."""
    monkeypatch.setattr(catalogue, "ALGORITHMS", (*catalogue.ALGORITHMS, COSINE))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A featurizer, where it is saved, and a model."""
    train = rows(80, seed=0)
    labels = train["_label"].to_numpy()
    featurizer = Featurizer.fit(train, COLUMNS, labels, FeatureConfig(projection_components=3))
    folder = tmp_path_factory.mktemp("featurizer")
    featurizer.save(folder)
    return featurizer, folder, CosineModel().fit(featurizer.transform(train), labels, None)


def norm(trained, frame, max_rows, seed=0):
    featurizer, _, model = trained
    return drift_reference(
        featurizer,
        model,
        frame,
        columns=COLUMNS,
        target=BINARY,
        max_rows=max_rows,
        seed=seed,
    )


def write(folder, trained, **changes):
    _, featurizer_folder, model = trained
    given = {
        "name": "comments",
        "algorithm": "cosine",
        "params": {"C": 1e-06, "rounds": 20, "balanced": True, "loss": "log"},
        "model": model,
        "featurizer_folder": featurizer_folder,
        "columns": COLUMNS,
        "snapshot_digest": "abc",
        "drift_reference": norm(trained, rows(60, seed=1), max_rows=50),
    }
    return write_bundle(folder, **(given | changes))


@pytest.fixture
def written(trained, tmp_path):
    write(tmp_path / "bundle", trained)
    return tmp_path / "bundle"


def release(source, target, **changes):
    given = {"threshold": 0.6, "min_precision": 0.9, "confidence": 0.95}
    return with_decision_rule(source, target, **(given | changes))
