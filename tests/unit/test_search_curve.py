import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.records import CurvePoint
from tidegate.search.curve import curve_verdict


def curve(train, validation):
    return [
        CurvePoint(
            step=step, train_log_loss=t, validation_log_loss=v, validation_average_precision=0.5
        )
        for step, (t, v) in enumerate(zip(train, validation, strict=True))
    ]


FALLING = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("validation", "verdict"),
    [
        ([0.6, 0.55, 0.5, 0.45, 0.4, 0.35], "underfit"),
        ([0.6, 0.5, 0.45, 0.44, 0.44, 0.44], "fits"),
        ([0.6, 0.5, 0.45, 0.5, 0.6, 0.7], "overfit"),
        ([0.6, 0.5, 0.45, 0.451, 0.452, 0.453], "fits"),
    ],
)
def test_the_end_of_the_validation_loss_tells(validation, verdict):
    assert curve_verdict(curve(FALLING, validation)) == verdict


def test_a_loss_that_rises_on_training_rows_too_is_no_overfit():
    validation = [0.6, 0.5, 0.45, 0.5, 0.6, 0.7]
    assert curve_verdict(curve(validation, validation)) != "overfit"


def test_a_short_curve_tells_nothing():
    assert curve_verdict(curve([0.5] * 3, [0.9, 0.5, 0.1])) == "unknown"


losses = st.floats(0.01, 5)


@given(st.lists(st.tuples(losses, losses), min_size=4, max_size=30))
def test_a_curve_that_ends_at_its_lowest_is_never_an_overfit(pairs):
    train, validation = zip(*pairs, strict=True)
    lowest = (*validation[:-1], min(validation))
    assert curve_verdict(curve(train, lowest)) in ("underfit", "fits")
