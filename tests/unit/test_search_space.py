import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import BadInput
from tidegate.models.interface import Choice, FloatRange, IntRange
from tidegate.search.space import contains, grid_points, parse_words, suggest, word

SPACE = {
    "rate": FloatRange(1e-6, 0.5, log=True),
    "depth": IntRange(2, 9),
    "mode": Choice(("fast", "slow")),
    "warm": Choice((True, False)),
}
points = st.fixed_dictionaries(
    {
        "rate": st.floats(1e-6, 0.5),
        "depth": st.integers(2, 9),
        "mode": st.sampled_from(["fast", "slow"]),
        "warm": st.booleans(),
    }
)


@given(points)
def test_a_point_survives_the_command_line(point):
    words = {name: word(value) for name, value in point.items()}
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", text) for text in words.values())
    assert all("e" not in words[name].lower() for name in ("rate", "depth"))
    assert parse_words(SPACE, words) == point
    assert contains(SPACE, point)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": "0.9"}, "rate: must be in [0.000001, 0.5], got 0.9; mend the value"),
        ({"rate": "fast"}, "rate: 'fast' is not a number; mend the value"),
        ({"rate": "nan"}, "rate: must be in [0.000001, 0.5], got nan; mend the value"),
        ({"depth": "2.5"}, "depth: '2.5' is not an integer; mend the value"),
        ({"mode": "FAST"}, "mode: got 'FAST'; write one of fast, slow"),
        ({"warm": "1"}, "warm: got '1'; write one of true, false"),
        ({"cold": "1"}, "cold: unknown hyperparameter; known: rate, depth, mode, warm"),
        ({"depth": None}, "depth: hyperparameter is missing; write depth=VALUE"),
    ],
)
def test_a_word_that_is_no_point_is_refused(change, message):
    words = {"rate": "0.1", "depth": "3", "mode": "fast", "warm": "true", **change}
    with pytest.raises(BadInput) as refused:
        parse_words(SPACE, {name: text for name, text in words.items() if text is not None})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "change", [{"rate": 0.6}, {"depth": 2.5}, {"depth": True}, {"warm": 1}, {"extra": 1}]
)
def test_a_point_outside_is_not_contained(change):
    assert not contains(SPACE, {"rate": 0.1, "depth": 3, "mode": "fast", "warm": True, **change})


def test_optuna_suggests_points_of_the_space():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest(SPACE, study.ask()) for _ in range(50)]
    assert all(contains(SPACE, point) for point in drawn)
    assert sum(point["rate"] < 1e-3 for point in drawn) > 15
    assert {type(point["warm"]) for point in drawn} == {bool}


DEFAULTS = {"rate": 0.01, "depth": 4, "mode": "slow", "warm": False}


@given(st.integers(1, 500))
def test_a_grid_is_as_large_as_it_may_be_and_lies_in_the_space(most):
    grid = grid_points(SPACE, DEFAULTS, most)
    counts = {name: len(values) for name, values in grid.items()}
    assert math.prod(counts.values()) <= most
    for name in ("rate", "depth"):
        # Whole numbers end at eight values; nothing else keeps a finer grid from fitting.
        finer = math.prod({**counts, name: counts[name] + 1}.values())
        assert finer > most or counts["depth"] == 8
    for point in itertools.product(*grid.values()):
        assert contains(SPACE, dict(zip(grid, point, strict=True)))


def test_a_grid_of_one_point_is_the_defaults_and_a_larger_one_has_the_ends():
    assert grid_points(SPACE, DEFAULTS, 1) == {name: (v,) for name, v in DEFAULTS.items()}
    grid = grid_points({"rate": SPACE["rate"]}, DEFAULTS, 3)
    assert grid["rate"] == pytest.approx((1e-6, (1e-6 * 0.5) ** 0.5, 0.5), rel=1e-5)
