import json
import threading
from datetime import timedelta

import pytest

from benchmarks.simulated_place import START, Killed
from tests.unit.rollout.scene import ToldAnalyst
from tests.unit.test_model_store import build, version
from tidegate.config import RolloutConfig
from tidegate.errors import Conflict
from tidegate.records import Traffic
from tidegate.rollout.controller import Controller
from tidegate.rollout.known_versions import known_versions
from tidegate.rollout.local_backend import LocalBackend
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.transitions import begin, return_to
from tidegate.store import read_json

CONFIG = RolloutConfig(steps=(0, 100), step_seconds=60, interval_seconds=60, min_requests=0)


class Traffics:
    """Whatever traffic it is told is in force at once."""

    def __init__(self):
        self.now = None

    def route(self, traffic):
        self.now = traffic

    def observe(self):
        from tidegate.records import Observed

        return Observed(traffic=self.now, baseline_ready=True, candidate_ready=True, settled=True)


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


@pytest.fixture
def versions(store, tmp_path):
    """Four kept versions; the first is in service."""
    bundles = [build(tmp_path / f"b{i}", f"weights {i}") for i in range(4)]
    store.release(bundles[0], run_digest="run-0")
    for bundle in bundles[1:]:
        store.keep(bundle)
    return [version(bundle) for bundle in bundles]


def start(store, versions, **changes):
    backend = LocalBackend(store, "toy", Traffics(), **changes)
    state, events = begin(
        name="toy",
        baseline=versions[0],
        candidate=versions[1],
        run_digest="run-1",
        config=CONFIG,
        actor="pat",
        now=START,
    )
    backend.write_state(state.model_copy(update={"outbox": events}), revision=None)
    return backend


def play(backend, *, minutes, verdict="advance"):
    clock = iter(START + timedelta(seconds=s) for s in range(60 * minutes * 10))
    controller = Controller(backend, ToldAnalyst(verdict), CONFIG, lambda: next(clock), "c")
    for _ in range(minutes):
        controller.tick()
        for _ in range(60):
            next(clock)


def test_a_promoted_candidate_becomes_the_version_in_service(store, versions):
    backend = start(store, versions)
    play(backend, minutes=5)

    assert store.current("toy").version == versions[1]
    assert store.current("toy").run_digest == "run-1"
    assert store.current("toy").previous == versions[0]
    assert [e.kind for e in backend.log.read()] == ["began", "advanced", "promoted"]


def test_a_failed_candidate_is_archived_with_its_evidence_and_the_baseline_stays(store, versions):
    backend = start(store, versions)
    play(backend, minutes=2, verdict="rollback")

    assert store.current("toy").version == versions[0]
    path = store.folder_of("toy") / "rollout" / "failed" / f"{versions[1]}.json"
    events = json.loads(path.read_text())["events"]
    assert [e["kind"] for e in events] == ["began", "rolled_back"]
    assert events[-1]["analysis"]["findings"][0]["says"] == "as told"


def test_a_failed_candidate_has_a_page_of_findings_and_changes_that_its_event_names(
    store, versions
):
    folder = store.folder_of("toy")
    (folder / "versions" / versions[1] / "bundle.json").rename(folder / "kept.json")
    altered = json.loads((folder / "kept.json").read_text()) | {"algorithm": "other"}
    (folder / "versions" / versions[1] / "bundle.json").write_text(json.dumps(altered))
    backend = start(store, versions)
    play(backend, minutes=3, verdict="rollback")

    last = backend.log.read()[-1]
    assert [e.kind for e in backend.log.read()] == ["began", "rolled_back"]
    assert last.page == f"failed/{versions[1]}/root_cause.html"
    page = backend.log.path.parent / last.page
    assert "as told" in page.read_text()
    cause = json.loads(page.with_suffix(".json").read_text())
    assert [f["says"] for f in cause["findings"]] == ["as told"]
    assert [(c["key"], c["baseline"], c["candidate"]) for c in cause["changes"]] == [
        ("algorithm", "weights", "other")
    ]
    # Told again, after a crash, it is the same event.
    before = backend.log.path.read_bytes()
    backend.record(last.model_copy(update={"page": None}))
    assert backend.log.path.read_bytes() == before


def test_a_roll_back_does_not_wait_for_a_page_that_cannot_be_written(store, versions, caplog):
    (store.folder_of("toy") / "versions" / versions[1] / "bundle.json").unlink()
    backend = start(store, versions)
    play(backend, minutes=2, verdict="rollback")
    last = backend.log.read()[-1]
    assert (last.kind, last.page) == ("rolled_back", None)
    assert "could not be written" in caplog.text


