"""Weights that part label and group."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import store
from tidegate.config import DataConfig, FeatureConfig, RunConfig
from tidegate.data.ingest import ingest
from tidegate.data.mitigation import group_losses, group_weights, resampled, reweighed
from tidegate.errors import BadInput
from tidegate.features.matrices import featurize, load_features
from tidegate.plan import plan_retrain


def shares(label, group, weight):
    frame = pd.DataFrame({"y": label, "g": group, "w": weight})
    return {g: np.average(rows["y"], weights=rows["w"]) for g, rows in frame.groupby("g")}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_every_group_violates_as_often_as_all_rows(seed, weighted):
    rng = np.random.default_rng(seed)
    group = rng.choice(list("abc"), 300)
    label = (rng.random(300) < np.where(group == "a", 0.6, 0.2)).astype(int)
    weight = rng.uniform(0.2, 1.0, 300) if weighted else np.ones(300)
    found = reweighed(label, {"g": group}, weight)
    overall = np.average(label, weights=weight)
    assert list(shares(label, group, found).values()) == pytest.approx([overall] * 3)
    assert found.sum() == pytest.approx(weight.sum())


def test_the_weights_are_those_of_kamiran_and_calders():
    # Their running example: 10 applicants, 4 of 5 men and 2 of 5 women accepted.
    label = np.array([1, 1, 1, 1, 0, 1, 1, 0, 0, 0])
    sex = ["m"] * 5 + ["f"] * 5
    found = reweighed(label, {"sex": sex}, np.ones(10))
    assert found[0] == pytest.approx(0.75)
    assert found[4] == pytest.approx(2.0)
    assert found[5] == pytest.approx(1.5)
    assert found[9] == pytest.approx(2 / 3)


def test_rows_of_no_group_keep_their_weight():
    label = np.array([1, 0, 1, 0, 1, 0])
    found = reweighed(label, {"g": ["a", "a", "b", "b", None, []]}, np.ones(6))
    assert found == pytest.approx(np.ones(6))
    assert reweighed(label, {"g": [None] * 6}, np.full(6, 0.5)) == pytest.approx(np.full(6, 0.5))


def test_groups_that_overlap_are_parted_from_the_label_too():
    rng = np.random.default_rng(0)
    groups = [
        list(rng.choice(["a", "b", "c"], rng.integers(0, 3), replace=False)) for _ in range(4000)
    ]
    label = (rng.random(4000) < [0.6 if "a" in g else 0.2 for g in groups]).astype(int)
    found = reweighed(label, {"g": groups}, np.ones(4000))

    def gap(weight):
        of = [np.array([name in g for g in groups]) for name in "abc"]
        rates = [np.average(label[rows], weights=weight[rows]) for rows in of]
        return max(rates) - min(rates)

    assert gap(np.ones(4000)) > 0.2
    assert gap(found) == pytest.approx(0, abs=1e-5)


def test_only_training_rows_are_reweighed(tmp_path):
    rng = np.random.default_rng(1)
    lang = rng.choice(["en", "de"], 300)
    table = pd.DataFrame(
        {
            "text": [f"post {i} of {w}" for i, w in enumerate(lang)],
            "y": (rng.random(300) < np.where(lang == "en", 0.7, 0.2)).astype(int),
            "lang": lang,
        }
    )
    table.to_parquet(tmp_path / "posts.parquet")
    config = DataConfig.model_validate(
        {"source": str(tmp_path / "posts.parquet"), "text": "text", "label": "y", "groups": "lang"}
    )
    ingest(config, name="posts", source_digest="", out=tmp_path / "snapshot")
    settings = FeatureConfig(reweight_groups=True, embedding="none")
    featurize(tmp_path / "snapshot", settings, tmp_path / "features")
    _, train = load_features(tmp_path / "features", "train")
    even = shares(train["_label"], train["_group_lang"], train["_weight"])
    assert even["en"] == pytest.approx(even["de"])
    for split in ("validation", "holdout"):
        _, rows = load_features(tmp_path / "features", split)
        assert set(rows["_weight"]) == {1.0}
    assert set(store.read_table(tmp_path / "snapshot" / "train.parquet")["_weight"]) == {1.0}


def test_training_rows_that_name_no_group_cannot_be_weighed(tmp_path):
    table = pd.DataFrame(
        {
            "text": [f"post {i}" for i in range(90)],
            "y": [i % 2 for i in range(90)],
            "split": [["train", "validation", "test"][i // 30] for i in range(90)],
            "lang": [None if i < 30 else "en" for i in range(90)],
        }
    )
    table.to_parquet(tmp_path / "posts.parquet")
    config = DataConfig.model_validate(
        {
            "source": str(tmp_path / "posts.parquet"),
            "text": "text",
            "label": "y",
            "groups": "lang",
            "split": "split",
        }
    )
    ingest(config, name="posts", source_digest="", out=tmp_path / "snapshot")
    settings = FeatureConfig(reweight_groups=True, embedding="none")
    with pytest.raises(BadInput, match="no training row names a group"):
        featurize(tmp_path / "snapshot", settings, tmp_path / "features")


def test_the_policy_asks_for_it_and_groups_are_needed(tmp_path):
    pd.DataFrame({"text": ["a"], "y": [1]}).to_parquet(tmp_path / "posts.parquet")
    data = {"source": str(tmp_path / "posts.parquet"), "text": "text", "label": "y"}

    def planned(**more):
        config = RunConfig.model_validate(
            {"name": "x", "data": {**data, **more}, "policy": {"mitigate": ["reweight"]}}
        )
        return plan_retrain(config, tmp_path / "models").arguments

    arguments = planned(groups="lang")
    assert '"mitigate":["reweight"]' in arguments["search_settings"]
    assert '"reweight_groups":false' in arguments["features"]
    with pytest.raises(BadInput, match=r"policy\.mitigate: there are no groups"):
        planned()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_rows_are_drawn_as_often_as_they_weigh(seed):
    rng = np.random.default_rng(seed)
    weight = rng.choice([0.0, 0.5, 2.0], 4000)
    weight[0] = 1.0
    drawn = resampled(weight, seed=seed)
    assert drawn.sum() == pytest.approx(weight.sum())
    assert (drawn[weight == 0] == 0).all()
    np.testing.assert_array_equal(drawn, resampled(weight, seed=seed))
    if (weight == 2).sum() > 1000:
        assert drawn[weight == 2].mean() == pytest.approx(2, abs=0.2)


def test_groups_that_are_served_badly_weigh_more_each_time():
    label = np.array([0, 0, 1, 1, 0, 1])
    groups = {"lang": ["en", "en", "en", "de", "de", None]}
    score = np.array([0.1, 0.1, 0.9, 0.2, 0.1, 0.5])
    even = np.ones(6)
    losses = group_losses(score, label, groups, even)
    assert max(losses, key=losses.get) == ("lang", "de", 1)
    np.testing.assert_array_equal(group_weights(label, groups, even, []), even)
    once = group_weights(label, groups, even, [losses])
    twice = group_weights(label, groups, even, [losses, losses])
    assert 1 < once[3] < twice[3]
    assert once[5] == twice[5] == 1
    assert once.sum() == pytest.approx(6)


def test_a_row_of_several_groups_weighs_as_their_mean():
    label = np.ones(3, dtype=int)
    groups = {"target": [["a"], ["b"], ["a", "b"]]}
    losses = {("target", "a", 1): 1.0, ("target", "b", 1): 0.0}
    found = group_weights(label, groups, np.ones(3), [losses])
    assert found[2] == pytest.approx((found[0] + found[1]) / 2)
