"""Evidence of made-up releases: two equal versions, and one way each to be worse."""

from dataclasses import replace

import numpy as np

from tidegate.config import PolicyConfig, RolloutConfig
from tidegate.rollout.evidence import (
    Appeals,
    Decisions,
    Evidence,
    GoldenRows,
    LabelledRows,
    OpsCounts,
    OpsEvidence,
    PlatformFacts,
    QualityEvidence,
)

CONFIG = RolloutConfig()
POLICY = PolicyConfig(posts_per_day=100_000, review_capacity=15_000)
EDGES = (5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 1000.0)
THRESHOLD = 0.8
GROUPS = ("north", "south", "east", "west")


def ops_counts(rng, requests, *, error_share=0.002, median_ms=12.0, saturation=()):
    """Draw one version's serving: latencies are log-normal, the p99 four times the median."""
    taken = median_ms * np.exp(0.6 * rng.standard_normal(requests))
    return OpsCounts(
        requests=float(requests),
        errors=float(rng.binomial(requests, error_share)),
        slower={edge: float((taken > edge).sum()) for edge in EDGES},
        saturation=saturation or [(15.0 * i, 0.5 + 0.01 * rng.random()) for i in range(8)],
    )


def summed(before, now):
    """Add a look's counts to those of the step."""
    return OpsCounts(
        before.requests + now.requests,
        before.errors + now.errors,
        {edge: before.slower[edge] + now.slower[edge] for edge in EDGES},
        now.saturation,
    )


def decided(scores, threshold=THRESHOLD):
    """Decide scores as a bundle without a review band does."""
    return np.where(scores >= threshold, "flagged", "leave").tolist()


def replayed(rng, rows, *, candidate_score=None):
    """Draw replayed rows; by default both versions score them alike."""
    scores = rng.beta(0.6, 2.5, rows)
    own = scores if candidate_score is None else candidate_score(scores)
    none = np.zeros(rows, bool)
    return Decisions(
        candidate_score=own,
        baseline_score=scores,
        candidate_decision=decided(own),
        baseline_decision=decided(scores),
        candidate_failed=none,
        baseline_failed=none,
        groups={"dialect": rng.choice(GROUPS, rows, p=[0.4, 0.3, 0.2, 0.1]).tolist()},
    )


def golden(rng, rows=400, *, right=0.9):
    """Draw a golden set on which the baseline is right nine times in ten."""
    label = rng.random(rows) < 0.4
    noise = rng.random(rows)
    return GoldenRows(
        label=label,
        candidate_flagged=np.where(noise < right, label, ~label),
        baseline_flagged=np.where(noise < 0.9, label, ~label),
    )


def labelled(rng, rows, *, share, precision=0.92):
    """Draw reviewed rows of both versions, of which `share` the candidate has served."""
    mine = rng.random(rows) < share
    right = rng.random(rows) < np.where(mine, precision, 0.92)
    return LabelledRows(
        by_candidate=mine,
        flagged=np.ones(rows, bool),
        label=right,
        weight=np.ones(rows),
        groups={"dialect": rng.choice(GROUPS, rows).tolist()},
    )


def equal(rng, *, step=1, percent=5, requests=1000, rows=400):
    """Return what one look at a release of an equal model sees; the baseline gets the rest."""
    others = int(min(20_000, requests * (100 - percent) / max(percent, 1)))
    return Evidence(
        step=step,
        percent=percent,
        ops=OpsEvidence(
            candidate=ops_counts(rng, requests), baseline=ops_counts(rng, max(others, 1))
        ),
        decisions=replayed(rng, rows),
        quality=QualityEvidence(
            golden=golden(np.random.default_rng(0)),
            labels=labelled(rng, 200, share=percent / 100),
            appeals=Appeals(150, int(rng.binomial(150, 0.01)), 2000, int(rng.binomial(2000, 0.01))),
        ),
        platform=PlatformFacts(
            ready=True,
            restarts=0,
            served_versions=frozenset({"v2"}),
            version="v2",
            served_thresholds=frozenset({THRESHOLD}),
            thresholds=frozenset({THRESHOLD}),
            served_outputs=frozenset({("score", "FP64"), ("flagged", "BOOL")}),
            outputs=frozenset({("score", "FP64"), ("flagged", "BOOL")}),
        ),
    )


def with_ops(evidence, **changes):
    """Change the candidate's serving counts."""
    return replace(
        evidence, ops=replace(evidence.ops, candidate=replace(evidence.ops.candidate, **changes))
    )


def with_scores(evidence, scores, *, threshold=THRESHOLD):
    """Let the candidate have scored the replayed rows otherwise."""
    decisions = replace(
        evidence.decisions, candidate_score=scores, candidate_decision=decided(scores, threshold)
    )
    return replace(evidence, decisions=decisions)


def with_platform(evidence, **changes):
    """Change what the candidate is."""
    return replace(evidence, platform=replace(evidence.platform, **changes))
