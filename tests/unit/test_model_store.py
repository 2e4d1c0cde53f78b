import json
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tidegate.config import FeatureConfig
from tidegate.errors import BadInput
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import read_manifest, write_bundle
from tidegate.records import Column
from tidegate.rollout import model_store
from tidegate.rollout.model_store import ModelStore


class Weights:
    """A model that is one file."""

    def __init__(self, content):
        self.content = content

    def predict_proba(self, X):
        return np.full((X.rows, 2), 0.5)

    def save(self, folder):
        (folder / "weights.txt").write_text(self.content)


def build(folder: Path, content: str, name: str = "toy") -> Path:
    ages = pd.DataFrame({"age": [1.0, 2.0, 4.0, 8.0]})
    columns = (Column(name="age", kind="numeric"),)
    labels = np.array([0, 0, 1, 1], dtype=np.int8)
    Featurizer.fit(ages, columns, labels, FeatureConfig()).save(folder / "featurizer")
    write_bundle(
        folder / "bundle",
        name=name,
        algorithm="weights",
        params={},
        model=Weights(content),
        featurizer_folder=folder / "featurizer",
        columns=columns,
        snapshot_digest="d",
    )
    return folder / "bundle"


def version(bundle: Path) -> str:
    return read_manifest(bundle).version


@pytest.fixture
def bundles(tmp_path):
    return {v: build(tmp_path / "built" / v, f"weights of {v}") for v in ("v1", "v2", "v3")}


@pytest.fixture
def named(bundles):
    """Tell a release's version as v1, v2 or v3."""
    return {version(bundle): name for name, bundle in bundles.items()}.get


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


def test_a_store_without_a_release_has_nothing_in_service(store):
    assert store.current("toy") is None
    assert store.baseline("toy", run_digest="a") is None
    assert store.history("toy") == ()


def test_a_release_is_copied_and_put_in_service(store, bundles, named):
    released = store.release(bundles["v1"], run_digest="run-a")

    assert store.current("toy") == released
    assert (named(released.version), released.run_digest, released.previous) == (
        "v1",
        "run-a",
        None,
    )
    folder = store.bundle_folder(released)
    assert folder == store.folder / "toy" / "versions" / released.version
    assert (folder / "model" / "weights.txt").read_text() == "weights of v1"


def test_the_next_release_remembers_the_one_before(store, bundles, named):
    store.release(bundles["v1"], run_digest="run-a")
    released = store.release(bundles["v2"], run_digest="run-b")
    assert named(released.previous) == "v1"
    assert [named(r.version) for r in store.history("toy")] == ["v1", "v2"]


@pytest.mark.parametrize("run", ["run-a", "run-b"])
def test_releasing_the_version_in_service_again_changes_nothing(store, bundles, run):
    first = store.release(bundles["v1"], run_digest="run-a")
    assert store.release(bundles["v1"], run_digest=run) == first
    assert store.history("toy") == (first,)


def test_the_baseline_of_a_rerun_is_the_baseline_of_the_first_run(store, bundles, named):
    store.release(bundles["v1"], run_digest="run-a")
    before = store.baseline("toy", run_digest="run-b")
    store.release(bundles["v2"], run_digest="run-b")

    assert before is not None
    assert named(before.version) == "v1"
    assert store.baseline("toy", run_digest="run-b") == before
    assert store.baseline("toy", run_digest="run-c") == store.current("toy")


def test_a_run_that_made_the_only_release_has_no_baseline(store, bundles):
    store.release(bundles["v1"], run_digest="run-a")
    assert store.baseline("toy", run_digest="run-a") is None


def test_rollback_walks_back_to_the_first_version_and_no_further(store, bundles, named):
    for version, run in (("v1", "a"), ("v2", "b"), ("v3", "c")):
        store.release(bundles[version], run_digest=run)

    assert named(store.rollback("toy").version) == "v2"
    back = store.rollback("toy")
    assert (named(back.version), back.run_digest, back.previous) == ("v1", "a", None)
    assert store.current("toy") == back
    with pytest.raises(BadInput, match="no version was in service before"):
        store.rollback("toy")
    assert [named(r.version) for r in store.history("toy")] == ["v1", "v2", "v3", "v2", "v1"]


def test_a_version_that_was_rolled_back_is_never_the_baseline_of_the_one_before(
    store, bundles, named
):
    store.release(bundles["v1"], run_digest="run-a")
    store.release(bundles["v2"], run_digest="run-b")
    store.rollback("toy")
    assert store.baseline("toy", run_digest="run-a") is None
    assert named(store.baseline("toy", run_digest="run-b").version) == "v1"


def test_rollback_of_an_unknown_name_is_bad_input(store):
    with pytest.raises(BadInput, match="nothing is released as 'toy'"):
        store.rollback("toy")


def test_a_crash_between_copy_and_pointer_leaves_the_old_version_in_service(
    store, bundles, named, monkeypatch
):
    first = store.release(bundles["v1"], run_digest="run-a")

    def crash(path, record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_store, "write_record", crash)
        with pytest.raises(KeyboardInterrupt):
            store.release(bundles["v2"], run_digest="run-b")

    assert store.current("toy") == first
    assert store.history("toy") == (first,)
    assert named(store.release(bundles["v2"], run_digest="run-b").previous) == "v1"


