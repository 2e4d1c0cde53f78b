"""State, lease and events of a release, and an InferenceService that others change."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.kserve.conftest import CONFIG, KEPT, KEY, MANIFEST, NEW, OLD, state
from tests.fake_kubernetes import Fault
from tidegate.errors import BadInput, Conflict
from tidegate.records import Finding, ReleaseEvent, StepAnalysis, Traffic
from tidegate.rollout.kserve_backend import KServeBackend
from tidegate.rollout.release_log import ReleaseLog
from tidegate.rollout.release_objects import MOST_STATE_BYTES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = ReleaseEvent(
    at=NOW.isoformat(), actor="controller", kind="advanced", release="comments", candidate=NEW,
    percent=5, says="nothing is worse",
)  # fmt: skip
CANARY = Traffic(baseline=OLD, candidate=NEW, candidate_percent=5)


@pytest.fixture
def made(cluster):
    return cluster()


def objects(made, plural):
    return [d for d in made.kubernetes.of(plural) if "release" in d["metadata"]["name"]]


def test_a_state_is_kept_and_read_back_with_its_revision(made):
    assert made.backend.read_state() is None
    first = made.backend.write_state(state(), revision=None)
    assert made.backend.read_state() == (state(), first)
    second = made.backend.write_state(state(step=2), revision=first)
    assert made.backend.read_state() == (state(step=2), second)
    [kept] = objects(made, "configmaps")
    [owner] = kept["metadata"]["ownerReferences"]
    assert owner["uid"] == made.service()["metadata"]["uid"]


def test_a_state_that_others_wrote_is_not_written_over(made):
    first = made.backend.write_state(state(), revision=None)
    made.backend.write_state(state(step=2), revision=first)
    for revision in (first, None):
        with pytest.raises(Conflict):
            made.backend.write_state(state(phase="paused"), revision=revision)
    assert made.backend.read_state()[0] == state(step=2)


@pytest.mark.parametrize("revision", ["new", "old"])
def test_a_write_whose_answer_was_lost_is_no_conflict(made, revision):
    known = made.backend.write_state(state(), revision=None) if revision == "old" else None
    method = "PUT" if known else "POST"
    made.kubernetes.faults.append(Fault(method, "configmaps", "reset", after=True))
    written = made.backend.write_state(state(step=3), revision=known)
    assert made.backend.read_state() == (state(step=3), written)


def test_a_state_too_large_for_kubernetes_is_refused_before_it_is_sent(made):
    memory = {"sums": "x" * MOST_STATE_BYTES}
    with pytest.raises(ValueError, match="kept at most"):
        made.backend.write_state(state(memory=memory), revision=None)
    assert objects(made, "configmaps") == []


def test_findings_too_large_for_kubernetes_are_left_to_the_log(made):
    told = Finding(source="ops", name="errors", verdict="pause", says="x" * MOST_STATE_BYTES)
    analysis = StepAnalysis(verdict="pause", findings=(told,), candidate_requests=1)
    made.backend.write_state(state(last_analysis=analysis, memory={"sums": 1}), revision=None)
    assert made.backend.read_state()[0] == state(memory={"sums": 1})


def test_progress_restarts_no_pod(made):
    made.backend.settle(CANARY)
    starts = made.kserve.pod_starts
    revision = made.backend.write_state(state(), revision=None)
    for step in range(4):
        revision = made.backend.write_state(state(step=step), revision=revision)
        made.backend.record(EVENT.model_copy(update={"percent": step}))
        made.backend.hold_lease("a", NOW + timedelta(seconds=step), seconds=30)
        made.kserve.round()
    assert made.kserve.pod_starts == starts


def test_one_controller_holds_the_lease_until_it_runs_out(made):
    hold = made.backend.hold_lease
    assert hold("a", NOW, seconds=30)
    assert not hold("b", NOW + timedelta(seconds=29), seconds=30)
    assert hold("a", NOW + timedelta(seconds=29), seconds=30)
    assert not hold("b", NOW + timedelta(seconds=58), seconds=30)
    assert hold("b", NOW + timedelta(seconds=59), seconds=30)
    assert not hold("a", NOW + timedelta(seconds=60), seconds=30)
    [lease] = objects(made, "leases")
    assert lease["spec"]["leaseTransitions"] == 1
    assert lease["spec"]["acquireTime"] == "2026-01-01T00:00:59.000000Z"


def test_a_lease_that_is_given_back_can_be_taken_at_once(made):
    made.backend.hold_lease("a", NOW, seconds=30)
    made.backend.let_go_of_lease("b")
    assert not made.backend.hold_lease("b", NOW, seconds=30)
    made.backend.let_go_of_lease("a")
    assert made.backend.hold_lease("b", NOW, seconds=30)


def test_of_two_that_take_a_lease_at_the_same_moment_one_gets_it(made):
    made.backend.hold_lease("dead", NOW, seconds=1)
    later = NOW + timedelta(seconds=60)
    rival = KServeBackend(CONFIG, api=made.api(), clock=made.clock)
    read = made.kubernetes.answer
    taken = []

    def answer(method, url, body):
        found = read(method, url, body)
        if method == "GET" and "/leases/" in url and not taken:
            taken.append("rival is about to")
            found = (found[0], json.loads(json.dumps(found[1])))
            taken.append(rival.hold_lease("rival", later, seconds=30))
        return found

    made.kubernetes.answer = answer
    assert not made.backend.hold_lease("late", later, seconds=30)
    assert taken[1] is True


def test_a_renewal_whose_answer_was_lost_is_no_loss(made):
    made.backend.hold_lease("a", NOW, seconds=30)
    made.kubernetes.faults.append(Fault("PUT", "leases", "reset", after=True))
    assert made.backend.hold_lease("a", NOW + timedelta(seconds=9), seconds=30)


def test_an_event_told_twice_is_kept_once(made):
    for event in (EVENT, EVENT, EVENT.model_copy(update={"percent": 25})):
        made.backend.record(event)
    assert [e.percent for e in ReleaseLog(made.log).read()] == [5, 25]
    first, second = made.kubernetes.of("events")
    assert first["involvedObject"]["uid"] == made.service()["metadata"]["uid"]
    assert (first["reason"], first["type"]) == ("ReleaseAdvanced", "Normal")
    assert second["message"] == f"{NEW} at 25 %, by controller: nothing is worse"


def test_a_line_that_a_crash_cut_short_is_kept_and_does_not_swallow_the_next(made):
    made.log.parent.mkdir(parents=True)
    made.log.write_bytes(b'{"id": "cut')
    made.backend.record(EVENT)
    assert ReleaseLog(made.log).read() == (EVENT,)
    assert made.log.read_bytes().startswith(b'{"id": "cut\n')


def test_a_share_that_somebody_else_changes_is_not_settled(made):
    def webhook(key, document):
        for entry in document["spec"].get("canary", []):
            entry["trafficPercent"] = 40
        return document

    made.kubernetes.admit = webhook
    made.backend.write_state(state(), revision=None)
    observed = made.backend.settle(CANARY, seconds=8)
    assert not observed.settled
    assert observed.traffic.candidate_percent == 40
    assert "spec.canary[0].trafficPercent is 40 and not 5" in observed.notes


def test_a_field_that_the_cluster_drops_is_not_settled(made):
    def pruned(key, document):
        document["spec"].pop("canary", None)
        return document

    made.kubernetes.admit = pruned
    made.backend.write_state(state(), revision=None)
    observed = made.backend.settle(CANARY, seconds=8)
    assert not observed.settled
    assert "spec.canary has 0 entries and not 1" in observed.notes


def test_a_ready_of_before_the_change_is_not_ready(made):
    made.backend.settle(CANARY)
    made.kserve.asleep = True
    made.backend.route(Traffic(baseline=OLD, candidate=NEW, candidate_percent=25))
    observed = made.backend.observe()
    assert (observed.settled, observed.traffic.candidate_percent) == (False, 5)
    made.backend.route(Traffic(baseline=OLD, candidate=KEPT, candidate_percent=25))
    assert not made.backend.observe().candidate_ready


def test_without_the_gateway_api_a_canary_has_no_share(made):
    made.kserve.gateway = False
    made.kubernetes.objects = {
        k: v for k, v in made.kubernetes.objects.items() if k[2] != "httproutes"
    }
    observed = made.backend.settle(CANARY, seconds=8)
    assert (observed.settled, observed.traffic.candidate_percent) == (False, 0)
    assert any("enableGatewayApi" in note for note in observed.notes)


def test_restarts_are_told(made):
    pod = {
        "metadata": {
            "name": "p",
            "labels": {
                "serving.kserve.io/inferenceservice": "moderation",
                "app": "isvc.moderation-predictor",
            },
        },
        "status": {"containerStatuses": [{"restartCount": 3}]},
    }
    made.kubernetes.put("pods", pod, "")
    assert made.backend.observe().notes == (
        "moderation-predictor: its containers restarted 3 times",
    )
    assert made.backend.restarts_of(OLD) == 3
    assert made.backend.restarts_of(NEW) is None


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_each_version_has_an_address_of_its_own(cluster, mode):
    made = cluster(mode)
    assert made.backend.address_of(NEW) is None
    made.backend.settle(CANARY)
    old, new = made.backend.address_of(OLD), made.backend.address_of(NEW)
    names = {
        "Standard": ("moderation-predictor", "moderation-blue-predictor"),
        "Knative": ("moderation-predictor-00001", "moderation-predictor-00002"),
    }
    assert (old, new) == tuple(f"http://{n}.tidegate.svc.cluster.local" for n in names[mode])


def test_a_write_that_meets_another_one_is_tried_again_over_what_is_there_then(made):
    made.kubernetes.faults.append(Fault("PATCH", "moderation", 409, times=2))
    made.backend.route(CANARY)
    assert made.service()["spec"]["canary"][0]["trafficPercent"] == 5
    made.kubernetes.faults.append(Fault("PATCH", "moderation", 409, times=9))
    with pytest.raises(Conflict):
        made.backend.route(Traffic(baseline=OLD))


def test_what_others_wrote_into_the_pod_stays(made):
    made.service()["spec"]["predictor"]["nodeSelector"] = {"pool": "serving"}
    made.backend.settle(CANARY)
    made.backend.settle(Traffic(baseline=NEW))
    assert made.service()["spec"]["predictor"]["nodeSelector"] == {"pool": "serving"}


@pytest.fixture
def bundles(monkeypatch):
    """Let the store hold folders for bundles; tests/unit/test_model_store.py has real ones."""
    monkeypatch.setattr("tidegate.rollout.model_store.read_manifest", lambda folder: MANIFEST)


def kept_in(made, *versions):
    for version in versions:
        (made.store.folder_of("comments") / "versions" / version).mkdir(parents=True)


def test_a_rollback_by_hand_ends_the_release_before_it_moves_the_traffic(made, bundles):
    kept_in(made, OLD, NEW, KEPT)
    made.backend.settle(CANARY)
    made.backend.write_state(state(), revision=None)
    made.backend.put_back(KEPT, by="ada", reason="wave of appeals", at=NOW)
    kept = made.backend.read_state()[0]
    assert (kept.phase, kept.baseline) == ("rolled_back", KEPT)
    assert made.backend.settle(Traffic(baseline=KEPT)).settled
    assert made.answers() == {KEPT: 100}
    [event] = ReleaseLog(made.log).read()
    assert (event.actor, event.kind) == ("ada", "rolled_back")
    assert made.store.current("comments").version == KEPT


def test_a_promotion_moves_the_stores_pointer_and_a_failure_is_archived(made, bundles):
    kept_in(made, OLD, NEW)
    revision = made.backend.write_state(state(), revision=None)
    made.backend.record(EVENT.model_copy(update={"kind": "rolled_back"}))
    assert made.store.current("comments") is None
    assert (made.log.parent / "failed" / f"{NEW}.json").exists()
    made.backend.write_state(state(phase="promoted"), revision=revision)
    made.backend.record(EVENT.model_copy(update={"kind": "promoted", "percent": 100}))
    current = made.store.current("comments")
    assert (current.version, current.run_digest) == (NEW, "r")


def test_an_inference_service_that_is_not_there_is_named(made):
    del made.kubernetes.objects[KEY]
    with pytest.raises(BadInput, match="no InferenceService moderation in tidegate"):
        made.backend.observe()


def test_a_bundle_of_another_store_is_refused(made):
    container = made.service()["spec"]["predictor"]["containers"][0]
    container["env"][0]["value"] = "pvc://elsewhere/models/comments/versions/x"
    with pytest.raises(BadInput, match="no bundle from the model store of comments"):
        made.backend.route(CANARY)
