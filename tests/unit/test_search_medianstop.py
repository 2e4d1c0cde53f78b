from hypothesis import given
from hypothesis import strategies as st

from tidegate.search.medianstop import StopRule, stop_rule

values = st.floats(0, 1)
histories = st.lists(st.lists(values, min_size=1, max_size=8), min_size=1, max_size=6)


def test_there_is_no_rule_while_too_few_trials_have_succeeded():
    assert stop_rule([[0.5], [0.6]], min_trials=3, start_step=4) is None


def test_the_floor_is_the_mean_of_the_first_reports_averages():
    rule = stop_rule([[0.1, 0.3, 0.9], [0.5, 0.7, 0.0]], min_trials=2, start_step=2)
    assert rule == StopRule(floor=(0.2 + 0.6) / 2, start_step=2)


def test_a_trial_with_fewer_reports_counts_with_those_it_made():
    assert stop_rule([[0.4]], min_trials=1, start_step=4) == StopRule(0.4, 4)


def test_the_rule_looks_at_one_report_only_and_at_the_best_so_far():
    rule = StopRule(floor=0.5, start_step=3)
    assert not rule.stops([0.1, 0.1])
    assert rule.stops([0.1, 0.4, 0.2])
    assert not rule.stops([0.1, 0.6, 0.2])
    assert not rule.stops([0.1, 0.1, 0.1, 0.1])


def test_a_trial_exactly_at_the_floor_goes_on():
    assert not StopRule(floor=0.5, start_step=1).stops([0.5])


@given(histories, st.integers(1, 6))
def test_the_floor_lies_among_the_values_that_made_it(succeeded, start_step):
    rule = stop_rule(succeeded, min_trials=1, start_step=start_step)
    first = [value for history in succeeded for value in history[:start_step]]
    assert min(first) - 1e-9 <= rule.floor <= max(first) + 1e-9


@given(histories, st.lists(values, min_size=1, max_size=10), st.integers(1, 6))
def test_a_trial_that_beats_every_earlier_one_is_never_stopped(succeeded, reported, start_step):
    rule = stop_rule(succeeded, min_trials=1, start_step=start_step)
    best = max(max(history) for history in succeeded) + 1e-6
    for seen in range(1, len(reported) + 1):
        assert not rule.stops([best, *reported[:seen]])
