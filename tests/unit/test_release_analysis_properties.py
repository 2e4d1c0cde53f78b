"""What holds of every analysis: order is nothing, more harm is never better, equals stay."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.release_sample import CONFIG, POLICY, decided, equal, golden, summed, with_ops
from tidegate.config import RolloutConfig
from tidegate.rollout.analysis import analyse
from tidegate.rollout.budget import Budget
from tidegate.rollout.evidence import OpsEvidence
from tidegate.rollout.findings.judgement import VERDICTS


def severity(evidence):
    return VERDICTS.index(analyse(evidence, CONFIG, {}, policy=POLICY)[0].verdict)


def harmed(seed, errors, slow, wrong):
    """Return one look at a candidate of which so many requests or rows are bad."""
    rng = np.random.default_rng(seed)
    evidence = equal(rng, rows=300)
    counts = evidence.ops.candidate
    slower = {edge: max(count, float(slow)) for edge, count in counts.slower.items()}
    scores = evidence.decisions.baseline_score.copy()
    scores[:wrong] = 1 - scores[:wrong]
    decisions = replace(
        evidence.decisions, candidate_score=scores, candidate_decision=decided(scores)
    )
    evidence = with_ops(evidence, errors=float(errors), slower=slower)
    return replace(evidence, decisions=decisions)


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 50),
    less=st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(0, 100)),
    more=st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(0, 100)),
)
def test_more_harm_is_never_a_better_verdict(seed, less, more):
    worse = tuple(a + b for a, b in zip(less, more, strict=True))
    assert severity(harmed(seed, *worse)) >= severity(harmed(seed, *less))


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    evidence = harmed(seed, 3, 5, 40)
    order = rng.permutation(300)
    d = evidence.decisions
    moved = replace(
        d,
        candidate_score=d.candidate_score[order],
        baseline_score=d.baseline_score[order],
        candidate_decision=[d.candidate_decision[i] for i in order],
        baseline_decision=[d.baseline_decision[i] for i in order],
        groups={"dialect": [d.groups["dialect"][i] for i in order]},
    )
    one, first = analyse(evidence, CONFIG, {}, policy=POLICY)
    other, second = analyse(replace(evidence, decisions=moved), CONFIG, {}, policy=POLICY)
    assert [(f.name, f.verdict, f.says) for f in one.findings] == [
        (f.name, f.verdict, f.says) for f in other.findings
    ]
    assert first["members"] == second["members"]
    for key, sums in first["release"].items():
        assert second["release"][key] == pytest.approx(sums)


def test_releases_of_an_equal_model_are_never_rolled_back_and_seldom_wait():
    verdicts = []
    for seed in range(4):
        rng, memory = np.random.default_rng(seed), {}
        for step, percent in enumerate(CONFIG.steps):
            total = None
            for _ in range(2):
                evidence = equal(rng, step=step, percent=percent, requests=400, rows=250)
                total = grown(total, evidence.ops)
                evidence = replace(evidence, ops=total)
                analysis, memory = analyse(evidence, CONFIG, memory, policy=POLICY)
                verdicts.append(analysis.verdict)
    assert "rollback" not in verdicts
    assert verdicts.count("advance") >= 39


def grown(total, seen):
    if total is None:
        return seen
    return OpsEvidence(
        summed(total.candidate, seen.candidate), summed(total.baseline, seen.baseline)
    )


def test_the_error_that_all_tests_of_a_release_may_spend_is_no_more_than_the_whole():
    config = RolloutConfig(steps=(0, 50, 100), step_seconds=300, interval_seconds=60)
    memory, spent, once = {}, {}, {}
    for look in range(60):
        budget = Budget(config, memory, step=min(look // 5, 2))
        tests = {
            ("errors", ""): budget.add("errors", (0, 1), horizons=("step", "interval")),
            ("flips", ""): budget.add("flips", (0, 1), horizons=("release", "step", "interval")),
        }
        for group in range(20):
            tests["group flips", str(group)] = budget.add(
                "group flips", (0, 1), horizons=("release", "step", "interval"), member=str(group)
            )
        for (family, member), found in tests.items():
            for sums in found:
                if sums.horizon == "interval":
                    spent[family] = spent.get(family, 0) + sums.error
                else:
                    place = 0 if sums.horizon == "release" else min(look // 5, 2)
                    once[family, member, sums.horizon, place] = sums.error
        memory = json.loads(json.dumps(budget.memory))
    for (family, *_), error in once.items():
        spent[family] += error
    for family, error in spent.items():
        assert error <= config.false_rollback_share / 12, family


def test_golden_rows_that_are_asked_again_are_no_new_evidence():
    rng, memory = np.random.default_rng(5), {}
    mildly_worse = golden(np.random.default_rng(0), rows=60, right=0.8)
    verdicts = set()
    for _ in range(5):
        evidence = equal(rng, requests=200, rows=50)
        quality = replace(evidence.quality, golden=mildly_worse)
        config = RolloutConfig(ops={"required": False}, quality={"min_shadow_rows": 1})
        evidence = replace(evidence, ops=None, quality=quality)
        analysis, memory = analyse(evidence, config, memory)
        verdicts |= {f.verdict for f in analysis.findings if f.name == "golden recall"}
    assert len(verdicts) == 1
    assert "rollback" not in verdicts


def test_memory_that_was_written_as_json_continues_the_same():
    rng = np.random.default_rng(6)
    first, second = equal(rng, rows=250), equal(rng, rows=250)
    _, memory = analyse(first, CONFIG, {})
    straight = analyse(second, CONFIG, memory)
    assert analyse(second, CONFIG, json.loads(json.dumps(memory))) == straight
