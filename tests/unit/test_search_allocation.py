from hypothesis import given
from hypothesis import strategies as st

from tidegate.search.allocation import Allocation


def allocation(seed=0, **histories):
    """An allocation in which algorithms of a relative cost of 1 have tried these."""
    found = Allocation(dict.fromkeys(histories, 1.0), seed=seed)
    for name, trials in histories.items():
        for cost, reached in trials:
            found.learn(name, cost=cost, average_precision=reached)
    return found


def test_every_algorithm_starts_once_cheap_ones_first():
    found = Allocation({"dear": 9.0, "cheap": 1.0, "middling": 3.0}, seed=0)
    names = ["dear", "cheap", "middling"]
    assert [found.choose(names) for _ in names] == ["cheap", "middling", "dear"]


def test_an_algorithm_that_still_rises_is_cheaper_to_improve_than_one_that_levelled_off():
    found = allocation(
        rising=[(1, 0.5), (1, 0.6), (1, 0.7)],
        level=[(1, 0.7), (1, 0.6), (1, 0.6), (1, 0.5)],
    )
    assert found.improvement_cost("rising") < found.improvement_cost("level")


def test_catching_up_costs_what_the_gap_takes_at_the_speed_so_far():
    found = allocation(ahead=[(1, 0.8)], behind=[(2, 0.2), (2, 0.4)])
    # 0.2 gained since the best before, 2 spent since then: 0.4 more costs 4.
    assert abs(found.improvement_cost("behind") - 4) < 1e-6


def test_an_algorithm_whose_trials_crash_costs_all_that_was_spent_on_it():
    found = allocation(crashing=[(3, None), (4, None)], sound=[(1, 0.5)])
    assert found.improvement_cost("crashing") >= 7


def test_an_untried_algorithm_is_expected_to_cost_its_share_of_what_others_did():
    found = Allocation({"tried": 2.0, "untried": 10.0}, seed=0)
    found.learn("tried", cost=4.0, average_precision=0.5)
    assert found.expected_cost("untried") == 20.0
    assert found.expected_cost("tried") == 4.0


def test_nothing_has_levelled_off_before_it_was_tried():
    found = allocation(tried=[(1, 0.5), *[(1, 0.4)] * 50], untried=[])
    assert found.has_levelled_off(10, ["tried"])
    assert not found.has_levelled_off(10, ["tried", "untried"])


trials = st.lists(st.tuples(st.floats(0.01, 100), st.none() | st.floats(0, 1)), max_size=8)


@given(trials, trials, st.integers(0, 3))
def test_choices_depend_on_the_seed_and_the_results_alone(first, second, seed):
    one, two = (allocation(seed, a=first, b=second) for _ in range(2))
    chosen = [one.choose(["a", "b"]) for _ in range(6)]
    assert chosen == [two.choose(["a", "b"]) for _ in range(6)]
    assert one.improvement_cost("a") > 0
    assert allocation(seed, a=first, b=second).choose(["b"]) == "b"
