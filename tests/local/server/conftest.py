"""A real bundle, and a server of it for the tests of a module."""

import numpy as np
import pandas as pd
import pytest

from tests.local.server.process import ROWS, Server
from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import load_bundle, with_decision_rule, write_bundle
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.records import Column

COLUMNS = (
    Column(name="text", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="lang", kind="categorical"),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    generator = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(np.int8)
    words = {0: ["lunch", "noon", "code", "tea"], 1: ["prize", "free", "win", "cash"]}
    frame = pd.DataFrame(
        {
            "text": [" ".join(generator.choice(words[int(y)], size=4)) for y in labels],
            "age": generator.exponential(30, size=60),
            "lang": generator.choice(["en", "de"], 60),
        }
    )
    featurizer = Featurizer.fit(frame, COLUMNS, labels, FeatureConfig(projection_components=2))
    (folder / "featurizer").mkdir()
    featurizer.save(folder / "featurizer")
    logistic = algorithm("logistic")
    model = logistic.build(logistic.defaults, Setting())
    model.fit(featurizer.transform(frame), labels, np.ones(60))
    write_bundle(
        folder / "bundle",
        name="toy",
        algorithm="logistic",
        params=logistic.defaults,
        model=model,
        featurizer_folder=folder / "featurizer",
        columns=COLUMNS,
        snapshot_digest="d",
    )
    promise = {"min_precision": 0.9, "confidence": 0.95}
    with_decision_rule(folder / "bundle", folder / "bundle", threshold=0.5, **promise)
    return folder / "bundle"


@pytest.fixture(scope="module")
def server(bundle):
    server = Server(bundle)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def expected(bundle):
    """What the bundle itself says of ROWS."""
    loaded = load_bundle(bundle)
    return loaded.score_rows(ROWS), loaded.manifest
