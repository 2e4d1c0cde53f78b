"""Every way for a candidate to be bad is caught at the first look that sees it."""

from dataclasses import replace

import numpy as np
import pytest

from tests.release_sample import (
    CONFIG,
    POLICY,
    decided,
    equal,
    golden,
    labelled,
    ops_counts,
    with_ops,
    with_platform,
    with_scores,
)
from tidegate.config import RolloutConfig
from tidegate.rollout.analysis import analyse
from tidegate.rollout.evidence import Appeals, Evidence, OpsEvidence


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def judged(evidence, memory=None, *, config=CONFIG):
    return analyse(evidence, config, memory or {}, policy=POLICY)[0]


def named(analysis, verdict):
    return {finding.name for finding in analysis.findings if finding.verdict == verdict}


def test_a_look_at_an_equal_model_advances_and_says_what_it_saw(rng):
    analysis = judged(equal(rng))
    assert analysis.verdict == "advance"
    assert analysis.candidate_requests == 1000
    assert {f.source for f in analysis.findings} == {"ops", "decisions", "quality"}
    assert all(f.says and "\n" not in f.says for f in analysis.findings)


def test_failing_requests_beyond_the_limit_and_the_baseline_roll_back(rng):
    analysis = judged(with_ops(equal(rng, requests=600), errors=40.0))
    assert named(analysis, "rollback") == {"errors"}
    says = analysis.findings[0].says
    assert says.startswith("6.7 % of 600 requests failed, ")
    assert says.endswith("1 % is bearable")


def test_a_version_that_fails_no_more_than_a_failing_baseline_waits(rng):
    evidence = with_ops(equal(rng), errors=60.0)
    both = replace(evidence.ops, baseline=replace(evidence.ops.baseline, errors=1200.0))
    assert judged(replace(evidence, ops=both)).verdict == "pause"


def test_a_p99_three_times_the_baseline_s_rolls_back_long_before_the_absolute_limit(rng):
    slow = ops_counts(rng, 1000, median_ms=36.0)
    analysis = judged(with_ops(equal(rng), slower=slow.slower))
    assert named(analysis, "rollback") == {"p99"}
    assert analysis.findings[0].candidate > 2 * analysis.findings[0].baseline


def test_a_fault_that_begins_late_in_a_long_good_step_is_seen_in_its_own_interval(rng):
    memory, total = {}, None
    for _ in range(14):
        evidence = equal(rng, step=2, percent=25)
        total = evidence.ops if total is None else total
        grown = replace(
            evidence.ops.candidate,
            requests=total.candidate.requests + 1000,
            errors=total.candidate.errors + 2,
        )
        total = replace(total, candidate=grown)
        analysis, memory = analyse(replace(evidence, ops=total), CONFIG, memory)
        assert analysis.verdict == "advance"
    late = replace(total.candidate, requests=grown.requests + 1000, errors=grown.errors + 80)
    others = replace(
        total.baseline,
        requests=total.baseline.requests + 3000,
        slower={edge: slow + 0 for edge, slow in total.baseline.slower.items()},
    )
    evidence = replace(equal(rng, step=2, percent=25), ops=OpsEvidence(late, others))
    assert "errors" in named(judged(evidence, memory), "rollback")


def test_memory_that_fills_steadily_pauses_and_past_the_limit_rolls_back(rng):
    rising = [(15.0 * i, 0.5 + 0.01 * i) for i in range(8)]
    analysis = judged(with_ops(equal(rng), saturation=rising))
    assert named(analysis, "pause") == {"saturation"}
    assert "grows by 240 % an hour" in analysis.findings[0].says
    full = [(at, value + 0.4) for at, value in rising]
    assert named(judged(with_ops(equal(rng), saturation=full)), "rollback") == {"saturation"}


def test_memory_that_fills_in_both_versions_alike_is_no_leak(rng):
    evidence = equal(rng)
    rising = [(15.0 * i, 0.5 + 0.01 * i) for i in range(8)]
    alike = replace(evidence.ops, baseline=replace(evidence.ops.baseline, saturation=rising))
    assert judged(with_ops(replace(evidence, ops=alike), saturation=rising)).verdict == "advance"


def test_one_score_that_is_no_number_rolls_back(rng):
    evidence = equal(rng, rows=300)
    scores = evidence.decisions.candidate_score.copy()
    scores[7] = np.nan
    assert named(judged(with_scores(evidence, scores)), "rollback") == {"finite scores"}


def test_inverted_decisions_roll_back_in_shadow_and_on_golden_rows(rng):
    evidence = equal(rng, step=0, percent=0, rows=300)
    inverted = with_scores(evidence, 1 - evidence.decisions.candidate_score)
    bad = replace(evidence.quality, golden=golden(np.random.default_rng(0), right=0.1))
    found = named(judged(replace(inverted, quality=bad)), "rollback")
    assert {"flips", "golden recall", "golden precision"} <= found


def test_a_candidate_that_fails_on_replayed_rows_rolls_back(rng):
    evidence = equal(rng, step=0, percent=0, rows=300)
    failed = np.arange(300) < 40
    decisions = replace(evidence.decisions, candidate_failed=failed)
    assert named(judged(replace(evidence, decisions=decisions)), "rollback") == {"replay failures"}


