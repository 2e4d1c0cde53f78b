import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tidegate.config import DataConfig
from tidegate.data.ingest import build_snapshot
from tidegate.data.retrain_data import allocate, mix
from tidegate.errors import BadInput

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=8)


@given(SIZES, st.integers(0, 200))
def test_an_allocation_uses_up_what_it_can_and_is_as_even_as_sizes_allow(sizes, total):
    given_rows = allocate(sizes, total)
    assert sum(given_rows) == min(total, sum(sizes))
    assert all(0 <= n <= size for n, size in zip(given_rows, sizes, strict=True))
    most = max(given_rows)
    for n, size in zip(given_rows, sizes, strict=True):
        assert n == size or n >= most - 1


def table(labels, first=0):
    return pd.DataFrame({"id": np.arange(first, first + len(labels)), "label": labels})


@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.integers(0, 30),
    st.floats(0, 0.9),
    st.none() | st.integers(1, 50),
    st.integers(0, 3),
)
def test_a_mix_keeps_to_its_numbers_and_to_rows_that_there_are(past, recent, share, rows, seed):
    old, new = table(past), table([0] * recent, first=1000)
    mixed = mix(new, old, memory_share=share, strata=["label"], rows=rows, seed=seed)
    remembered = mixed[mixed["id"] < 1000]
    wanted = recent * share / (1 - share)
    assert len(remembered) <= min(len(old), round(wanted) + 1)
    assert rows is None or len(mixed) <= rows
    assert mixed["id"].is_unique
    assert mixed["id"].is_monotonic_increasing
    if rows is None:
        assert len(mixed) == recent + min(len(old), round(wanted))
    strata = old["label"].nunique()
    if len(remembered) >= strata:
        assert remembered["label"].nunique() == strata
    again = mix(new, old, memory_share=share, strata=["label"], rows=rows, seed=seed)
    pd.testing.assert_frame_equal(mixed, again)


def test_rare_abuse_of_the_past_is_remembered_whole():
    past = table([0] * 990 + [1] * 10)
    mixed = mix(table([0] * 50, 2000), past, memory_share=0.5, strata=["label"])
    assert (mixed["label"] == 1).sum() == 10
    assert len(mixed) == 100


def test_another_seed_remembers_other_rows():
    past, recent = table([0] * 500), table([0] * 50, 2000)
    first, second = (
        mix(recent, past, memory_share=0.5, strata=["label"], seed=seed)["id"].tolist()
        for seed in (0, 1)
    )
    assert first != second


def test_of_a_recent_window_that_is_too_long_the_newest_rows_stay():
    mixed = mix(table([0] * 100, 2000), table([0] * 100), memory_share=0.25, strata=[], rows=40)
    assert mixed["id"].tolist()[10:] == list(range(2070, 2100))


@pytest.mark.parametrize("wrong", [{"memory_share": 1.0}, {"rows": 0}, {"strata": ["place"]}])
def test_numbers_and_columns_that_cannot_be_are_refused(wrong):
    asked = {"memory_share": 0.5, "strata": ["label"], **wrong}
    with pytest.raises(ValueError, match=r"memory_share|rows|place"):
        mix(table([0] * 5), table([1] * 5), **asked)


def timed_posts(days=100):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "text": [f"post {day} {rng.integers(10**9)}" for day in range(4 * days)],
            "y": [0, 0, 0, 1] * days,
            "at": np.repeat(pd.date_range("2026-01-01", periods=days, freq="D"), 4),
            "place": (["home"] * 39 + ["pier"]) * (days // 10),
            "ties": [["a"], ["a", "b"]] * (2 * days),
        }
    )


def snapshot_of(table, **changes):
    data = {"source": "-", "text": "text", "label": "y", "time": "at", "groups": ["ties"]}
    config = DataConfig.model_validate({**data, **changes})
    return build_snapshot(table, config, name="toy", source_digest="")


def test_a_retrain_learns_from_recent_rows_and_remembers_every_stratum_of_the_past():
    whole, before = snapshot_of(timed_posts())
    how = {"recent_days": 20, "memory_share": 0.25, "strata": ["place", "ties"]}
    mixed, after = snapshot_of(timed_posts(), mix=how)
    train, newest = after["train"], before["train"]["_time"].max()
    recent = train["_time"] > newest - pd.Timedelta(days=20)
    assert recent.sum() == (before["train"]["_time"] > newest - pd.Timedelta(days=20)).sum()
    assert (~recent).sum() == round(recent.sum() / 3)
    assert train["_time"].is_monotonic_increasing
    old = train[~recent]
    assert set(old["place"]) == {"home", "pier"}
    assert {tuple(ties) for ties in old["_group_ties"]} == {("a",), ("a", "b")}
    for split in ("validation", "holdout"):
        pd.testing.assert_frame_equal(after[split], before[split])
    assert mixed.digest != whole.digest
    assert snapshot_of(timed_posts(), mix=how)[0].digest == mixed.digest
    assert snapshot_of(timed_posts(), mix={**how, "seed": 1})[0].digest != mixed.digest
    assert f"training rows are the {recent.sum()} of the last 20 days" in mixed.notices[-1]


def test_a_row_without_a_time_is_no_recent_one():
    table = timed_posts()
    table.loc[::3, "at"] = pd.NaT
    _, tables = snapshot_of(table, mix={"recent_days": 10, "memory_share": 0.0})
    assert tables["train"]["_time"].notna().all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"strata": ["colour"]}, "data.mix.strata: the training rows have no column 'colour'"),
        ({"recent_days": 0.5, "memory_share": 0.0}, "all of one class"),
    ],
)
def test_a_mix_that_cannot_be_learned_from_is_refused(changes, told):
    table = timed_posts()
    table.loc[table["at"] > "2026-04-08", "y"] = 0
    with pytest.raises(BadInput, match=told):
        snapshot_of(table, mix=changes, split={"by": "random", "validation": 0.1, "holdout": 0.1})


def test_a_mix_needs_times():
    with pytest.raises(ValidationError, match=r"name the time column in data.time"):
        DataConfig.model_validate({"source": "-", "label": "y", "mix": {}})
