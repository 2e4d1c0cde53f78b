"""The model in service gets another threshold, by the way that every release goes."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from tests.toy_bundle import write_toy_bundle
from tests.unit.test_watch import COLUMNS, posts
from tidegate.config import RunConfig
from tidegate.evaluation.prior_shift import estimate_prior_shift
from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle, read_manifest, with_decision_rule
from tidegate.monitoring.threshold_update import UPDATE, update_threshold
from tidegate.records import DecisionRule, RemedyRequest, ThresholdUpdate
from tidegate.rollout.approval import read_request, request_folder
from tidegate.rollout.local_backend import LocalBackend
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_record, read_table

NOW = datetime(2026, 3, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle whose threshold keeps precision 0.9 where half of the posts violate."""
    folder = tmp_path_factory.mktemp("made")
    write_toy_bundle(
        folder,
        train=posts(300, seed=0),
        norm=posts(1500, seed=1),
        columns=COLUMNS,
        max_rows=1500,
        components=3,
    )
    return folder / "bundle"


class Place:
    """A store with the bundle in service, and requests about it."""

    def __init__(self, folder, made, **rule):
        self.folder, self.store = folder, ModelStore(folder / "models")
        with_decision_rule(
            made,
            folder / "first",
            threshold=0.4,
            min_precision=0.9,
            confidence=0.95,
            rule=DecisionRule(**rule),
        )
        self.store.release(folder / "first", run_digest="run")
        self.reference = read_table(made / DRIFT_REFERENCE)

    def config(self, **sections):
        base = {
            "name": "toy",
            "data": {"source": "posts.parquet", "text": "text", "label": "label"},
            "policy": {"min_precision": 0.9, "confidence": 0.95},
        }
        return RunConfig.model_validate({**base, **sections})

    def request(self, prevalence, name="retrain-toy-1", **evidence):
        frame, _ = posts(800, seed=7, prevalence=prevalence)
        shift = estimate_prior_shift(
            self.reference["score"],
            self.reference["label"],
            load_bundle(self.folder / "first").score(frame),
            confidence=0.95,
        )
        return RemedyRequest(
            name=name,
            model="toy",
            window="2026-03-09T00:00:00+00:00",
            remedy="threshold_update",
            causes=("prior_shift",),
            says="it moved",
            asked_at="2026-03-10T00:00:00+00:00",
            evidence={"prior": shift.model_dump(mode="json"), **evidence},
        )

    def update(self, request, backend=None, **sections):
        return update_threshold(
            self.store, self.config(**sections), request, now=NOW, backend=backend
        )

    def served(self):
        return read_manifest(self.store.bundle_folder(self.store.current("toy")))


@pytest.fixture
def place(tmp_path, made):
    return Place(tmp_path, made)


def test_a_lower_prevalence_raises_the_threshold_that_serves_and_keeps_the_promise(place):
    update = place.update(place.request(0.2))
    served = place.served()
    assert update.outcome == "in_service"
    assert (served.version, served.threshold) == (update.version, update.threshold)
    assert update.threshold > 0.4
    assert served.confidence == 0.95
    assert place.store.current("toy").previous == update.version_before
    frame, label = posts(5_000, seed=9, prevalence=0.2)
    flagged = load_bundle(place.store.bundle_folder(place.store.current("toy"))).score(frame)
    assert label[flagged >= update.threshold].mean() >= 0.9
    assert label[flagged >= 0.4].mean() < 0.9, "the old threshold broke the promise"


def test_a_request_is_carried_out_once(place, monkeypatch):
    first = place.update(place.request(0.2))
    kept = place.store.current("toy")
    assert place.update(place.request(0.2)) == first
    assert place.store.current("toy") == kept


def test_one_who_was_stopped_before_the_release_goes_on(place, monkeypatch):
    from tidegate.monitoring import threshold_update

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threshold_update, "release_or_ask", stopped)
        with pytest.raises(KeyboardInterrupt):
            place.update(place.request(0.2))
    assert place.served().threshold == 0.4
    update = place.update(place.request(0.2))
    assert update.outcome == "in_service"
    assert place.served().version == update.version


def test_manual_approval_asks_and_changes_nothing(place):
    update = place.update(place.request(0.2), rollout={"approval": "manual"})
    assert update.outcome == "approval_asked"
    assert place.served().threshold == 0.4
    folders = list((place.store.folder_of("toy") / "approvals").iterdir())
    asked = read_request(folders[0])
    assert asked.candidate == update.version
    assert str(request_folder(place.store, "toy", asked.run_digest)) in update.says


def test_on_a_cluster_the_controller_gets_a_release_to_step(place):
    backend = LocalBackend(place.store, "toy")
    update = place.update(place.request(0.2), backend)
    state, _ = backend.read_state()
    assert update.outcome == "release_begun"
    assert (state.candidate, state.baseline) == (update.version, update.version_before)
    assert state.steps == (0, 5, 25, 50, 100)
    assert place.served().threshold == 0.4
    assert update.version in place.store.versions("toy")
    again = place.update(place.request(0.2, name="retrain-toy-2"), backend)
    assert again.outcome == "release_under_way"
    assert backend.read_state()[0] == state