def test_a_later_release_by_other_means_is_never_undone(store, versions):
    backend = start(store, versions)
    play(backend, minutes=5)
    store.put_in_service("toy", versions[2])
    play(backend, minutes=5)
    assert store.current("toy").version == versions[2]


def test_a_crash_between_pointer_and_log_is_repeated_without_harm(store, versions, monkeypatch):
    backend = start(store, versions)
    append = backend.log.append

    def dies(event):
        if event.kind == "promoted":
            raise Killed
        return append(event)

    monkeypatch.setattr(backend.log, "append", dies)
    with pytest.raises(Killed):
        play(backend, minutes=5)
    assert store.current("toy").version == versions[1]
    monkeypatch.undo()
    play(backend, minutes=1)
    assert [e.kind for e in backend.log.read()][-1] == "promoted"
    assert len(store.history("toy")) == 2


def test_old_versions_go_after_a_promotion_but_none_that_is_needed(store, versions):
    backend = start(store, versions, kept_versions=1)
    play(backend, minutes=5)
    assert set(store.versions("toy")) == {versions[0], versions[1], versions[3]}


def test_failed_candidates_push_out_no_version_that_one_may_return_to(store, versions, tmp_path):
    good, failures = versions[0], versions[1:]
    for number in range(3):
        failed = start(store, [good, failures[number]], kept_versions=2)
        play(failed, minutes=2, verdict="rollback")
        (tmp_path / "store" / "toy" / "rollout" / "state.json").unlink()
    better = build(tmp_path / "better", "better weights")
    store.keep(better)
    play(start(store, [good, version(better)], kept_versions=2), minutes=5)
    assert store.current("toy").version == version(better)
    assert set(store.versions("toy")) == {good, version(better), *failures[1:]}
    home = store.folder_of("toy") / "rollout" / "failed"
    for failure in failures:
        archived = read_json(home / f"{failure}.json")
        assert [event["kind"] for event in archived["events"]] == ["began", "rolled_back"]
        assert archived["events"][-1]["analysis"]["verdict"] == "rollback"
        assert (home / failure / "root_cause.html").is_file()
    known = {one.version: one for one in known_versions(store, "toy")}
    assert [known[f].standing for f in failures] == ["failed"] * 3
    assert [known[f].is_kept for f in failures] == [False, True, True]
    assert all(known[f].page.is_file() and known[f].says == "as told" for f in failures)
    assert (known[good].standing, known[version(better)].standing) == (
        "was in service",
        "in service",
    )
    store.rollback("toy", failures[2])
    assert store.current("toy").version == failures[2]


def test_a_return_by_hand_moves_the_pointer_too(store, versions):
    backend = start(store, versions)
    play(backend, minutes=5)
    state, revision = backend.read_state()
    state, events = return_to(state, versions[3], by="kim", reason="worse", now=START)
    backend.write_state(state.model_copy(update={"outbox": events}), revision=revision)
    play(backend, minutes=1)
    assert store.current("toy").version == versions[3]
    assert backend._traffic.now == Traffic(baseline=versions[3])


def test_a_write_over_another_revision_is_refused(store, versions):
    backend = start(store, versions)
    state, revision = backend.read_state()
    later = backend.write_state(state, revision=revision)
    assert later != revision
    for stale in (revision, None):
        with pytest.raises(Conflict):
            backend.write_state(state, revision=stale)


def test_of_many_writers_at_once_one_wins(store, versions):
    backend = start(store, versions)
    state, revision = backend.read_state()
    won = []

    def write(number):
        try:
            backend.write_state(state.model_copy(update={"reason": str(number)}), revision=revision)
            won.append(number)
        except Conflict:
            pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert backend.read_state()[0].reason == str(won[0])


def test_a_lease_is_one_holder_s_until_it_runs_out_or_is_given_back(store):
    backend = LocalBackend(store, "toy")
    assert backend.hold_lease("a", START, seconds=30)
    assert not backend.hold_lease("b", START + timedelta(seconds=29), seconds=30)
    assert backend.hold_lease("a", START + timedelta(seconds=29), seconds=30)
    backend.let_go_of_lease("b")
    assert backend.lease_holder() == "a"
    assert backend.hold_lease("b", START + timedelta(seconds=60), seconds=30)
    backend.let_go_of_lease("b")
    assert backend.hold_lease("a", START + timedelta(seconds=61), seconds=30)


def test_where_nothing_is_served_nothing_is_ready(store, versions):
    start(store, versions)
    observed = LocalBackend(store, "toy").observe()
    assert not observed.settled
    assert not observed.baseline_ready
    assert observed.notes == ("nothing is served",)
