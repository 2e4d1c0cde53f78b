"""The release controller over the KServe backend: from begin to end, also when it is killed."""

import random
from datetime import timedelta

import pytest

from tests.cluster.kserve.conftest import CONFIG, MANIFEST, NEW, OLD
from tidegate.config import RolloutConfig
from tidegate.records import StepAnalysis, Traffic
from tidegate.rollout.controller import Controller
from tidegate.rollout.kserve_backend import KServeBackend
from tidegate.rollout.release_log import ReleaseLog
from tidegate.rollout.transitions import begin

ROLLOUT = RolloutConfig(
    steps=(0, 50, 100), step_seconds=10, interval_seconds=5, min_requests=0, kept_versions=2
)


class Judge:
    """Says the same of every step from a share of requests on."""

    def __init__(self, verdict="advance", from_percent=0):
        self.verdict, self.from_percent = verdict, from_percent

    def analyse(self, state, observed, now):
        verdict = self.verdict if state.percent >= self.from_percent else "advance"
        return StepAnalysis(verdict=verdict, findings=(), candidate_requests=10), {}


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def bundles(monkeypatch):
    monkeypatch.setattr("tidegate.rollout.model_store.read_manifest", lambda folder: MANIFEST)


def release(made, judge, *, kills=(), looks=80):
    """Let controllers look every five seconds; one is killed before these numbered requests."""
    for version in (OLD, NEW):
        (made.store.folder_of("comments") / "versions" / version).mkdir(parents=True)
    first, events = begin(
        name="comments", baseline=OLD, candidate=NEW, run_digest="r", config=ROLLOUT,
        actor="run", now=made.clock.now(),
    )  # fmt: skip
    made.backend.write_state(first.model_copy(update={"outbox": events}), revision=None)
    counted = [0]

    def controller(number):
        api = made.api()
        ask = api._ask

        def counting(*words, **more):
            counted[0] += 1
            if counted[0] in kills:
                raise Killed
            return ask(*words, **more)

        api._ask = counting
        backend = KServeBackend(CONFIG, store=made.store, api=api, clock=made.clock)
        holder = f"controller-{number}"
        return Controller(backend, judge, ROLLOUT, made.clock.now, holder, lease_seconds=30)

    number, present = 0, controller(0)
    for _ in range(looks):
        try:
            if present.tick() == "idle":
                break
        except Killed:
            number += 1
            present = controller(number)
        made.clock.sleep(5)
    return made.backend.read_state()[0], counted[0]


def kinds(made):
    return [event.kind for event in ReleaseLog(made.log).read()]


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_a_good_candidate_arrives(cluster, mode):
    made = cluster(mode)
    began = made.clock.now()
    state, _ = release(made, Judge())
    assert (state.phase, made.answers()) == ("promoted", {NEW: 100})
    assert made.clock.now() - began < timedelta(minutes=5)
    assert kinds(made) == ["began", "advanced", "advanced", "promoted"]
    assert made.backend.observe().traffic == Traffic(baseline=NEW)
    assert made.store.current("comments").version == NEW


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
@pytest.mark.parametrize("percent", [0, 50, 100])
def test_a_bad_candidate_loses_everything(cluster, mode, percent):
    made = cluster(mode)
    state, _ = release(made, Judge("rollback", percent))
    # From everything, Knative goes back when the pods of the baseline have started again.
    for _ in range(made.kserve.rounds_to_start + 1):
        made.kserve.round()
    assert (state.phase, made.answers()) == ("rolled_back", {OLD: 100})
    assert not any("nobody" in answered for answered in made.kserve.answered)


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_killed_at_any_request_it_ends_the_same(cluster, mode):
    kills = set(random.Random(7).sample(range(1, 120), 12))
    made = cluster(mode)
    state, _ = release(made, Judge(), kills=kills, looks=160)
    assert (state.phase, made.answers()) == ("promoted", {NEW: 100})
    assert kinds(made) == ["began", "advanced", "advanced", "promoted"]
    assert len(made.kubernetes.of("events")) == 4
