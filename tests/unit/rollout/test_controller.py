import pytest

from benchmarks.simulated_place import Killed
from tests.unit.rollout.scene import Scene
from tidegate.errors import BadInput
from tidegate.records import Traffic
from tidegate.rollout.controller import apply, command, watch
from tidegate.rollout.transitions import advance, hold, resume, return_to

WHOLE_WAY = [("began", 0), ("advanced", 5), ("advanced", 50), ("advanced", 100), ("promoted", 100)]


def test_a_good_candidate_arrives_step_by_step(scene):
    scene.run(1500)

    assert scene.told() == WHOLE_WAY
    assert [t.candidate_percent for t in scene.place.routes] == [0, 5, 50, 100, 0]
    assert scene.place.traffic == Traffic(baseline="new")


def test_a_bad_candidate_loses_its_traffic_at_the_next_analysis(scene):
    scene.run(400)
    assert scene.place.traffic.candidate_percent == 5
    scene.analyst.verdict = "rollback"
    scene.run(60)

    assert scene.place.traffic == Traffic(baseline="old")
    last = scene.place.events[-1]
    assert (last.kind, last.percent, last.says) == ("rolled_back", 5, "as told")
    assert last.analysis.verdict == "rollback"
    scene.analyst.verdict = "advance"
    scene.run(5000)
    assert scene.place.traffic == Traffic(baseline="old")


def test_a_step_is_analysed_once_an_interval_and_continues_from_its_memory(scene):
    scene.run(350)
    assert len(scene.analyst.seen) == 5
    assert [s.memory.get("analyses", 0) for s in scene.analyst.seen] == [0, 1, 2, 3, 4]


def test_an_analysis_that_breaks_is_inconclusive(scene, caplog):
    scene.run(60)
    scene.analyst.fails = OSError("no route to host")
    scene.run(60)
    assert scene.state.phase == "paused"
    assert scene.state.reason == "the analysis failed with OSError: no route to host"
    scene.analyst.fails = None
    scene.run(60)
    assert scene.state.phase == "progressing"
    assert "the analysis failed" in caplog.text


def test_killed_at_any_call_it_resumes_to_the_same_end():
    unhurt = Scene()
    unhurt.run(1800, every=60)
    for kill_at in range(1, unhurt.place.half_calls + 1):
        scene = Scene(kill_at=kill_at)
        scene.run(1920, every=60)
        assert scene.controllers == 2, kill_at
        assert scene.told() == WHOLE_WAY, kill_at
        assert scene.place.traffic == Traffic(baseline="new"), kill_at
        assert scene.state.outbox == ()


@pytest.mark.parametrize("kill_at", range(1, 40, 3))
def test_killed_while_it_rolls_back_the_candidate_still_loses_its_traffic(kill_at):
    scene = Scene()
    scene.run(400)
    scene.analyst.verdict = "rollback"
    scene.place.kill_at = scene.place.half_calls + kill_at
    scene.run(200)
    assert scene.told() == [*WHOLE_WAY[:2], ("rolled_back", 5)]
    assert scene.place.traffic == Traffic(baseline="old")


def test_two_controllers_never_act_at_once(scene):
    other = scene.new_controller()
    assert scene.controller.tick() == "done"
    assert other.tick() == "not_mine"
    scene.clock.pass_seconds(29)
    assert other.tick() == "not_mine"
    scene.clock.pass_seconds(2)
    assert other.tick() == "done"
    assert scene.controller.tick() == "not_mine"


def test_a_controller_that_lost_its_lease_during_the_analysis_writes_nothing(scene):
    scene.run(330)
    other = scene.new_controller()

    def slow(state, now):
        scene.clock.pass_seconds(40)
        scene.analyst.verdict = "rollback"
        other.tick()
        return "advance"

    scene.analyst.verdict = slow
    scene.clock.pass_seconds(60)
    before = len(scene.place.states)
    assert scene.controller.tick() == "not_mine"
    assert [s.phase for s in scene.place.states[before:]] == ["rolled_back", "rolled_back"]
    assert scene.place.traffic == Traffic(baseline="old")


def test_a_command_given_during_the_analysis_is_not_overwritten(scene):
    scene.run(330)

    def meanwhile(state, now):
        command(
            scene.place,
            lambda s, at: return_to(s, s.baseline, by="kim", reason="complaints", now=at),
            scene.clock,
        )
        return "advance"

    scene.analyst.verdict = meanwhile
    scene.clock.pass_seconds(60)
    assert scene.controller.tick() == "overtaken"
    scene.run(10)
    assert scene.place.traffic == Traffic(baseline="old")
    assert scene.told()[-1] == ("rolled_back", 5)


def test_a_command_is_in_force_at_once_where_no_controller_runs(scene):
    scene.run(330)
    scene.clock.pass_seconds(100)
    command(
        scene.place,
        lambda s, at: return_to(s, "old", by="kim", reason="complaints", now=at),
        scene.clock,
    )
    assert apply(scene.place, "kim", scene.clock) == "done"
    assert scene.place.lease is None
    assert scene.place.traffic == Traffic(baseline="old")
    assert scene.place.events[-1].actor == "kim"


def test_events_of_commands_that_nobody_told_yet_are_not_lost(scene):
    for change in (
        lambda s, at: hold(s, by="kim", reason="lunch", now=at),
        lambda s, at: resume(s, by="kim", reason="back", now=at),
        lambda s, at: advance(s, by="kim", reason="urgent", now=at),
    ):
        command(scene.place, change, scene.clock)
        scene.clock.pass_seconds(1)
    scene.run(10)
    assert [k for k, _ in scene.told()] == ["began", "paused", "resumed", "advanced"]


def test_a_finished_release_is_left_alone(scene):
    scene.run(1600)
    scene.place.route(Traffic(baseline="newer"))
    assert scene.controller.tick() == "idle"
    assert scene.place.traffic == Traffic(baseline="newer")


def test_without_a_release_there_is_nothing_to_do_or_to_command(scene):
    scene.place._state = None
    assert scene.controller.tick() == "idle"
    with pytest.raises(BadInput, match="no release has begun"):
        command(scene.place, lambda s, at: (s, ()), scene.clock)


def test_watching_goes_on_after_a_look_that_failed(scene, caplog):
    def over():
        if len(caplog.records) == 0:
            raise OSError("the API server is away")
        return scene.state.is_over

    watch(scene.controller, over, poll_seconds=10, sleep=scene.clock.pass_seconds)
    assert scene.state.phase == "promoted"
    assert "trying again" in caplog.text


def test_a_kill_is_no_failed_look(scene):
    scene.place.kill_at = scene.place.half_calls + 3
    with pytest.raises(Killed):
        watch(scene.controller, lambda: False, poll_seconds=10, sleep=scene.clock.pass_seconds)
