"""What the plan of a retrain decides: here, where its search starts from."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tidegate.config import FeatureConfig, RunConfig
from tidegate.evaluation.history import add_to_history
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import write_bundle
from tidegate.plan import plan_retrain
from tidegate.records import Column, PastEvaluation
from tidegate.rollout.model_store import ModelStore


class Constant:
    def __init__(self, score):
        self.score = score

    def predict_proba(self, X):
        return np.tile([1 - self.score, self.score], (X.rows, 1))

    def save(self, folder):
        (folder / "score.txt").write_text(str(self.score))


class Shop:
    """A table that can be replaced, and releases of bundles that learned from it."""

    def __init__(self, folder):
        self.folder = folder
        self.store = ModelStore(folder / "models")
        self.made = 0
        ages = pd.DataFrame({"age": [1.0, 2.0, 4.0, 8.0]})
        self.columns = (Column(name="age", kind="numeric"),)
        labels = np.array([0, 0, 1, 1], dtype=np.int8)
        Featurizer.fit(ages, self.columns, labels, FeatureConfig()).save(folder / "featurizer")

    def data(self, content):
        pd.DataFrame({"age": content, "y": [0, 1]}).to_parquet(self.folder / "t.parquet")

    def plan(self, **changes):
        data = {"source": str(self.folder / "t.parquet"), "label": "y"}
        config = RunConfig.model_validate({"name": "toy", "data": data} | changes)
        return plan_retrain(config, self.folder / "models")

    def start(self, **changes):
        """Return the version whose bundle the search starts from, None without one."""
        found = json.loads(self.plan(**changes).arguments["search_settings"])["warm_start"]
        return None if found in (None, "auto") else found.rpartition("/")[2]

    def release(self, **changes):
        """Release a bundle of the present data and return its version."""
        self.made += 1
        folder = self.folder / f"bundle-{self.made}"
        plan = self.plan(**changes)
        manifest = write_bundle(
            folder,
            name="toy",
            algorithm="constant",
            params={},
            model=Constant(self.made / 100),
            featurizer_folder=self.folder / "featurizer",
            columns=self.columns,
            snapshot_digest=str(self.made),
            source_digest=plan.digests["source"],
        )
        self.store.release(folder, run_digest=plan.digests["run"])
        return manifest.version


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.data([1.0, 2.0])
    return shop


def test_a_first_run_starts_from_nothing(shop):
    assert shop.start() is None


def test_new_data_start_from_the_model_in_service(shop):
    first = shop.release()
    shop.data([3.0, 4.0])
    assert shop.start() == first


@pytest.mark.parametrize("policy", [{}, {"min_precision": 0.5}])
def test_a_release_of_the_same_data_leaves_the_search_as_it_was(shop, policy):
    before = shop.plan().arguments["search_settings"]
    shop.release()
    assert shop.plan(policy=policy).arguments["search_settings"] == before
    shop.release(policy=policy)
    assert shop.plan().arguments["search_settings"] == before


def test_the_start_stays_when_the_new_data_are_released_and_rolled_back(shop):
    first = shop.release()
    shop.data([3.0, 4.0])
    shop.release()
    assert shop.start() == first
    shop.store.rollback("toy")
    assert shop.start() == first
    shop.data([1.0, 2.0])
    assert shop.start() is None


def test_a_version_that_is_gone_gives_way_to_the_one_before(shop):
    first = shop.release()
    shop.data([3.0, 4.0])
    second = shop.release()
    shop.data([5.0, 6.0])
    assert shop.start() == second
    shutil.rmtree(shop.folder / "models" / "toy" / "versions" / second)
    # The baseline of such a run is named: the version in service cannot be compared with.
    assert shop.start(baseline=str(shop.folder / "bundle-2")) == first


def test_a_start_by_name_or_none_is_left_alone(shop):
    shop.release()
    shop.data([3.0, 4.0])
    assert shop.start(search={"warm_start": None}) is None
    assert shop.start(search={"warm_start": "runs/first"}) == "first"


def judged(shop, runs, holdout):
    for run in range(runs):
        entry = PastEvaluation(
            run_digest=f"{holdout}-{run}",
            evaluated_at="2026-01-05T00:00:00+00:00",
            algorithm="logistic",
            holdout_digest=holdout,
            decision="hold",
            average_precision=0.5,
        )
        add_to_history(shop.folder / "models" / "toy", entry)


def split_of(shop, **changes):
    return json.loads(shop.plan(**changes).arguments["data"])["split"]


def test_a_holdout_that_enough_decisions_went_by_gives_way_to_a_fresh_one(shop):
    shop.data([1.0, 2.0])
    first = split_of(shop)["seed"]
    judged(shop, 9, "a")
    assert split_of(shop)["seed"] == first
    judged(shop, 10, "a")
    assert split_of(shop)["seed"] == first + 1
    judged(shop, 10, "b")
    assert split_of(shop)["seed"] == first + 2
    assert split_of(shop, policy={"fresh_holdout": False})["seed"] == first
    assert split_of(shop, policy={"max_holdout_uses": 11})["seed"] == first


def test_a_run_that_is_repeated_keeps_the_split_that_it_wore_out(shop):
    shop.data([1.0, 2.0])
    judged(shop, 9, "a")
    plan = shop.plan()
    last = PastEvaluation(
        run_digest=plan.digests["run"],
        evaluated_at="2026-01-05T00:00:00+00:00",
        algorithm="logistic",
        holdout_digest="a",
        decision="hold",
        average_precision=0.5,
    )
    add_to_history(shop.folder / "models" / "toy", last)
    assert shop.plan().arguments["data"] == plan.arguments["data"]


def test_a_refresh_searches_nothing_but_what_is_in_service(shop):
    shop.data([1.0, 2.0])

    def refreshed():
        return json.loads(
            shop.plan(search={"refresh": True, "backend": "katib"}).arguments["search_settings"]
        )

    assert refreshed()["refresh"] is False, "without a release there is nothing to refresh"
    version = shop.release()
    found = refreshed()
    assert found["refresh"] is True
    assert (found["algorithms"], found["trials"], found["backend"]) == (["constant"], 1, "local")
    assert found["warm_start"].endswith(version), "of the same data, too"
