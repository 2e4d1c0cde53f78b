"""Slices where the model is worst are found; chance ones are not."""

import time

import numpy as np
import pandas as pd
import pytest

from tidegate.config import PolicyConfig
from tidegate.evaluation.slices import confident_errors, worst_slices
from tidegate.models.slice_columns import slice_columns
from tidegate.records import SLICE_PREFIX, Column

POLICY = PolicyConfig(min_group_rows=40)


def scored(rows=3000, seed=0, columns=4):
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.3).astype(int)
    score = np.clip(0.25 + 0.5 * label + 0.2 * rng.normal(size=rows), 0, 1)
    extra = {f"{SLICE_PREFIX}c{i}": rng.choice(["a", "b", "c", "d"], rows) for i in range(columns)}
    return pd.DataFrame({"id": np.arange(rows), "label": label, "score": score, **extra})


def found(frame, groups=(), threshold=0.6):
    return worst_slices(frame, groups=groups, threshold=threshold, policy=POLICY)


def conditions(slices):
    return [tuple((c.column, c.value) for c in s.conditions) for s in slices]


def spoiled(frame, rows):
    return frame.assign(score=np.where(rows, 1 - frame["score"], frame["score"]))


def test_a_spoiled_value_is_the_worst_slice():
    frame = scored()
    frame = spoiled(frame, frame[f"{SLICE_PREFIX}c1"] == "b")
    worst = found(frame)[0]
    assert conditions([worst]) == [(("c1", "b"),)]
    assert worst.loss > 2 * worst.loss_elsewhere
    assert worst.n == int((frame[f"{SLICE_PREFIX}c1"] == "b").sum())
    rows = frame[frame[f"{SLICE_PREFIX}c1"] == "b"]
    assert worst.recall == pytest.approx((rows["score"] >= 0.6)[rows["label"] == 1].mean())


def test_what_two_values_share_is_found_where_neither_alone_is_as_bad():
    frame = scored(rows=6000)
    frame = spoiled(
        frame, (frame[f"{SLICE_PREFIX}c0"] == "a") & (frame[f"{SLICE_PREFIX}c2"] == "d")
    )
    assert conditions(found(frame))[0] == (("c0", "a"), ("c2", "d"))


def test_groups_of_lists_are_slices_too():
    frame = scored(columns=0)
    rng = np.random.default_rng(1)
    frame["target"] = [["x", "y"][: int(k)] for k in rng.integers(0, 3, len(frame))]
    frame = spoiled(frame, [("y" in names) for names in frame["target"]])
    assert (("target", "y"),) in conditions(found(frame, groups=["target"]))


def test_chance_slices_are_told_no_more_often_than_the_policy_allows():
    told = [bool(found(scored(seed=seed, rows=1500))) for seed in range(60)]
    # With nothing to find, the false-discovery rate is the chance of telling anything.
    assert np.mean(told) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 60)


def test_small_slices_and_columns_of_names_are_not_looked_at():
    frame = scored(columns=0)
    frame[f"{SLICE_PREFIX}rare"] = ["rare"] * 20 + ["other"] * (len(frame) - 20)
    frame[f"{SLICE_PREFIX}name"] = [f"n{i % 300}" for i in range(len(frame))]
    frame = spoiled(frame, np.arange(len(frame)) < 20)
    assert found(frame) == ()


def test_ten_thousand_rows_of_many_columns_take_seconds():
    frame = scored(rows=10_000, columns=12)
    begin = time.process_time()
    found(frame)
    assert time.process_time() - begin < 5


def test_the_most_confident_errors_come_first_and_right_rows_never():
    frame = pd.DataFrame(
        {
            "id": list("abcdef"),
            "label": [0, 0, 1, 1, 0, 1],
            "score": [0.9, 0.7, 0.1, 0.4, 0.2, 0.8],
        }
    )
    errors = confident_errors(frame, 0.6)
    assert [(e.id, e.label, e.score) for e in errors] == [
        ("a", 0, 0.9),
        ("b", 0, 0.7),
        ("c", 1, 0.1),
        ("d", 1, 0.4),
    ]


def test_slicing_columns_are_categories_lengths_and_scripts():
    rows = pd.DataFrame(
        {"body": ["", "short", "привет " * 10, "12345"], "lang": ["a", None, "b", "a"]}
    )
    columns = (Column(name="body", kind="text"), Column(name="lang", kind="categorical"))
    got = slice_columns(rows, columns)
    assert list(got[f"{SLICE_PREFIX}body.length"]) == [
        "empty",
        "1–20 characters",
        "51–100 characters",
        "1–20 characters",
    ]
    assert got[f"{SLICE_PREFIX}body.script"] == ["no letters", "latin", "cyrillic", "no letters"]
    assert list(got[f"{SLICE_PREFIX}lang"]) == ["a", None, "b", "a"]
