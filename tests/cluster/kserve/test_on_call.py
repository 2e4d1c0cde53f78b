"""What a release on KServe does when the world around it breaks."""

from datetime import timedelta

import pytest

from tests.cluster.kserve.conftest import CONFIG, MANIFEST, NEW, OLD
from tests.cluster.kserve.test_controller import ROLLOUT, Judge
from tidegate.cluster_api import ClusterError
from tidegate.errors import BadInput, Conflict
from tidegate.records import HandedOver, Traffic
from tidegate.rollout.cluster_controller import step_until_over
from tidegate.rollout.controller import Controller, watch
from tidegate.rollout.handover import hand_over, next_release
from tidegate.rollout.inference_service import build_inference_service
from tidegate.rollout.kserve_backend import KServeBackend
from tidegate.rollout.release_log import ReleaseLog
from tidegate.rollout.release_queue import waiting

ROLLOUT = ROLLOUT.model_copy(update={"max_unready_seconds": 60})
CONFIG = CONFIG.model_copy(update={"rollout": ROLLOUT})


@pytest.fixture(autouse=True)
def bundles(monkeypatch):
    monkeypatch.setattr("tidegate.rollout.model_store.read_manifest", lambda folder: MANIFEST)


@pytest.fixture(params=["Standard", "Knative"])
def made(cluster, request):
    """A cluster with a version in service and a candidate that a pipeline handed over."""
    made = cluster(request.param)
    made.mode = request.param
    for version in (OLD, NEW):
        (made.store.folder_of("comments") / "versions" / version).mkdir(parents=True)
    made.store.put_in_service("comments", OLD, run_digest="a")
    made.handed = hand_over(made.store, "comments", NEW, run_digest="r", now=made.clock.now())
    return made


def controller(made, judge=None, holder="one"):
    backend = KServeBackend(CONFIG, store=made.store, api=made.api(), clock=made.clock)
    begin = next_release(made.store, CONFIG, backend, clock=made.clock.now)
    return Controller(
        backend, judge or Judge(), ROLLOUT, made.clock.now, holder, next_release=begin
    )


def look(made, controller, until, looks=60):
    for _ in range(looks):
        controller.tick()
        if until():
            return
        made.clock.sleep(5)
    pytest.fail("it did not come to that")


def state(made):
    return made.backend.read_state()[0]


def told(made):
    return [(e.kind, e.percent) for e in ReleaseLog(made.log).read()]


def in_force_at(made, percent):
    return lambda: (
        made.backend.read_state() is not None
        and state(made).percent == percent
        and state(made).in_force
    )


def test_a_run_that_was_handed_over_arrives_and_the_pointer_with_it(made):
    look(made, controller(made), lambda: waiting(made.store, "comments") == ())
    assert (state(made).phase, made.answers()) == ("promoted", {NEW: 100})
    assert made.store.current("comments").version == NEW
    assert [kind for kind, _ in told(made)] == ["began", "advanced", "advanced", "promoted"]


def test_weights_that_somebody_edits_are_put_back_and_told(made):
    one = controller(made)
    look(made, one, in_force_at(made, 50))
    spec = made.service()["spec"]
    if made.mode == "Standard":
        spec["canary"][0]["trafficPercent"] = 95
    else:
        spec["predictor"]["canaryTrafficPercent"] = 95
    made.service()["metadata"]["resourceVersion"] = "edited"
    made.kserve.round()
    assert made.answers() == {OLD: 5, NEW: 95}
    one.tick()
    made.kserve.round()
    assert made.answers() == {OLD: 50, NEW: 50}
    [note] = [e for e in ReleaseLog(made.log).read() if e.kind == "note"]
    assert "others changed the InferenceService, it is put back" in note.says
    assert "rafficPercent is 95 and not 50" in note.says
    one.tick()
    assert [kind for kind, _ in told(made)].count("note") == 1


def test_a_controller_that_was_cut_off_never_brings_back_the_traffic_of_its_time(made):
    """It wrote the next step, lost the network before it moved the traffic, and comes back."""
    look(made, controller(made), in_force_at(made, 50))
    cut_off = KServeBackend(CONFIG, store=made.store, api=made.api(), clock=made.clock)
    of_its_time = state(made).traffic
    made.clock.sleep(60)
    look(made, controller(made, Judge("rollback"), "two"), lambda: state(made).is_over)
    with pytest.raises(Conflict, match=f"the release of {NEW} has moved on"):
        cut_off.route(of_its_time)
    for _ in range(6):
        made.kserve.round()
    assert made.answers() == {OLD: 100}


def test_between_the_reading_and_the_patch_of_one_that_was_cut_off_another_may_have_acted(made):
    look(made, controller(made), in_force_at(made, 50))
    other = controller(made, Judge("rollback"), "two")
    cut_off = KServeBackend(CONFIG, store=made.store, api=made.api(), clock=made.clock)
    advanced = state(made).model_copy(update={"step": 2, "in_force": False})
    made.backend.write_state(advanced, revision=made.backend.read_state()[1])
    merge = cut_off._merge

    def late(patch, service):
        made.clock.sleep(60)
        current = made.backend.read_state()
        back = current[0].model_copy(update={"phase": "rolled_back"})
        made.backend.write_state(back, revision=current[1])
        other._backend.route(back.traffic)
        return merge(patch, service)

    cut_off._merge = late
    with pytest.raises(Conflict, match="has moved on"):
        cut_off.route(advanced.traffic)
    for _ in range(6):
        made.kserve.round()
    assert made.answers() == {OLD: 100}


