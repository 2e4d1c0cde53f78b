"""Steps of a release on KServe: who gets requests before, while and after the traffic changes."""

import pytest

from tests.cluster.kserve.conftest import CONFIG, KEPT, NEW, OLD
from tidegate.errors import BadInput
from tidegate.records import Traffic

MODES = pytest.mark.parametrize("mode", ["Standard", "Knative"])


def canary(percent):
    return Traffic(baseline=OLD, candidate=NEW, candidate_percent=percent)


def walk(made, *percents):
    for percent in percents:
        assert made.backend.settle(canary(percent)).settled
    return made


@MODES
def test_a_release_walks_from_shadow_to_everything_and_loses_no_request(cluster, mode):
    made = cluster(mode)
    for percent in (0, 5, 25, 50, 100):
        observed = made.backend.settle(canary(percent))
        assert observed.settled, observed.notes
        assert observed.traffic == canary(percent)
        assert observed.candidate_ready
        assert made.answers() == {v: p for v, p in ((OLD, 100 - percent), (NEW, percent)) if p}
    observed = made.backend.settle(Traffic(baseline=NEW))
    assert (observed.traffic, observed.settled) == (Traffic(baseline=NEW), True)
    assert made.answers() == {NEW: 100}
    assert made.kserve.pod_starts == 2  # the promoted pods are the candidate's own
    assert not any("nobody" in answered for answered in made.kserve.answered)


@MODES
@pytest.mark.parametrize("percent", [0, 5, 50, 100])
def test_a_rollback_gives_everything_back_and_loses_no_request(cluster, mode, percent):
    made = walk(cluster(mode), *sorted({0, percent}))
    made.kserve.answered.clear()
    began = made.clock.monotonic()
    observed = made.backend.settle(Traffic(baseline=OLD))
    assert (observed.traffic, observed.settled) == (Traffic(baseline=OLD), True), observed.notes
    assert made.clock.monotonic() - began < 60
    assert made.answers() == {OLD: 100}
    assert not any("nobody" in answered for answered in made.kserve.answered)
    assert "canary" not in made.service()["spec"]
    assert "canaryTrafficPercent" not in made.service()["spec"]["predictor"]


@MODES
def test_a_rollback_takes_the_candidates_requests_with_its_first_patch(cluster, mode):
    made = walk(cluster(mode), 0, 25)
    made.backend.route(Traffic(baseline=OLD))
    made.kserve.round()
    assert made.answers() == {OLD: 100}


@MODES
def test_any_kept_version_comes_back_by_one_patch_and_the_old_pods_answer_until_then(cluster, mode):
    made = cluster(mode)
    made.kubernetes.requests.clear()
    made.backend.route(Traffic(baseline=KEPT))
    assert [method for method, *_ in made.written()] == ["PATCH"]
    observed = made.backend.settle(Traffic(baseline=KEPT))
    assert (observed.traffic, observed.settled) == (Traffic(baseline=KEPT), True)
    assert made.answers() == {KEPT: 100}
    assert not any("nobody" in answered for answered in made.kserve.answered)


@MODES
def test_what_was_told_already_changes_nothing(cluster, mode):
    made = walk(cluster(mode), 5)
    made.kubernetes.requests.clear()
    made.backend.route(canary(5))
    assert made.written() == []


@MODES
def test_a_second_release_after_a_promotion_has_a_slot_of_its_own(cluster, mode):
    made = walk(cluster(mode), 100)
    made.backend.settle(Traffic(baseline=NEW))
    third = Traffic(baseline=NEW, candidate=KEPT, candidate_percent=5)
    assert made.backend.settle(third).settled
    assert made.answers() == {NEW: 95, KEPT: 5}


@MODES
def test_the_first_release_starts_what_was_installed_stopped(cluster, mode):
    made = cluster(mode, serving=None)
    assert not made.backend.observe().settled
    observed = made.backend.settle(Traffic(baseline=NEW))
    assert (observed.settled, made.answers()) == (True, {NEW: 100})


@MODES
def test_a_candidate_that_never_gets_ready_gets_no_request(cluster, mode):
    made = cluster(mode)
    made.kserve.broken.add(NEW)
    observed = made.backend.settle(canary(25), seconds=8)
    assert (observed.settled, observed.candidate_ready) == (False, False)
    assert observed.baseline_ready
    assert any(NEW in note or "blue" in note for note in observed.notes)
    assert all(NEW not in answered for answered in made.kserve.answered)


def test_a_rollback_told_once_leaves_nothing_to_be_told_again(cluster):
    made = walk(cluster("Knative"), 0, 50)
    made.backend.route(Traffic(baseline=OLD))
    for _ in range(3):
        made.kserve.round()
    assert made.backend.observe().settled
    assert "canaryTrafficPercent" not in made.service()["spec"]["predictor"]


def test_requests_stay_with_the_baseline_while_its_old_revision_is_made_anew(cluster):
    made = walk(cluster("Knative"), 0, 50)
    made.kserve.broken.add(OLD)  # the new revision of the baseline never comes up
    observed = made.backend.settle(Traffic(baseline=OLD), seconds=8)
    assert not observed.settled
    assert observed.traffic == Traffic(baseline=OLD)
    assert made.answers() == {OLD: 100}


def test_knative_is_given_no_candidate_while_no_baseline_was_rolled_out(cluster):
    made = cluster("Knative")
    del made.service()["status"]["components"]
    with pytest.raises(BadInput, match="send everything to the candidate"):
        made.backend.route(canary(0))


def test_candidates_pods_that_come_before_a_change_of_slots_are_not_confused(cluster):
    made = walk(cluster("Standard"), 25)
    other = Traffic(baseline=OLD, candidate=KEPT, candidate_percent=0)
    assert made.backend.settle(other).settled
    assert made.answers() == {OLD: 100}


def test_the_pods_settings_come_from_the_configuration(cluster):
    made = cluster("Standard")
    service = CONFIG.cluster.service.model_copy(update={"min_replicas": 4})
    changed = CONFIG.model_copy(
        update={"cluster": CONFIG.cluster.model_copy(update={"service": service})}
    )
    made.backend._config = changed
    assert made.backend.settle(Traffic(baseline=OLD)).settled
    assert made.service()["spec"]["predictor"]["minReplicas"] == 4