def test_on_a_cluster_an_approver_finds_bundle_and_request_in_one_folder(place):
    backend = LocalBackend(place.store, "toy")
    update = place.update(place.request(0.2), backend, rollout={"approval": "manual"})
    folder = place.store.folder_of("toy") / "threshold_updates" / "retrain-toy-1"
    assert str(folder) in update.says
    assert read_request(folder).candidate == read_manifest(folder / "bundle").version
    assert backend.read_state() is None


def test_a_prevalence_at_which_nothing_keeps_the_promise_is_refused(place):
    update = place.update(place.request(0.2), policy={"min_precision": 0.999})
    assert update.outcome == "refused"
    assert "keeps precision 0.999" in update.says
    assert place.served().threshold == 0.4
    folder = place.store.folder_of("toy") / "threshold_updates" / "retrain-toy-1"
    assert sorted(path.name for path in folder.iterdir()) == [UPDATE]
    assert read_record(folder / UPDATE, ThresholdUpdate) == update


def test_labels_that_came_back_can_refute_a_threshold(place, tmp_path):
    """The window's scores said prior shift; those flagged turned out harmless."""
    frame, _ = posts(400, seed=11, prevalence=0.2)
    at = NOW - timedelta(days=1)
    log = tmp_path / "log" / f"date={at:%Y-%m-%d}" / f"hour={at:%H}"
    log.mkdir(parents=True)
    ids = [f"r{row}" for row in range(len(frame))]
    pd.DataFrame(
        {
            "event_id": ids,
            "row_id": ids,
            "time": pd.to_datetime([at] * len(frame), utc=True),
            "model_name": "toy",
            "model_version": place.served().version,
            "score": load_bundle(place.folder / "first").score(frame),
        }
    ).to_parquet(log / "part.parquet")
    labels = tmp_path / "labels.parquet"
    pd.DataFrame({"row_id": ids, "label": np.zeros(len(ids))}).to_parquet(labels)
    sections = {
        "serving": {"payload_log": {"uri": str(tmp_path / "log")}},
        "monitor": {"labels": str(labels)},
    }
    update = place.update(place.request(0.2), **sections)
    assert update.outcome == "refused"
    assert "labelled rows that it flags 0.000 to" in update.says
    pd.DataFrame({"row_id": ids, "label": np.ones(len(ids))}).to_parquet(labels)
    update = place.update(place.request(0.2, name="retrain-toy-2"), **sections)
    assert update.outcome == "in_service"
    assert update.labelled_flagged > 0


@pytest.mark.parametrize(
    ("evidence", "sections", "told"),
    [
        ({"prior": None}, {}, "does not say how far"),
        ({"segment": "de"}, {}, "segment 'de' alone"),
        ({"bundle_version": "another"}, {}, "noticed about another"),
        (
            {},
            {"policy": {"objective": "max_fpr", "max_fpr": 0.05}},
            "policy.objective max_fpr does not promise precision",
        ),
        ({}, {"policy": {"confidence": 0.99, "min_precision": 0.9}}, "confidence 0.95"),
    ],
)
def test_what_a_threshold_cannot_follow_is_refused(place, evidence, sections, told):
    update = place.update(place.request(0.2, **evidence), **sections)
    assert update.outcome == "refused"
    assert told in update.says


def test_thresholds_of_segments_are_left_to_a_retrain(tmp_path, made):
    place = Place(
        tmp_path, made, segment_column="lang", segment_thresholds={"de": 0.6}, review_threshold=0.2
    )
    assert "thresholds of their own" in place.update(place.request(0.2)).says


@pytest.mark.parametrize(("prevalence", "floor", "review"), [(0.2, 0.9, 0.39), (0.3, 0.7, None)])
def test_review_ends_where_flagging_begins(tmp_path, made, prevalence, floor, review):
    place = Place(tmp_path, made, review_threshold=0.39)
    update = place.update(place.request(prevalence), policy={"min_precision": floor})
    assert (update.threshold < 0.39) == (review is None)
    assert place.served().rule.review_threshold == review


def test_a_second_request_for_the_same_shift_keeps_what_serves(place):
    shift = place.request(0.2).evidence["prior"]
    first = place.update(place.request(0.2))
    again = place.update(place.request(0.2, name="retrain-toy-2", prior=shift))
    assert again.outcome == "kept"
    assert place.served().version == first.version


def test_a_record_that_is_damaged_is_named(place):
    place.update(place.request(0.2))
    path = place.store.folder_of("toy") / "threshold_updates" / "retrain-toy-1" / UPDATE
    path.write_text(json.dumps({"no": 1}))
    with pytest.raises(Exception, match="remove its folder to decide anew"):
        place.update(place.request(0.2))
