from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.monitoring.slipping import slipping_quality, slope_test
from tidegate.records import GoldenSetFigures, PastEvaluation


def evaluated(number, value, holdout="a", golden=None):
    figures = golden and GoldenSetFigures(
        digest=golden[0],
        rows=100,
        violating=10,
        average_precision=golden[1],
        roc_auc=0.9,
        threshold=None,
        precision=None,
        precision_lower_bound=None,
        recall=None,
        recall_ci=None,
    )
    return PastEvaluation(
        run_digest=f"run-{number}",
        evaluated_at=f"2026-01-{number + 1:02d}T00:00:00+00:00",
        algorithm="logistic",
        holdout_digest=holdout,
        decision="promote",
        average_precision=value,
        golden=figures,
    )


def history(values, **named):
    return [evaluated(i, value, **named) for i, value in enumerate(values)]


def said(entries, confidence=0.95):
    return slipping_quality(entries, model="comments", confidence=confidence)


def test_a_slow_fall_that_no_single_gate_minds_pages_somebody():
    signal = said(history([0.80, 0.795, 0.79, 0.78, 0.78, 0.77]))
    assert signal is not None
    assert signal.cause == "slipping_quality"
    assert signal.window == "run-5"
    assert "0.800 to 0.770 over 6 retrains" in signal.says


@pytest.mark.parametrize(
    "values",
    [
        [0.9, 0.8, 0.7, 0.6],
        [0.7, 0.72, 0.73, 0.75, 0.8, 0.81],
        [0.8] * 9,
        [0.8, 0.7, 0.8, 0.7, 0.8],
    ],
    ids=["four are too few", "rising", "level", "to and fro"],
)
def test_no_fall_no_page(values):
    assert said(history(values)) is None


def test_retrains_on_other_rows_do_not_count():
    fallen = history([0.9, 0.8, 0.7, 0.6])
    assert said([*fallen, *history([0.5, 0.5, 0.5], holdout="b")]) is None


def test_the_golden_set_goes_before_the_holdout():
    entries = [evaluated(i, 0.8, golden=("g", 0.9 - 0.02 * i)) for i in range(6)]
    signal = said(entries)
    assert signal is not None
    assert signal.evidence["rows"] == "golden set"


def test_without_history_nothing_is_said():
    assert said([]) is None


@pytest.mark.parametrize("length", [5, 6])
def test_without_a_trend_alarms_are_as_rare_as_stated(length):
    rng = np.random.default_rng(length)
    alarms = sum(slope_test(rng.normal(size=length))[1] <= 0.1 for _ in range(100))
    assert alarms <= 20  # 10 are expected; more than 20 come less than once in 200 times


def test_a_long_steady_fall_is_as_unlikely_as_the_draws_can_tell():
    slope, p_value = slope_test(np.linspace(0.9, 0.7, 21))
    assert slope == pytest.approx(-0.01)
    assert p_value <= 2 / 20_001


@given(st.lists(st.integers(0, 5), min_size=2, max_size=5))
def test_the_exact_p_value_is_the_share_of_orders_that_fall_as_steeply(values):
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    falls = [
        steps @ np.array(order) <= steps @ np.array(values) + 1e-9 for order in permutations(values)
    ]
    assert slope_test(values)[1] == pytest.approx(np.mean(falls))