def test_a_crash_between_pointer_and_history_is_healed_by_the_next_release(
    store, bundles, named, monkeypatch
):
    store.release(bundles["v1"], run_digest="run-a")

    def crash(path, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_store, "write_text", crash)
        with pytest.raises(KeyboardInterrupt):
            store.release(bundles["v2"], run_digest="run-b")

    assert named(store.current("toy").version) == "v2"
    store.release(bundles["v3"], run_digest="run-c")
    assert [named(r.version) for r in store.history("toy")] == ["v1", "v2", "v3"]


def test_a_crash_during_the_copy_leaves_no_version_behind(store, bundles, monkeypatch):
    def crash(source, target, **options):
        (Path(target) / "bundle.json").write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(model_store.shutil, "copytree", crash)
    with pytest.raises(OSError, match="no space"):
        store.release(bundles["v1"], run_digest="run-a")
    assert list((store.folder / "toy" / "versions").iterdir()) == []
    assert store.current("toy") is None


def test_a_damaged_version_is_found_when_it_is_read(store, bundles):
    released = store.release(bundles["v1"], run_digest="run-a")
    (store.bundle_folder(released) / "model" / "weights.txt").write_text("other")
    with pytest.raises(BadInput, match=r"weights.txt: differs from its digest"):
        store.bundle_folder(released)
    assert store.release(bundles["v1"], run_digest="run-a") == released
    assert store.bundle_folder(released).exists(), "releasing again mends the copy"


def test_rollback_does_not_put_a_damaged_version_in_service(store, bundles):
    first = store.release(bundles["v1"], run_digest="run-a")
    second = store.release(bundles["v2"], run_digest="run-b")
    (store.bundle_folder(first) / "model" / "weights.txt").unlink()
    with pytest.raises(BadInput, match="is missing from the bundle"):
        store.rollback("toy")
    assert store.current("toy") == second


def test_a_bundle_that_is_not_whole_is_not_released(store, bundles):
    (bundles["v1"] / "model" / "weights.txt").write_text("tampered")
    with pytest.raises(BadInput, match="differs from its digest"):
        store.release(bundles["v1"], run_digest="run-a")
    assert store.current("toy") is None


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b"])
def test_a_name_cannot_leave_the_store(store, name):
    with pytest.raises(BadInput, match="cannot name a folder"):
        store.current(name)


def test_a_damaged_pointer_is_bad_input(store, bundles):
    store.release(bundles["v1"], run_digest="run-a")
    (store.folder / "toy" / "current.json").write_text("{")
    with pytest.raises(BadInput, match="is not a release"):
        store.current("toy")


def test_releases_at_once_form_one_chain(store, tmp_path):
    built = [build(tmp_path / f"{i}", f"weights {i}") for i in range(12)]
    threads = [
        threading.Thread(target=store.release, args=(b,), kwargs={"run_digest": b.parent.name})
        for b in built
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    history = store.history("toy")
    assert sorted(r.version for r in history) == sorted(version(b) for b in built)
    assert [r.previous for r in history] == [None, *(r.version for r in history[:-1])]
    assert store.current("toy") == history[-1]
    lines = (store.folder / "toy" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["version"] for line in lines] == [r.version for r in history]


def test_a_kept_version_can_be_put_in_service_by_name(store, bundles, named):
    store.release(bundles["v1"], run_digest="run-a")
    kept = store.keep(bundles["v2"])
    assert named(store.current("toy").version) == "v1"

    put = store.put_in_service("toy", kept.version, run_digest="run-b")
    assert (named(put.version), put.run_digest, named(put.previous)) == ("v2", "run-b", "v1")
    assert store.put_in_service("toy", kept.version) == put


def test_rollback_to_any_kept_version(store, bundles, named):
    for v, run in (("v1", "a"), ("v2", "b"), ("v3", "c")):
        store.release(bundles[v], run_digest=run)
    back = store.rollback("toy", version(bundles["v1"]))
    assert (named(back.version), back.run_digest, named(back.previous)) == ("v1", "a", "v3")


def test_a_version_that_is_not_kept_is_refused_and_the_kept_ones_named(store, bundles):
    store.release(bundles["v1"], run_digest="a")
    with pytest.raises(
        BadInput, match=f"keeps no version 'v9'; choose of: {version(bundles['v1'])}"
    ):
        store.rollback("toy", "v9")


def test_old_versions_are_forgotten_but_never_those_in_use(store, bundles, named):
    for v in ("v1", "v2", "v3"):
        store.release(bundles[v], run_digest=v)
    gone = store.forget_old("toy", kept_versions=2, needed=frozenset())
    assert [named(v) for v in gone] == ["v1"]
    gone = store.forget_old("toy", kept_versions=1, needed=frozenset())
    assert gone == []
    assert {named(v) for v in store.versions("toy")} == {"v2", "v3"}
