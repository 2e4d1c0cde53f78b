from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import TriggerConfig
from tidegate.errors import Conflict
from tidegate.monitoring.trigger import decide, ended, pull, repeat, settled
from tidegate.records import Signal, TriggerState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
CONFIG = TriggerConfig(cooldown_hours=24, max_per_day=3)
NEW = TriggerState(model="comments")


def noticed(cause="concept_drift", window="2026-01-04", **named):
    return Signal(model="comments", window=window, cause=cause, says="it moved", **named)


def later(hours):
    return NOON + timedelta(hours=hours)


class Store:
    """States by revision; `rival` writes in between."""

    def __init__(self, rivals=0):
        self.state, self.revision, self.rivals = None, None, rivals

    def read(self):
        return self.state, self.revision

    def write(self, state, *, revision):
        if self.rivals or revision != self.revision:
            self.rivals -= 1
            raise Conflict
        self.state, self.revision = state, str(int(self.revision or 0) + 1)


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ("prior_shift", "threshold_update"),
        ("covariate_shift", "light_refresh"),
        ("new_labels", "light_refresh"),
        ("concept_drift", "full_retrain"),
        ("quality_loss", "full_retrain"),
        ("slipping_quality", "page"),
        ("unclear", "page"),
        ("hand", "full_retrain"),
    ],
)
def test_every_cause_has_the_smallest_remedy_that_helps(cause, remedy):
    _, verdict = decide(NEW, [noticed(cause)], NOON, CONFIG)
    assert verdict.request.remedy == remedy
    assert verdict.why == f"{remedy} for {cause}: it moved"


def test_nothing_noticed_asks_for_nothing():
    state, verdict = decide(NEW, [], NOON, CONFIG)
    assert (state, verdict.request) == (NEW, None)


def test_several_causes_are_one_request_for_the_strongest():
    signals = [noticed("prior_shift"), noticed("concept_drift"), noticed("covariate_shift")]
    _, verdict = decide(NEW, signals, NOON, CONFIG)
    assert verdict.request.remedy == "full_retrain"
    assert verdict.request.causes == ("concept_drift", "prior_shift", "covariate_shift")
    assert verdict.why.endswith("(with 1 covariate_shift, 1 prior_shift)")


def test_a_storm_of_ten_thousand_alarms_gives_one_run():
    store, ran = Store(), []
    for number in range(10_000):
        signal = noticed(window=f"2026-01-{number % 31 + 1:02d}T{number}")
        pull(store, "comments", [signal], later(number / 10_000), CONFIG, ran.append)
    assert len({request.name for request in ran}) == len(ran) == 1
    store.state = ended(store.state, ran[0].name, replaced_model=True)
    assert pull(store, "comments", [], later(50), CONFIG, ran.append).request is None


def test_the_same_alarm_told_twice_is_acted_on_once_whatever_the_time():
    state, first = decide(NEW, [noticed()], NOON, CONFIG)
    state = ended(state, first.request.name, replaced_model=False)
    _, second = decide(state, [noticed()], later(100), CONFIG)
    assert second.request is None
    _, other = decide(NEW, [noticed()], later(3), CONFIG)
    assert other.request.name == first.request.name


def test_what_is_noticed_while_a_run_goes_on_waits_and_is_merged():
    state, first = decide(NEW, [noticed()], NOON, CONFIG)
    state, verdict = decide(state, [noticed("covariate_shift", "a")], later(1), CONFIG)
    assert verdict.why == f"{first.request.name} still runs; 1 signal waits"
    state = ended(state, first.request.name, replaced_model=False)
    state, verdict = decide(state, [], later(2), CONFIG)
    assert verdict.why == "cooling down until 2026-01-06T12:00:00+00:00; 1 signal waits"
    _, verdict = decide(state, [], later(25), CONFIG)
    assert verdict.request.causes == ("covariate_shift",)


def test_a_run_that_never_ends_holds_nothing_up_for_longer_than_it_may():
    state, _ = decide(NEW, [noticed()], NOON, CONFIG)
    _, verdict = decide(state, [noticed(window="b")], later(25), CONFIG)
    assert verdict.request.window == "b"


def test_a_persons_hand_does_not_wait_for_the_rest_but_for_the_run():
    state, first = decide(NEW, [noticed()], NOON, CONFIG)
    hand = noticed("hand", wants="light_refresh")
    state, verdict = decide(state, [hand], later(1), CONFIG)
    assert verdict.request is None
    state = ended(state, first.request.name, replaced_model=True)
    _, verdict = decide(state, [], later(2), CONFIG)
    assert verdict.request.remedy == "light_refresh"


def test_a_cause_that_retrains_do_not_end_pages_a_person_even_while_one_runs():
    config = CONFIG.model_copy(update={"page_after": 2})
    state = NEW
    for round_ in range(2):
        state, verdict = decide(state, [noticed(window=str(round_))], later(30 * round_), config)
        assert verdict.request.remedy == "full_retrain"
        if round_ == 0:
            state = ended(state, verdict.request.name, replaced_model=True)
    _, verdict = decide(state, [noticed(window="2")], later(31), config)
    assert verdict.request.remedy == "page"
    _, verdict = decide(settled(state, ["concept_drift"]), [noticed(window="2")], later(80), config)
    assert verdict.request.remedy == "full_retrain"


