"""A pipeline's candidate on its way to the controller, repeated and killed at any point."""

from datetime import timedelta

import pytest

from benchmarks.simulated_place import Killed, SimulatedClock, SimulatedPlace
from tests.unit.rollout.scene import ToldAnalyst
from tests.unit.test_model_store import build, version
from tidegate.config import RunConfig
from tidegate.records import ApprovalRequest, HandedOver, Release, Traffic
from tidegate.rollout.approval import (
    APPROVAL,
    new_private_key,
    public_key_of,
    request_folder,
    sign_approval,
)
from tidegate.rollout.controller import Controller
from tidegate.rollout.handover import hand_over, next_release, release_on_cluster
from tidegate.rollout.inference_service import PLACEHOLDER
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.pipeline_step import release_of_run
from tidegate.rollout.release_queue import waiting
from tidegate.store import write_record

RUN = "d" * 64


def config(**rollout):
    steps = {"steps": [0, 50, 100], "step_seconds": 60, "interval_seconds": 30, "min_requests": 0}
    return RunConfig.model_validate(
        {
            "name": "toy",
            "data": {"source": "c.parquet", "text": "body", "label": "y"},
            "rollout": {**steps, **rollout},
        }
    )


class Place(SimulatedPlace):
    """A simulated place whose events reach the model store, as a backend's do."""

    def __init__(self, clock, baseline, store):
        super().__init__(clock, baseline)
        self.ledger = Ledger(store, "toy", kept_versions=2)

    def record(self, event):
        super().record(event)
        self.ledger.write_down(event, None if self._state is None else self._state[0])


class Cluster:
    """A model store with one version in service, a place that serves it, and controllers."""

    def __init__(self, folder, bundles):
        self.store = ModelStore(folder)
        self.clock = SimulatedClock()
        self.bundles = bundles
        self.versions = [version(bundle) for bundle in bundles]
        self.store.release(bundles[0], run_digest="a" * 64)
        self.place = Place(self.clock, self.versions[0], self.store)
        self.analyst = ToldAnalyst()
        self.settings = config()
        self.new_controller()

    def new_controller(self):
        self.controller = Controller(
            self.place,
            self.analyst,
            self.settings.rollout,
            self.clock,
            f"controller-{self.clock.now}",
            next_release=next_release(self.store, self.settings, self.place, clock=self.clock),
        )

    def step(self, bundle, *, run_digest=RUN, wait=None, settings=None):
        return release_on_cluster(
            self.store, bundle, settings or self.settings, run_digest=run_digest, wait=wait
        )

    def run(self, seconds):
        for _ in range(int(seconds / 10)):
            try:
                self.controller.tick()
            except Killed:
                self.clock.pass_seconds(40)
                self.new_controller()
            self.clock.pass_seconds(10)

    @property
    def in_service(self):
        return self.versions.index(self.store.current("toy").version)

    def told(self):
        return [(e.kind, self.versions.index(e.candidate)) for e in self.place.ledger.log.read()]


WHOLE = [(kind, 1) for kind in ("began", "advanced", "advanced", "promoted")]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [build(folder / name, f"weights of {name}") for name in ("v1", "v2", "v3")]


@pytest.fixture
def cluster(tmp_path, bundles):
    return Cluster(tmp_path / "models", bundles)


def test_the_pointer_moves_when_the_release_ends_in_promoted_and_not_before(cluster):
    handed = cluster.step(cluster.bundles[1])
    assert isinstance(handed, HandedOver)
    assert cluster.in_service == 0
    cluster.run(30)
    assert cluster.place.traffic == Traffic(
        baseline=cluster.versions[0], candidate=cluster.versions[1]
    )
    cluster.run(120)
    assert cluster.in_service == 0
    cluster.run(600)
    assert cluster.in_service == 1
    assert cluster.told() == WHOLE
    assert cluster.store.current("toy").run_digest == RUN
    assert waiting(cluster.store, "toy") == ()


def test_a_bad_candidate_never_gets_the_pointer_and_an_unchanged_run_does_not_try_it_again(cluster):
    cluster.analyst.verdict = "rollback"
    cluster.step(cluster.bundles[1])
    cluster.run(200)
    assert (cluster.in_service, cluster.told()[-1]) == (0, ("rolled_back", 1))
    again = cluster.step(cluster.bundles[1])
    assert "it was rolled back on 2026-03-01: as told" in again.refusal
    cluster.run(200)
    assert [kind for kind, _ in cluster.told()] == ["began", "rolled_back"]


@pytest.mark.parametrize("after_seconds", [0, 20, 100, 900])
def test_a_step_that_is_repeated_releases_once(cluster, after_seconds):
    first = cluster.step(cluster.bundles[1])
    cluster.run(after_seconds)
    again = cluster.step(cluster.bundles[1])
    if after_seconds < 900:
        assert again == first
    else:
        assert isinstance(again, Release)
    cluster.run(900)
    assert cluster.told() == WHOLE


def test_a_controller_killed_at_any_call_begins_and_ends_it_once(tmp_path, bundles):
    unhurt = Cluster(tmp_path / "unhurt", bundles)
    unhurt.step(bundles[1])
    unhurt.run(400)
    assert unhurt.in_service == 1
    for kill_at in range(1, unhurt.place.half_calls, 7):
        made = Cluster(tmp_path / str(kill_at), bundles)
        made.place.kill_at = kill_at
        made.step(bundles[1])
        made.run(600)
        assert made.told() == WHOLE, kill_at
        assert made.in_service == 1, kill_at


