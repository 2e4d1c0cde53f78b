"""Trials and ensembles of models that learn classes."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.features.matrices import load_features
from tidegate.models.catalogue import algorithm, load_model
from tidegate.models.interface import Setting
from tidegate.models.quality import measured
from tidegate.records import FeatureBlock, FeatureSet, SearchResult, Target
from tidegate.search.ensemble import with_ensemble
from tidegate.search.trial import run_trial

TARGET = Target(kind="multiclass", outputs=("hate", "normal", "spam"), violating=("hate", "spam"))


@pytest.fixture
def classes(tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "features"
    for split, rows in (("train", 300), ("validation", 150)):
        (folder / split).mkdir(parents=True)
        y = random.integers(0, 3, rows)
        told = np.arange(30) // 4 == y[:, None]
        words = (random.random((rows, 30)) < np.where(told, 0.3, 0.1)).astype(np.float32)
        sp.save_npz(folder / split / "00.npz", sp.csr_matrix(words))
        roles = {"_id": range(rows), "_label": (y != 1).astype(np.int8), "_class": y}
        pd.DataFrame(roles | {"_weight": np.ones(rows)}).to_parquet(folder / f"{split}.parquet")
    block = FeatureBlock(name="text:tfidf_word", column="text", family="words", width=30)
    record = FeatureSet(snapshot_digest="0", target=TARGET, blocks=(block,))
    store.write_record(folder / "features.json", record)
    return folder


@pytest.fixture
def trials(classes, tmp_path):
    found = []
    for number, name in enumerate(("logistic", "xgboost")):
        entry, out = algorithm(name), tmp_path / "search" / "trials" / f"{number:03d}"
        result = run_trial(
            classes,
            entry,
            entry.defaults,
            number=number,
            setting=Setting(),
            out=out,
            report=lambda point: None,
        )
        found.append(result)
    return found


def said(search, number, name, features):
    model = load_model(name, search / "trials" / f"{number:03d}" / "model")
    return model.predict_proba(load_features(features, "validation")[0])


def test_a_trial_learns_the_classes_and_is_measured_on_the_violating_ones(
    classes, trials, tmp_path
):
    outputs = said(tmp_path / "search", 0, "logistic", classes)
    assert outputs.shape == (150, 3)
    y = store.read_table(classes / "validation.parquet")["_class"].to_numpy()
    expected = measured(TARGET, y, outputs, np.ones(150))
    assert (trials[0].average_precision, trials[0].log_loss) == pytest.approx(expected)
    kept = np.load(tmp_path / "search" / "trials" / "000" / "validation.npy")
    np.testing.assert_allclose(kept, 1 - outputs[:, 1])


def test_an_ensemble_averages_every_output(classes, trials, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tidegate.search.ensemble.select_members", lambda *_, **__: {0: 0.75, 1: 0.25}
    )
    result = SearchResult(trials=trials, best=0, benchmark=0, seconds=1.0, stopped_by="trials")
    search = tmp_path / "search"
    together = with_ensemble(result, classes, SearchConfig(), search)
    outputs = said(search, 2, "ensemble", classes)
    parts = [said(search, n, name, classes) for n, name in enumerate(("logistic", "xgboost"))]
    np.testing.assert_allclose(outputs, 0.75 * parts[0] + 0.25 * parts[1])
    y = store.read_table(classes / "validation.parquet")["_class"].to_numpy()
    winner = together.trials[together.best]
    expected = measured(TARGET, y, outputs, np.ones(150))
    assert (winner.average_precision, winner.log_loss) == pytest.approx(expected)
