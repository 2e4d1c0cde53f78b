"""A loaded bundle is the same model again."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.unit.bundle.conftest import COLUMNS, CosineModel, norm, release, rows, write
from tidegate.errors import BadInput
from tidegate.models import catalogue
from tidegate.models.bundle import (
    load_bundle,
)
from tidegate.models.interface import Setting
from tidegate.models.scoring import score_table


def test_a_loaded_bundle_scores_as_the_model_that_was_written(written, trained):
    featurizer, _, model = trained
    new = rows(30, seed=2)
    expected = model.predict_proba(featurizer.transform(new))[:, 1]
    bundle = load_bundle(written)
    scores = bundle.score(new)
    assert scores.dtype == np.float64
    assert scores.shape == (30,)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(bundle.score_rows(new.to_dict("records")), expected, atol=1e-6)
    np.testing.assert_array_equal(bundle.project(new), featurizer.project(new))


def test_no_rows_have_no_scores(written):
    bundle = load_bundle(written)
    assert bundle.score_rows([]).shape == (0,)
    assert bundle.score(rows(4, seed=2).head(0)).shape == (0,)


def test_an_absent_key_of_a_request_is_a_missing_cell(written):
    bundle = load_bundle(written)
    absent = bundle.score_rows([{"body": "free prize", "country": "de"}])
    missing = bundle.score_rows([{"body": "free prize", "country": "de", "age": None, "x": 1}])
    assert absent == missing


def test_the_drift_reference_is_a_seeded_choice_of_watched_rows(trained):
    featurizer, _, model = trained
    frame = rows(60, seed=1)
    chosen = norm(trained, frame, max_rows=20)
    assert len(chosen) == 20
    pd.testing.assert_frame_equal(chosen, norm(trained, frame, max_rows=20))
    assert not chosen.equals(norm(trained, frame, max_rows=20, seed=1))
    every = norm(trained, frame, max_rows=60)
    components = [name for name in every if name.startswith("component_")]
    np.testing.assert_array_equal(every[components].to_numpy(), featurizer.project(frame))
    score = model.predict_proba(featurizer.transform(frame))[:, 1]
    np.testing.assert_allclose(every["score"], score)
    for column in COLUMNS:
        assert any(column.name in name for name in every), "each input is watched"
        assert not (column.kind == "text" and column.name in every), "no text is kept"


def test_a_scored_table_has_the_names_that_evaluation_reads(written):
    bundle = load_bundle(written)
    split = rows(40, seed=4).assign(_time=pd.Timestamp("2026-03-01", tz="UTC")).iloc[::-2]
    table = score_table(bundle, split)
    assert list(table) == ["id", "time", "label", "weight", "score", "target"]
    assert table["id"].tolist() == split["_id"].tolist()
    np.testing.assert_array_equal(table["score"], bundle.score(split))
    assert table["label"].tolist() == split["_label"].tolist()
    assert (table["target"] == "women").all()


def test_a_scored_table_of_rows_without_time_has_missing_times(written):
    table = score_table(load_bundle(written), rows(5, seed=4))
    assert table["time"].isna().all()


def write_real(folder, trained, name):
    """Train an algorithm of the catalogue and bundle it."""
    train = rows(80, seed=0)
    chosen = catalogue.algorithm(name)
    model = chosen.build(chosen.defaults, Setting())
    labels = train["_label"].to_numpy()
    model.fit(trained[0].transform(train), labels, np.ones(len(train)))
    write(folder, trained, model=model, algorithm=name, params=chosen.defaults)
    return model


@pytest.mark.parametrize("name", ["logistic", "xgboost"])
def test_every_classical_algorithm_scores_the_same_from_its_bundle(trained, tmp_path, name):
    model = write_real(tmp_path / "bundle", trained, name)
    release(tmp_path / "bundle", tmp_path / "released")
    new = rows(30, seed=5)
    expected = model.predict_proba(trained[0].transform(new))[:, 1]
    bundle = load_bundle(tmp_path / "released")
    np.testing.assert_allclose(bundle.score(new), expected, atol=1e-6)
    one_by_one = [bundle.score_rows([row])[0] for row in new.to_dict("records")]
    np.testing.assert_allclose(one_by_one, expected, atol=1e-6)


def test_loading_and_scoring_a_row_needs_neither_pandas_nor_scikit_learn(trained, tmp_path):
    write_real(tmp_path, trained, "logistic")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tidegate.models.bundle import load_bundle\n"
        "bundle = load_bundle(Path(sys.argv[1]))\n"
        "print(bundle.score_rows([{'body': 'free prize', 'age': 3, 'country': 'de'}])[0])\n"
        "print(sorted({'sklearn', 'pandas', 'pyarrow', 'xgboost'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    score, imported = done.stdout.splitlines()
    row = {"body": "free prize", "age": 3, "country": "de"}
    assert float(score) == pytest.approx(load_bundle(tmp_path).score_rows([row])[0], abs=1e-9)
    assert imported == "[]"


def test_a_bundle_that_scores_otherwise_under_other_code_is_refused(tmp_path, trained, monkeypatch):
    write(tmp_path / "bundle", trained)
    plain = CosineModel.predict_proba
    monkeypatch.setattr(CosineModel, "predict_proba", lambda self, X: plain(self, X)[:, ::-1])
    with pytest.raises(BadInput, match="probe rows otherwise"):
        load_bundle(tmp_path / "bundle")