def test_while_the_lease_holder_is_cut_off_another_goes_on_and_it_only_fails_its_looks(made):
    one, two = controller(made), controller(made, holder="two")
    look(made, one, in_force_at(made, 50))
    ask = one._backend._api._ask

    def no_route(*words, **more):
        raise ClusterError("no route to host", "try again")

    one._backend._api._ask = no_route
    assert two.tick() == "not_mine"
    made.clock.sleep(35)
    look(made, two, lambda: state(made).is_over)
    with pytest.raises(ClusterError):
        one.tick()
    one._backend._api._ask = ask
    assert one.tick() in ("not_mine", "idle")
    assert [kind for kind, _ in told(made)] == ["began", "advanced", "advanced", "promoted"]


def test_an_inference_service_deleted_in_the_middle_ends_the_release_and_the_next_one_begins(made):
    one = controller(made)
    look(made, one, in_force_at(made, 50))
    delete(made)
    with pytest.raises(BadInput, match="there is no InferenceService moderation"):
        one.tick()
    made.kubernetes.put(
        "inferenceservices",
        build_inference_service(CONFIG, Traffic(baseline=OLD), made.mode),
        "serving.kserve.io",
    )
    third = "cccccccccccc"
    (made.store.folder_of("comments") / "versions" / third).mkdir()
    made.clock.sleep(60)
    hand_over(made.store, "comments", third, run_digest="s", now=made.clock.now())
    look(made, one, lambda: made.store.current("comments").version == third)
    kinds = [(e.kind, e.candidate) for e in ReleaseLog(made.log).read()]
    assert kinds[2:5] == [("rolled_back", NEW), ("began", third), ("advanced", third)]


def delete(made):
    """Delete the InferenceService and all that it owns, as the garbage collector does."""
    for key in list(made.kubernetes.objects):
        if key[2] not in ("events",):
            del made.kubernetes.objects[key]


def test_a_controller_waits_for_an_inference_service_that_is_gone_but_not_for_ever(made, caplog):
    one, looks = controller(made), []
    look(made, one, in_force_at(made, 50))

    def over():
        looks.append(made.clock.now())
        if len(looks) == 2:
            delete(made)
        return False

    with pytest.raises(BadInput, match="no InferenceService"):
        watch(one, over, poll_seconds=5, patience_seconds=60, sleep=made.clock.sleep)
    assert len([r for r in caplog.records if "no InferenceService" in r.message]) == 12
    with pytest.raises(BadInput, match="no InferenceService"):
        watch(one, over, poll_seconds=5, patience_seconds=60, sleep=made.clock.sleep)
    assert len([r for r in caplog.records if "no InferenceService" in r.message]) == 12


@pytest.fixture
def in_step(made, monkeypatch):
    """Run the pipeline's step as the controller, on the fake clock."""
    from tidegate.rollout import cluster_controller

    def backend(config, store):
        return KServeBackend(config, store=store, api=made.api(), clock=made.clock)

    monkeypatch.setattr(cluster_controller, "KServeBackend", backend)
    monkeypatch.setattr(cluster_controller, "cluster_analyst", lambda *_: Judge())

    def run(handed: HandedOver = made.handed):
        return step_until_over(
            CONFIG, made.store, handed, clock=made.clock.now, sleep=made.clock.sleep
        )

    return run


def test_a_pipelines_step_is_the_controller_until_its_release_is_over(made, in_step):
    ended = in_step()
    assert (ended.phase, made.answers()) == ("promoted", {NEW: 100})
    assert made.store.current("comments").version == NEW
    lease = made.kubernetes.of("leases")[0]
    assert lease["spec"]["holderIdentity"] == ""
    assert in_step() == ended


def test_a_step_that_was_killed_goes_on_where_the_release_is(made, in_step):
    look(made, controller(made), in_force_at(made, 50))
    made.clock.sleep(60)
    assert in_step().phase == "promoted"
    assert [kind for kind, _ in told(made)] == ["began", "advanced", "advanced", "promoted"]


def test_a_step_whose_release_cannot_begin_says_so_in_time(made, in_step):
    let_no_pod_answer(made)
    began = made.clock.now()
    with pytest.raises(BadInput, match="could not begin for 60 s"):
        in_step()
    assert made.clock.now() - began < timedelta(seconds=100)
    assert waiting(made.store, "comments") == (made.handed,)


def let_no_pod_answer(made):
    made.kserve.asleep = True
    for deployment in made.kubernetes.of("deployments"):
        deployment["status"]["availableReplicas"] = 0
    for revision in made.kubernetes.of("revisions"):
        revision["status"]["conditions"] = [{"type": "Ready", "status": "False"}]


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_a_first_version_starts_the_model_server_that_was_installed_stopped(cluster, mode):
    made = cluster(mode, serving=None)
    (made.store.folder_of("comments") / "versions" / OLD).mkdir(parents=True)
    made.store.put_in_service("comments", OLD, run_digest="a")
    hand_over(made.store, "comments", OLD, run_digest="a", now=made.clock.now())
    assert made.answers() == {}
    one = controller(made)
    assert one.tick() == "idle"
    for _ in range(5):
        made.kserve.round()
    assert made.answers() == {OLD: 100}
    assert waiting(made.store, "comments") == ()
    assert made.backend.read_state() is None