def test_while_one_is_under_way_the_newest_waits_and_overtakes_the_others(cluster, bundles):
    cluster.step(bundles[1])
    cluster.run(100)
    hand_over(cluster.store, "toy", "older", run_digest=RUN)
    cluster.step(bundles[2], run_digest="e" * 64)
    assert [h.candidate for h in waiting(cluster.store, "toy")][1:] == [
        "older",
        cluster.versions[2],
    ]
    cluster.run(1200)
    kinds = ("began", "advanced", "advanced", "promoted")
    assert cluster.told() == [(kind, which) for which in (1, 2) for kind in kinds]
    assert waiting(cluster.store, "toy") == ()


def test_the_first_version_is_in_service_at_once_and_starts_the_model_server(tmp_path, bundles):
    made = Cluster(tmp_path / "models", bundles)
    made.store = ModelStore(tmp_path / "fresh")
    made.place = Place(made.clock, PLACEHOLDER, made.store)
    made.new_controller()
    released = made.step(bundles[0])
    assert made.store.current("toy") == released
    made.run(30)
    assert made.place.traffic == Traffic(baseline=released.version)
    assert waiting(made.store, "toy") == ()
    assert made.place.events == []


def test_it_begins_when_the_version_in_service_is_in_force_and_answers(cluster, caplog):
    cluster.place.traffic = Traffic(baseline="by hand")
    cluster.step(cluster.bundles[1])
    cluster.run(100)
    assert cluster.told() == []
    assert cluster.place.traffic == Traffic(baseline="by hand")
    assert f"{cluster.versions[0]} is to be in service and answer; in force is by hand" in (
        caplog.text
    )
    cluster.place.traffic = Traffic(baseline=cluster.versions[0])
    cluster.run(20)
    assert cluster.told() == [("began", 1)]


def test_with_approval_by_hand_the_step_asks_and_the_controller_wants_the_signature(
    cluster, tmp_path, caplog
):
    key = new_private_key(tmp_path / "ada.pem")
    cluster.settings = config(approval="manual", approvers={"ada": public_key_of(key)})
    cluster.new_controller()
    request = cluster.step(cluster.bundles[1])
    assert isinstance(request, ApprovalRequest)
    hand_over(cluster.store, "toy", request.candidate, run_digest=RUN)
    cluster.run(100)
    assert cluster.told() == []
    assert "nobody approved" in caplog.text
    signed = sign_approval(request, by="ada", reason="small gaps", key=key)
    write_record(request_folder(cluster.store, "toy", RUN) / APPROVAL, signed)
    cluster.run(600)
    assert cluster.told() == [WHOLE[0], ("approved", 1), *WHOLE[1:]]


def test_a_step_that_steps_itself_waits_for_the_end(cluster):
    settings = config(controller="step")
    seen = []

    def wait(handed):
        seen.append(handed)
        cluster.run(900)
        return cluster.place.states[-1]

    ended = cluster.step(cluster.bundles[1], wait=wait, settings=settings)
    assert (ended.phase, ended.candidate) == ("promoted", seen[0].candidate)
    assert cluster.in_service == 1


def test_without_a_controller_what_is_promoted_is_in_service_at_once(cluster):
    cluster.step(cluster.bundles[1], settings=config(controller="none"))
    assert cluster.in_service == 1
    assert waiting(cluster.store, "toy") == ()


def test_on_this_machine_nothing_is_served_and_the_pointer_moves_at_once(tmp_path, bundles):
    for bundle in bundles[:2]:
        release_of_run(tmp_path, bundle, run_digest=RUN, approval="auto", on_cluster="")
    assert ModelStore(tmp_path).current("toy").version == version(bundles[1])


def test_the_pipelines_step_on_a_cluster_reads_all_it_needs_from_the_configuration(
    tmp_path, bundles
):
    done = [
        release_of_run(
            tmp_path, bundle, run_digest=RUN, approval="auto", on_cluster=config().model_dump_json()
        )
        for bundle in bundles[:2]
    ]
    assert [type(record) for record in done] == [Release, HandedOver]
    assert ModelStore(tmp_path).current("toy") == done[0]


def test_a_release_whose_state_was_deleted_is_over_and_the_next_one_begins(cluster):
    cluster.step(cluster.bundles[1])
    cluster.run(100)
    cluster.place._state, cluster.place.traffic = None, Traffic(baseline=cluster.versions[0])
    cluster.step(cluster.bundles[2])
    cluster.run(900)
    assert cluster.told()[-5:-3] == [("rolled_back", 1), ("began", 2)]
    assert cluster.in_service == 2
    assert timedelta(seconds=0) < cluster.clock.now - cluster.place.routed_at


def test_a_damaged_file_stops_nobody(cluster, caplog):
    cluster.step(cluster.bundles[1])
    folder = cluster.store.folder_of("toy") / "rollout" / "handed_over"
    (folder / "odd.json").write_text("{")
    cluster.run(900)
    assert cluster.in_service == 1
    assert "odd.json is no candidate that was handed over" in caplog.text
