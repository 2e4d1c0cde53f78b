import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import DataConfig
from tidegate.data.labels import read_labels, read_weights, value_name
from tidegate.data.times import read_times
from tidegate.errors import BadInput


def _labels(values, violating=None):
    config = DataConfig.model_validate({"source": "-", "label": "y", "violating": violating})
    return read_labels([value_name(value) for value in values], config).tolist()


@pytest.mark.parametrize(
    "values", [[0, 1], [0.0, 1.0], [False, True], ["0", "1"], ["false", "TRUE"], [np.int8(0), 1]]
)
def test_every_spelling_of_zero_and_one_is_read(values):
    assert _labels(values) == [0, 1]


def test_the_named_classes_violate_and_all_others_do_not():
    assert _labels(["hate", "normal", "offensive"], ["hate", "offensive"]) == [1, 0, 1]
    assert _labels([1, 2, 3, 2.0], [2, 3]) == [0, 1, 1, 1]
    assert _labels([True, False], [False]) == [0, 1]


def test_missing_values_have_no_name():
    missing = [None, np.nan, pd.NA, pd.NaT, "", "  "]
    assert [value_name(value) for value in missing] == [None] * 6


@pytest.mark.parametrize(
    ("values", "violating", "message"),
    [
        ([0, 1, 2], None, "the values '0', '1', '2', which are not 0/1"),
        (["spam", "ham"], ["spma"], "'spma' never occurs in column 'y'"),
        (["spam", "ham"], ["spma"], "did you mean 'spam'?"),
        (["yes", "no"], [True], "put the value in quotes"),
        (["spam", "ham"], ["spam", "ham"], "every row is violating"),
        ([f"private {n}" for n in range(50)], None, "50 different values"),
    ],
)
def test_an_unknown_label_value_is_refused_with_its_mend(values, violating, message):
    with pytest.raises(BadInput) as caught:
        _labels(values, violating)
    assert message in str(caught.value)


def test_many_values_are_counted_not_shown():
    with pytest.raises(BadInput) as caught:
        _labels([f"private {n}" for n in range(50)])
    assert "private" not in str(caught.value)


def test_weights_follow_the_label_source():
    sources = pd.Series(["appeal", "report", None, "other"])
    weights = read_weights(sources, {"appeal": 0.9, "report": 0.3}, 4)
    assert weights.tolist() == [0.9, 0.3, 1.0, 1.0]
    assert read_weights(None, {}, 2).tolist() == [1.0, 1.0]


def test_an_unknown_label_source_is_refused_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'appeal'"):
        read_weights(pd.Series(["appeal"]), {"apeal": 0.9}, 1)


def test_a_source_that_no_row_has_this_time_is_no_mistake():
    weights = read_weights(pd.Series(["report"]), {"report": 0.3, "appeal": 0.9}, 1)
    assert weights.tolist() == [0.3]


MOMENT = pd.Timestamp("2024-05-01T12:00:00Z")


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([MOMENT]),
        pd.Series([MOMENT.tz_localize(None)]),
        pd.Series([MOMENT.tz_convert("Asia/Tokyo")]),
        pd.Series(["2024-05-01T12:00:00Z"]),
        pd.Series(["2024-05-01 14:00:00+02:00"]),
        pd.Series(["2024-05-01T12:00"]),
        pd.Series([MOMENT.timestamp()]),
        pd.Series([str(int(MOMENT.timestamp()))]),
        pd.Series([int(MOMENT.timestamp() * 1e3)]),
        pd.Series([int(MOMENT.timestamp() * 1e6)]),
        pd.Series([MOMENT.value]),
    ],
)
def test_every_spelling_of_a_moment_is_the_same_moment(values):
    assert read_times(values, "t").tolist() == [MOMENT]


def test_dates_are_midnight_and_missing_values_stay_missing():
    dates = pd.Series([pd.Timestamp("2024-05-01").date(), None])
    parsed = read_times(dates, "t")
    assert parsed.iloc[0] == pd.Timestamp("2024-05-01T00:00:00Z")
    assert parsed.isna().tolist() == [False, True]


def test_unparseable_times_are_counted_with_their_first_row_and_not_shown():
    values = pd.Series(["2024-05-01", "private words", None, "never"])
    with pytest.raises(BadInput) as caught:
        read_times(values, "t")
    assert "2 of 4 values in column 't' are not times, the first in row 2" in str(caught.value)
    assert "private" not in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.datetimes(pd.Timestamp("1995-01-01"), pd.Timestamp("2100-01-01")), min_size=1))
def test_iso_strings_round_trip_to_the_microsecond(moments):
    parsed = read_times(pd.Series([moment.isoformat() for moment in moments]), "t")
    assert [t.tz_localize(None).to_pydatetime() for t in parsed] == moments