def test_after_so_many_light_refreshes_the_next_one_searches_anew():
    config = CONFIG.model_copy(update={"full_after_refreshes": 2, "page_after": 9})
    state, remedies = NEW, []
    for round_ in range(4):
        signal = noticed("covariate_shift", str(round_))
        state, verdict = decide(state, [signal], later(30 * round_), config)
        remedies.append(verdict.request.remedy)
        state = ended(state, verdict.request.name, replaced_model=True)
    assert remedies == ["light_refresh", "light_refresh", "full_retrain", "light_refresh"]


def test_a_schedule_is_due_when_nothing_else_retrained_so_long():
    config = CONFIG.model_copy(update={"schedule_days": 7.0})
    state, verdict = decide(NEW, [noticed()], NOON, config)
    state = ended(state, verdict.request.name, replaced_model=True)
    state, verdict = decide(state, [], later(24 * 6), config)
    assert verdict.request is None
    _, verdict = decide(state, [], later(24 * 7), config)
    assert verdict.request.causes == ("schedule",)
    assert "7.0 days ago" in verdict.why


def test_who_loses_the_race_reads_again_and_asks_for_nothing_twice():
    store, ran = Store(rivals=3), []
    verdict = pull(store, "comments", [noticed()], NOON, CONFIG, ran.append)
    assert [request.name for request in ran] == [verdict.request.name]
    assert repeat(store, ran.append).name == verdict.request.name
    with pytest.raises(Conflict, match="changed 20 times"):
        pull(Store(rivals=99), "comments", [noticed()], NOON, CONFIG, ran.append)


SIGNALS = st.builds(
    noticed,
    st.sampled_from(["prior_shift", "covariate_shift", "concept_drift", "hand", "new_labels"]),
    st.sampled_from("abcdef"),
)


@given(st.lists(st.tuples(st.lists(SIGNALS, max_size=4), st.floats(0.1, 30)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_no_more_than_so_many_a_day_and_never_two_at_once(rounds):
    state, now, asked = NEW, NOON, []
    for signals, hours in rounds:
        now += timedelta(hours=hours)
        before = state.running
        state, verdict = decide(state, signals, now, CONFIG)
        request = verdict.request
        if request is None or request.remedy == "page":
            continue
        overdue = before and now - datetime.fromisoformat(before.asked_at) >= timedelta(hours=24)
        assert before is None or overdue
        if "hand" not in request.causes:
            assert not asked or now - asked[-1] >= timedelta(hours=24)
        asked.append(now.replace(microsecond=0))


def test_while_the_last_retrain_is_young_refreshes_wait_and_new_thresholds_do_not():
    config = TriggerConfig(cooldown_hours=0, refresh_rest_hours=14 * 24)
    state, verdict = decide(NEW, [noticed("covariate_shift")], NOON, config)
    state = ended(state, verdict.request.name, replaced_model=True)
    both = [noticed("new_labels", "2026-01-10"), noticed("stale_threshold", "2026-01-10")]
    state, verdict = decide(state, both, later(24), config)
    assert verdict.request.remedy == "threshold_update"
    state = ended(state, verdict.request.name, replaced_model=False)
    state, verdict = decide(state, [], later(25), config)
    assert "too recent" in verdict.why
    state, verdict = decide(state, [], later(14 * 24), config)
    assert verdict.request.remedy == "light_refresh"


def test_a_moved_concept_does_not_wait_for_a_young_retrain_to_age():
    config = TriggerConfig(cooldown_hours=0, refresh_rest_hours=14 * 24)
    state, verdict = decide(NEW, [noticed("covariate_shift")], NOON, config)
    state = ended(state, verdict.request.name, replaced_model=True)
    _, verdict = decide(state, [noticed("concept_drift", "2026-01-06")], later(24), config)
    assert verdict.request.remedy == "full_retrain"


def test_a_page_for_an_unclear_change_takes_the_place_of_no_other_remedy():
    signals = [noticed("covariate_shift"), noticed("unclear")]
    state, verdict = decide(NEW, signals, NOON, CONFIG)
    assert (verdict.request.remedy, verdict.request.causes) == ("page", ("unclear",))
    state, verdict = decide(state, [], NOON, CONFIG)
    assert verdict.request.remedy == "light_refresh"


def test_a_hand_goes_before_the_page_for_an_unclear_change():
    state, verdict = decide(NEW, [noticed("unclear"), noticed("hand")], NOON, CONFIG)
    assert verdict.request.causes == ("hand",)
    state, verdict = decide(state, [], NOON, CONFIG)
    assert verdict.request.remedy == "page", "a page does not wait for the run"
