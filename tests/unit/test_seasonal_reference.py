import numpy as np
import pandas as pd
import pytest

from tidegate.monitoring.reference import matching_rows


def times(start, hours):
    return pd.Series(pd.date_range(start, periods=hours, freq="h", tz="UTC"))


REFERENCE = pd.DataFrame({"time": times("2026-01-05", 24 * 7 * 8)})


def match(reference, window, min_rows=20):
    return matching_rows(reference, window, min_rows=min_rows, seed=0)


def test_a_saturday_is_compared_with_saturdays():
    norm = match(REFERENCE, times("2026-05-09", 24))
    assert set(norm.rows["time"].dt.dayofweek) == {5}
    assert len(norm.rows) == 8 * 24
    assert norm.says == "192 of 1,344 reference rows, of the same weekday and quarter of a day"


def test_rows_come_in_the_windows_own_proportions():
    window = pd.concat([times("2026-05-04 00:00", 6)] * 3 + [times("2026-05-04 06:00", 6)])
    rows = match(REFERENCE, window, min_rows=10).rows
    early = (rows["time"].dt.hour < 6).mean()
    assert early == pytest.approx(0.75, abs=0.01)


def test_whole_weeks_take_the_whole_reference():
    assert len(match(REFERENCE, times("2026-05-06", 24 * 7)).rows) == len(REFERENCE)


def test_whole_weeks_are_compared_with_whole_weeks():
    reference = REFERENCE.iloc[: 24 * 30]  # four weeks and two days
    norm = match(reference, times("2026-05-06", 24 * 7))
    assert len(norm.rows) == 24 * 28
    assert norm.rows["time"].max() == reference["time"].max()
    assert norm.says == "672 of 720 reference rows: the latest 4 whole weeks"


def test_a_reference_of_exactly_two_weeks_knows_the_season():
    norm = match(REFERENCE.iloc[: 24 * 14], times("2026-05-09", 24))
    assert set(norm.rows["time"].dt.dayofweek) == {5}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (pd.DataFrame({"score": np.zeros(30)}), "they have no time"),
        (REFERENCE.iloc[: 24 * 7], "they span under two weeks"),
        (REFERENCE[REFERENCE["time"].dt.dayofweek < 5], "too few are of the same weekdays"),
    ],
)
def test_a_reference_that_knows_no_season_is_taken_whole(reference, says):
    norm = match(reference, times("2026-05-09", 24))
    assert len(norm.rows) == len(reference)
    assert says in norm.says
