import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.monitoring.retrain_data import allocate, mix

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
