"""What a bundle holds: whole, checked, and versioned by content."""

import json

import numpy as np
import pytest

from tests.unit.bundle.conftest import COLUMNS, CosineModel, release, rows, write
from tidegate import store
from tidegate.errors import BadInput
from tidegate.models import bundle as bundles
from tidegate.models.bundle import (
    load_bundle,
    read_manifest,
)
from tidegate.models.decisions import decide
from tidegate.models.scoring import score_source
from tidegate.records import CalibrationMap, DecisionRule


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
