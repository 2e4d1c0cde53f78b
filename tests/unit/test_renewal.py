"""Thresholds that follow the share of violating posts from window to window, without a retrain."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from tests.unit.test_threshold_update import Place as ModelPlace
from tests.unit.test_threshold_update import made  # noqa: F401 (fixture)
from tests.unit.test_trigger import CONFIG, NEW, NOON, Store, later, noticed
from tests.unit.test_watch import CONFIG as WATCH
from tests.unit.test_watch import START
from tests.unit.test_watch import Place as LogPlace
from tidegate.models.bundle import load_bundle
from tidegate.monitoring.trigger import decide, ended, pull
from tidegate.monitoring.watch import signals_from

RENEW = WATCH.model_copy(
    update={
        "scales": (1,),
        "trigger": WATCH.trigger.model_copy(update={"renew_threshold": 0.1}),
    }
)


class Loop:
    """A bundle in service, its log, its monitor and the trigger that renews its threshold."""

    def __init__(self, folder, bundle):
        self.models = ModelPlace(folder, bundle)
        self.log = LogPlace(folder, folder / "first")
        self.store = Store()
        self.folder = folder

    def in_service(self):
        store = self.models.store
        return store.bundle_folder(store.current("toy"))

    def day(self, day, prevalence):
        """Serve a day, look at it, act, and return the share of flagged rows that violate."""
        bundle = load_bundle(self.in_service())
        self.log.bundle, self.log.loaded = self.in_service(), bundle
        served = self.log.serve(day, rows=2000, prevalence=prevalence)
        self.report = self.log.check(day + 1.3, config=RENEW)
        self.signals = signals_from(self.report, RENEW)
        self.updates = []

        def act(request):
            trigger = {"renew_threshold": 0.1}
            update = self.models.update(
                request, policy={"min_precision": 0.9}, monitor={"trigger": trigger}
            )
            self.updates.append(update)
            self.store.state = ended(self.store.state, request.name, replaced_model=False)

        now = START + timedelta(days=day + 1.3)
        pull(self.store, "toy", self.signals, now, RENEW.trigger, act)
        flagged = served["score"] >= bundle.manifest.threshold
        return served["label"][flagged].mean()


@pytest.fixture
def loop(tmp_path, made):  # noqa: F811
    return Loop(tmp_path, made)


def test_a_threshold_follows_a_share_that_moves_and_keeps_the_floor(loop):
    first = loop.day(0, prevalence=0.1)
    assert first < 0.8, "the threshold was chosen where half of the posts violate"
    assert [update.outcome for update in loop.updates] == ["in_service"]
    assert loop.day(1, prevalence=0.1) >= 0.8
    raised = load_bundle(loop.in_service()).manifest.threshold
    loop.day(2, prevalence=0.5)
    lowered = load_bundle(loop.in_service()).manifest.threshold
    assert lowered < raised
    assert "in the next window" in loop.updates[0].says


def test_what_was_served_under_an_earlier_threshold_still_counts(loop):
    loop.day(0, prevalence=0.1)
    before = load_bundle(loop.log.bundle).manifest.version
    after = load_bundle(loop.in_service()).manifest
    assert before in after.same_scores
    loop.log.serve(1, rows=300, prevalence=0.1, version=before)
    loop.log.serve(1, rows=300, hour=9, prevalence=0.1, version=after.version)
    loop.log.serve(1, rows=300, hour=11, prevalence=0.1, version="another model")
    loop.log.bundle = loop.in_service()
    (check,) = loop.log.check(2.3, config=RENEW).checks
    assert check.rows == 600
    assert check.left_out.other_version_rows == 300


def test_a_threshold_that_decides_alike_is_left_alone(loop):
    loop.day(0, prevalence=0.1)
    loop.day(1, prevalence=0.1)
    found = loop.report.checks[-1].diagnosis.next_window
    assert abs(found.flagged - found.flagged_in_service) <= 0.1 * found.flagged
    assert "stale_threshold" not in [signal.cause for signal in loop.signals]


def test_nobody_is_asked_who_did_not_ask_for_renewal(loop):
    loop.day(0, prevalence=0.1)
    assert "stale_threshold" in [signal.cause for signal in loop.signals]
    assert "stale_threshold" not in [s.cause for s in signals_from(loop.report, WATCH)]


def test_a_renewal_neither_rests_nor_makes_others_rest():
    state, first = decide(NEW, [noticed("covariate_shift")], NOON, CONFIG)
    state = ended(state, first.request.name, replaced_model=True)
    state, renewal = decide(state, [noticed("stale_threshold")], later(1), CONFIG)
    assert renewal.request.remedy == "threshold_update"
    assert renewal.request.name.startswith("renewal-comments-")
    state = ended(state, renewal.request.name, replaced_model=False)
    _, later_one = decide(state, [noticed("concept_drift")], later(25), CONFIG)
    assert later_one.request.remedy == "full_retrain"


def test_only_what_was_said_of_the_latest_window_is_renewed():
    windows = ["2026-01-03", "2026-01-05", "2026-01-04"]
    signals = [noticed("stale_threshold", window=window) for window in windows]
    state, verdict = decide(NEW, signals, NOON, CONFIG)
    assert verdict.request.window == "2026-01-05"
    assert state.waiting == ()


def test_another_threshold_answers_what_asked_for_one_and_nothing_else():
    state, first = decide(NEW, [noticed("prior_shift")], NOON, CONFIG)
    more = [noticed("prior_shift", window="w2"), noticed("concept_drift", window="w2")]
    state, _ = decide(state, more, later(1), CONFIG)
    state = ended(state, first.request.name, replaced_model=True)
    assert [signal.cause for signal in state.waiting] == ["concept_drift"]


@pytest.mark.parametrize(
    "policy", [{"objective": "max_fpr", "max_fpr": 0.05}, {"segments": "lang"}]
)
def test_a_policy_without_one_floor_cannot_be_renewed(tmp_path, policy):
    models = ModelPlace.__new__(ModelPlace)
    with pytest.raises(ValidationError, match="renew_threshold"):
        models.config(policy=policy, monitor={"trigger": {"renew_threshold": 0.1}})


def test_a_threshold_that_was_refused_answers_nothing():
    state, first = decide(NEW, [noticed("prior_shift")], NOON, CONFIG)
    state, _ = decide(state, [noticed("prior_shift", window="w2")], later(1), CONFIG)
    state = ended(state, first.request.name, replaced_model=False)
    assert [signal.cause for signal in state.waiting] == ["prior_shift"]
