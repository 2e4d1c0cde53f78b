"""The folder that serves: whole, checked, and the same model again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tidegate import store
from tidegate.config import FeatureConfig
from tidegate.errors import BadInput
from tidegate.features.featurizer import Featurizer
from tidegate.models import bundle as bundles
from tidegate.models import catalogue
from tidegate.models.bundle import (
    load_bundle,
    read_manifest,
    with_decision_rule,
    write_bundle,
)
from tidegate.models.decisions import decide
from tidegate.models.interface import BINARY, Algorithm, Setting
from tidegate.models.scoring import score_source, score_table
from tidegate.models.watched import drift_reference
from tidegate.records import CalibrationMap, Column, DecisionRule

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


def test_the_manifest_says_what_serves(written, trained):
    manifest = load_bundle(written).manifest
    assert manifest == store.read_record(written / "bundle.json", type(manifest))
    assert manifest.inputs == COLUMNS
    assert manifest.threshold is manifest.min_precision is manifest.confidence is None
    assert manifest.params == {"C": 1e-06, "rounds": 20, "balanced": True, "loss": "log"}
    assert {"numpy", "scipy", "scikit-learn"} <= set(manifest.libraries)
    on_disk = {p.relative_to(written).as_posix() for p in written.rglob("*") if p.is_file()}
    assert set(manifest.files) == on_disk - {"bundle.json"}


def test_the_threshold_comes_with_its_promise_and_a_version_of_its_own(written, tmp_path):
    manifest = release(written, tmp_path / "released")
    assert (manifest.threshold, manifest.min_precision, manifest.confidence) == (0.6, 0.9, 0.95)
    assert manifest.version != read_manifest(written).version
    bundle = load_bundle(tmp_path / "released")
    assert bundle.manifest == manifest
    new = rows(10, seed=3)
    np.testing.assert_array_equal(bundle.score(new), load_bundle(written).score(new))


def test_the_whole_rule_is_served_and_another_rule_is_another_version(written, tmp_path):
    rule = DecisionRule(
        review_threshold=0.3,
        segment_column="country",
        segment_thresholds={"de": 0.0, "fr": None},
        calibration=CalibrationMap(method="platt", coefficients=(1.0, 1.0, 0.5)),
    )
    plain = release(written, tmp_path / "plain")
    manifest = release(written, tmp_path / "ruled", rule=rule)
    assert manifest.version != plain.version
    bundle = load_bundle(tmp_path / "ruled")
    assert bundle.manifest.rule == rule
    new = rows(10, seed=3)
    scored = score_source(bundle, new)
    german = (new["country"] == "de").to_numpy()
    assert set(scored["decision"][german]) == {"flagged"}
    assert set(scored["decision"][~german]) <= {"review", "leave"}
    assert scored["flagged"].tolist() == german.tolist()
    assert (scored["answered_score"] > scored["score"]).all()
    unsegmented = decide(manifest, bundle.score(new))
    assert (unsegmented.threshold == 0.6).all()


def test_a_rule_for_outputs_that_the_model_lacks_is_refused(written, tmp_path):
    with pytest.raises(BadInput, match="has no output 'hate'"):
        release(written, tmp_path / "x", rule=DecisionRule(class_thresholds={"hate": 0.5}))
    assert not (tmp_path / "x").exists()


def test_a_bundle_can_be_given_its_threshold_in_place(written):
    manifest = release(written, written, threshold=None)
    assert load_bundle(written).manifest == manifest
    assert manifest.threshold is None
    assert manifest.min_precision == 0.9


def test_the_same_content_has_the_same_version_whenever_it_is_made(trained, tmp_path, monkeypatch):
    first = release_of(tmp_path / "first", trained)
    monkeypatch.setattr(bundles, "_now", lambda: "2030-01-01T00:00:00+00:00")
    second = release_of(tmp_path / "second", trained)
    assert first.created_at != second.created_at
    assert first.version == second.version
    assert len(first.version) == 12


def release_of(folder, trained, **changes):
    write(folder / "bundle", trained, **changes)
    return release(folder / "bundle", folder / "released")


def test_the_version_changes_with_everything_that_changes_a_verdict(trained, tmp_path):
    _, _, model = trained
    base = release_of(tmp_path / "base", trained)
    versions = {
        base.version,
        release(tmp_path / "base/bundle", tmp_path / "t", threshold=0.61).version,
        release(tmp_path / "base/bundle", tmp_path / "n", threshold=None).version,
        release_of(tmp_path / "p", trained, params={"C": 2.0}).version,
        release_of(tmp_path / "m", trained, model=CosineModel(model.direction * 1.01)).version,
        release_of(tmp_path / "d", trained, drift_reference=None).version,
    }
    assert len(versions) == 6


@pytest.mark.parametrize("file", ["model/direction.npy", "featurizer/featurizer.json"])
def test_a_changed_file_is_named(written, file):
    content = (written / file).read_bytes()
    (written / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BadInput, match=rf"{file}: differs from its digest"):
        load_bundle(written)
    with pytest.raises(BadInput, match=rf"{file}: differs from its digest"):
        release(written, written.parent / "released")
    assert not (written.parent / "released").exists()


@pytest.mark.parametrize("file", ["model/direction.npy", "drift_reference.parquet"])
def test_a_missing_file_is_named(written, file):
    (written / file).unlink()
    with pytest.raises(BadInput, match=rf"{file}: is missing from the bundle"):
        load_bundle(written)


def test_a_file_that_does_not_belong_to_the_model_is_named(written):
    (written / "model" / "extra.json").write_text("{}")
    with pytest.raises(BadInput, match=r"extra\.json: is not in bundle\.json; remove it"):
        load_bundle(written)


def test_a_file_beside_the_model_is_nobodys_business(written):
    (written / "model_card.md").write_text("# comments")
    assert load_bundle(written).manifest.name == "comments"


def rewrite(folder, **changes):
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "bundle format must be 1, got 2; serve it with the version of Tidegate"),
        ({"threshold": 0.01}, "was changed after version"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    ],
    ids=["format", "threshold", "key"],
)
def test_a_manifest_that_was_changed_is_refused(written, changes, message):
    rewrite(written, **changes)
    with pytest.raises(BadInput, match=message):
        load_bundle(written)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BadInput, match=r"bundle\.json: there is no such file, so no bundle"):
        load_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("[half")
    with pytest.raises(BadInput, match=r"bundle\.json: is not JSON"):
        load_bundle(tmp_path)


def test_nothing_in_a_bundle_is_pickled(written):
    for path in written.rglob("*"):
        if path.suffix in {".npz", ".npy"}:
            arrays = np.load(path, allow_pickle=False)
            for array in [arrays[key] for key in arrays] if path.suffix == ".npz" else [arrays]:
                assert array.dtype != object
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            assert path.is_dir() or path.suffix == ".parquet", path


def test_a_model_that_cannot_be_saved_leaves_no_bundle(trained, tmp_path):
    class Unsavable(CosineModel):
        def save(self, folder):
            (folder / "half").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "bundle", trained, model=Unsavable())
    assert list(tmp_path.iterdir()) == []


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
        cwd=Path(__file__).parents[2],
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
