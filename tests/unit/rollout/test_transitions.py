from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulated_place import START
from tests.unit.rollout.scene import CONFIG, analysis
from tidegate.errors import BadInput
from tidegate.records import Observed, Traffic
from tidegate.rollout.transitions import (
    advance,
    approve,
    begin,
    hold,
    next_state,
    resume,
    return_to,
)


def begun(config=CONFIG):
    return begin(
        name="toy",
        baseline="old",
        candidate="new",
        run_digest="run",
        config=config,
        actor="pat",
        now=START,
    )[0]


def seen(state, **changes):
    found = Observed(traffic=state.traffic, baseline_ready=True, candidate_ready=True, settled=True)
    return found.model_copy(update=changes)


def at(seconds):
    return START + timedelta(seconds=seconds)


def look(state, seconds, verdict=None, requests=1000, config=CONFIG, **changes):
    told = None if verdict is None else analysis(verdict, requests)
    return next_state(state, told, seen(state, **changes), at(seconds), config)[0]


def canary():
    state = look(begun(), 0, "advance")
    state = look(state, 300, "advance")
    state = look(state, 300)
    assert (state.percent, state.in_force) == (5, True)
    return state


looks = st.lists(
    st.tuples(
        st.sampled_from([None, "advance", "pause", "rollback"]),
        st.integers(0, 400),
        st.booleans(),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([True, True, True, False]),
        st.floats(1, 2000),
        st.sampled_from(["", "", "", "hold", "resume", "advance", "abort"]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(looks)
def test_whatever_happens_a_release_moves_by_single_steps_and_never_after_its_end(story):
    state, now = begun(), 0.0
    for verdict, requests, settled, ready, baseline_ready, seconds, order in story:
        now += seconds
        before = state
        told = None if verdict is None else analysis(verdict, requests)
        found = seen(state, settled=settled, candidate_ready=ready, baseline_ready=baseline_ready)
        state, events = next_state(state, told, found, at(now), CONFIG)

        assert state.step - before.step in (0, 1)
        assert state.percent in CONFIG.steps
        if before.is_over:
            assert (state, events) == (before, ())
            continue
        moved = state.step > before.step or state.phase == "promoted"
        if moved:
            assert verdict == "advance"
            assert before.held_by is None
            assert settled
            assert ready
            assert baseline_ready
            assert before.in_force
            assert now - (at(0) - START).total_seconds() >= CONFIG.step_seconds
            assert before.percent == 0 or requests >= CONFIG.min_requests
        assert (verdict == "rollback") <= (state.phase == "rolled_back")
        if state.phase == "rolled_back":
            assert state.traffic == Traffic(baseline="old")
        assert bool(events) >= (state.phase != before.phase or moved)
        change = {"hold": hold, "resume": resume, "advance": advance}.get(order)
        if order == "resume" and state.phase != "paused":
            change = None
        if change is not None and not state.is_over and not state.withdrawn:
            state, _ = change(state, by="kim", reason="r", now=at(now))
        if order == "abort":
            state, _ = return_to(state, "old", by="kim", reason="r", now=at(now))


def test_a_step_lasts_its_seconds_from_when_its_traffic_is_in_force():
    state = look(begun(), 0, settled=False)
    assert not state.in_force
    state = look(state, 200, "advance")
    assert look(state, 499, "advance").step == 0
    assert look(state, 500, "advance").step == 1


def test_a_step_that_takes_traffic_waits_for_its_requests_but_a_shadow_does_not():
    assert look(look(begun(), 0), 300, "advance", requests=0).step == 1
    assert look(canary(), 5000, "advance", requests=199).step == 1
    assert look(canary(), 5000, "advance", requests=200).step == 2


def test_no_analysis_no_step():
    assert look(canary(), 3000).step == 1


def test_traffic_that_is_not_the_state_s_ends_no_step():
    other = Traffic(baseline="old", candidate="new", candidate_percent=50)
    assert look(canary(), 800, "advance", traffic=other).step == 1


def test_an_inconclusive_step_pauses_goes_on_when_conclusive_and_rolls_back_after_too_long():
    paused = look(canary(), 400, "pause")
    assert (paused.phase, paused.reason) == ("paused", "as told")
    assert look(paused, 500, "advance").phase == "progressing"
    assert look(paused, 4000, "pause").phase == "paused"
    late = look(paused, 4001, "pause")
    assert (late.phase, late.reason) == (
        "rolled_back",
        "inconclusive for longer than 3600 s: as told",
    )
    assert look(paused, 4001, "advance").phase == "progressing"


def test_a_pause_by_hand_holds_for_as_long_as_it_takes_but_not_against_harm():
    held, events = hold(canary(), by="kim", reason="press day", now=at(310))
    assert (events[0].actor, events[0].says) == ("kim", "held by hand: press day")
    for verdict in ("advance", "pause"):
        later = look(held, 100_000, verdict)
        assert (later.phase, later.step, later.held_by) == ("paused", 1, "kim")
    assert look(held, 400, "rollback").phase == "rolled_back"
    going, _ = resume(held, by="kim", reason="done", now=at(100_000))
    assert look(going, 100_001, "advance").step == 2


def test_a_candidate_that_never_answers_is_rolled_back():
    state = look(begun(), 0, candidate_ready=False)
    state = look(state, 600, candidate_ready=False)
    assert state.phase == "progressing"
    state = look(state, 601, candidate_ready=False)
    assert (state.phase, state.reason) == ("rolled_back", "new has not answered for 600 s")


def test_a_candidate_that_stops_answering_loses_its_traffic_and_gets_it_back():
    away = look(canary(), 350, candidate_ready=False)
    assert (away.phase, away.traffic.candidate_percent) == ("paused", 0)
    back = look(look(away, 400), 410, "advance")
    assert (back.phase, back.traffic.candidate_percent, back.step_began_at) == (
        "progressing",
        5,
        at(410).isoformat(timespec="microseconds"),
    )


def test_a_candidate_that_keeps_stopping_is_rolled_back():
    state = canary()
    for second in (350, 450, 550):
        assert state.phase != "rolled_back"
        state = look(state, second, candidate_ready=False)
        state = look(look(state, second + 20), second + 30, "advance")
    assert (state.phase, state.reason) == ("rolled_back", "new stopped answering 3 times")


def test_a_baseline_that_does_not_answer_stops_the_release_where_it_is():
    state = look(canary(), 5000, "advance", baseline_ready=False)
    assert (state.phase, state.step) == ("paused", 1)
    assert look(state, 100_000, "advance", baseline_ready=False).phase == "paused"


def test_traffic_that_never_comes_into_force_is_rolled_back():
    state = look(begun(), 0, settled=False)
    assert look(state, 600, settled=False).phase == "progressing"
    assert look(state, 601, settled=False).phase == "rolled_back"


def test_nothing_moves_before_an_approval():
    waiting = begun(CONFIG.model_copy(update={"approval": "manual"}))
    assert waiting.traffic == Traffic(baseline="old")
    assert look(waiting, 99_999, "rollback") == waiting
    for change in (hold, resume, advance):
        with pytest.raises(BadInput, match="waits for an approval"):
            change(waiting, by="kim", reason="", now=at(1))
    going, events = approve(waiting, by="kim", reason="read the report", now=at(5))
    assert (going.phase, events[0].kind, events[0].actor) == ("progressing", "approved", "kim")


def test_commands_that_make_no_sense_are_refused():
    over, _ = return_to(canary(), "old", by="kim", reason="", now=at(400))
    for change in (hold, resume, advance):
        with pytest.raises(BadInput, match=r"is over \(rolled back\)"):
            change(over, by="kim", reason="", now=at(500))
    with pytest.raises(BadInput, match="waits for no approval"):
        approve(canary(), by="kim", reason="", now=at(400))
    with pytest.raises(BadInput, match="is not paused"):
        resume(canary(), by="kim", reason="", now=at(400))
    away = look(canary(), 350, candidate_ready=False)
    with pytest.raises(BadInput, match="does not answer"):
        advance(away, by="kim", reason="", now=at(400))


def test_a_person_may_return_to_any_version_also_after_the_end():
    state = canary()
    for _ in range(3):
        state, _ = advance(state, by="kim", reason="", now=at(400))
    assert (state.phase, state.traffic) == ("promoted", Traffic(baseline="new"))
    state, events = return_to(state, "older", by="kim", reason="worse", now=at(900))
    assert (state.traffic, events[0].kind) == (Traffic(baseline="older"), "rolled_back")