def test_a_review_flood_rolls_back_by_capacity_and_not_where_the_baseline_floods_too(rng):
    evidence = equal(rng, rows=500)
    scores = evidence.decisions.baseline_score
    flood = with_scores(evidence, scores, threshold=np.quantile(scores, 0.7))
    assert "review volume" in named(judged(flood), "rollback")
    alike = replace(flood.decisions, baseline_decision=flood.decisions.candidate_decision)
    assert named(judged(replace(flood, decisions=alike)), "rollback") == set()
    assert named(judged(replace(flood, decisions=alike)), "pause") == {"review volume"}


def test_harm_to_one_small_group_rolls_back_though_all_rows_together_look_well(rng):
    evidence = equal(rng, rows=600)
    scores = evidence.decisions.candidate_score.copy()
    west = np.array(evidence.decisions.groups["dialect"]) == "west"
    scores[west] = 0.95
    found = judged(with_scores(evidence, scores))
    assert "group flips: dialect=west" in named(found, "rollback")
    assert "flips" not in named(found, "rollback")


def test_rows_of_several_groups_count_in_each(rng):
    evidence = equal(rng, rows=300)
    scores = 1 - evidence.decisions.candidate_score
    groups = {"topic": [("a", "b")] * 150 + [()] * 150}
    decisions = replace(evidence.decisions, groups=groups)
    found = judged(with_scores(replace(evidence, decisions=decisions), scores))
    assert {"group flips: topic=a", "group flips: topic=b"} <= named(found, "rollback")


def test_precision_that_falls_rolls_back_weighted_or_not(rng):
    rows = labelled(rng, 3000, share=0.25, precision=0.7)
    evidence = equal(rng, step=2, percent=25)
    assert "precision" in named(
        judged(replace(evidence, quality=replace(evidence.quality, labels=rows))), "rollback"
    )
    weighted = replace(rows, max_weight=2.0, weight=np.full(3000, 2.0))
    assert "precision" in named(
        judged(replace(evidence, quality=replace(evidence.quality, labels=weighted))), "rollback"
    )


def test_appeals_that_are_upheld_far_more_often_roll_back(rng):
    evidence = equal(rng)
    quality = replace(evidence.quality, appeals=Appeals(300, 60, 2000, 20))
    assert named(judged(replace(evidence, quality=quality)), "rollback") == {"appeals"}


@pytest.mark.parametrize(
    ("changes", "name", "told"),
    [
        ({"served_versions": frozenset({"v1"})}, "served version", "version v1 answers"),
        ({"served_thresholds": frozenset({0.1})}, "served threshold", "manifest says 0.8"),
        (
            {"served_outputs": frozenset({("score", "BYTES"), ("flagged", "BOOL")})},
            "output schema",
            "lack score (FP64)",
        ),
        ({"restarts": 5}, "restarts", "restarted 5 times, 2 are bearable"),
    ],
)
def test_another_model_than_was_meant_is_rolled_back_at_once(rng, changes, name, told):
    analysis = judged(with_platform(equal(rng, requests=0, rows=0), **changes))
    assert named(analysis, "rollback") == {name}
    assert told in analysis.findings[0].says


def test_a_candidate_that_is_not_ready_pauses(rng):
    assert named(judged(with_platform(equal(rng), ready=False)), "pause") == {"readiness"}


def test_missing_metrics_pause_unless_they_are_not_required(rng):
    for ops in (
        None,
        OpsEvidence(problem="Prometheus did not answer within 5 s"),
        OpsEvidence(baseline=ops_counts(rng, 1000)),
        OpsEvidence(candidate=ops_counts(rng, 1000)),
    ):
        evidence = replace(equal(rng), ops=ops)
        assert named(judged(evidence), "pause") == {"metrics"}
        lenient = RolloutConfig(ops={"required": False})
        assert judged(evidence, config=lenient).verdict == "advance"


def test_a_shadow_without_enough_replayed_rows_is_inconclusive(rng):
    shadow = equal(rng, step=0, percent=0, rows=150)
    analysis, memory = analyse(shadow, CONFIG, {})
    assert named(analysis, "pause") == {"flips"}
    assert "150 rows were replayed, fewer than the 200" in analysis.findings[0].says
    assert judged(shadow, memory).verdict == "advance"
    assert judged(replace(shadow, decisions=None)).verdict == "pause"
    assert judged(replace(equal(rng), decisions=None)).verdict == "advance"


def test_nothing_known_is_never_a_reason_to_advance():
    assert judged(Evidence(step=0, percent=0)).verdict == "pause"


def test_the_mean_score_may_move_unless_a_limit_is_set(rng):
    evidence = equal(rng, rows=800)
    moved = with_scores(evidence, np.minimum(evidence.decisions.baseline_score + 0.2, 1.0))
    decisions = replace(moved.decisions, candidate_decision=moved.decisions.baseline_decision)
    moved = replace(moved, decisions=decisions)
    assert judged(moved).verdict == "advance"
    strict = RolloutConfig(quality={"max_score_shift": 0.05})
    assert named(judged(moved, config=strict), "rollback") == {"score shift"}


def test_decided_is_what_a_bundle_without_review_band_does():
    assert decided(np.array([0.79, 0.8])) == ["leave", "flagged"]
