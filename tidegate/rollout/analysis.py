"""The judgement of one step of a release: from evidence to advance, pause or rollback."""

from collections.abc import Mapping
from typing import Any

from tidegate.config import PolicyConfig, RolloutConfig
from tidegate.records import Finding, StepAnalysis, Verdict
from tidegate.rollout.budget import Budget
from tidegate.rollout.evidence import Evidence
from tidegate.rollout.findings import (
    decision_findings,
    ops_findings,
    platform_findings,
    quality_findings,
)
from tidegate.rollout.findings.judgement import worst_of


def analyse(
    evidence: Evidence,
    config: RolloutConfig,
    memory: Mapping[str, Any],
    *,
    policy: PolicyConfig | None = None,
) -> tuple[StepAnalysis, dict[str, object]]:
    """Judge a step by everything that is known of it.

    A release of a model that is equal to the baseline is rolled back with probability at most
    `false_rollback_share`, over all its steps, looks and tests. A model that answers nothing, the
    wrong thing or with the wrong version is rolled back at once.

    Parameters
    ----------
    evidence : Evidence
        What was seen since the last analysis (serving: since the step began).
    config : RolloutConfig
        The limits.
    memory : mapping
        What the last analysis of this release returned; empty at its first.
    policy : PolicyConfig, optional
        Its `review_capacity` and `posts_per_day` say how many posts people can look at.

    Returns
    -------
    (StepAnalysis, dict)
        The verdict with its findings, worst first, and the memory for the next analysis.
    """
    budget = Budget(config, memory, step=evidence.step)
    findings = [
        *platform_findings(evidence.platform, config.ops),
        *ops_findings(evidence.ops, config, budget, percent_of_traffic=evidence.percent),
        *_decisions(evidence, config, budget, policy),
        *quality_findings(evidence.quality, config, budget),
    ]
    order: tuple[Verdict, ...] = ("rollback", "pause", "advance")
    findings.sort(key=lambda finding: order.index(finding.verdict))
    answered = 0.0
    if evidence.decisions is not None:
        answered = float((~evidence.decisions.candidate_failed).sum())
    replayed = budget.step_sums("answered replays", (answered,))[0]
    served = 0.0
    if evidence.ops is not None and evidence.ops.candidate is not None:
        served = evidence.ops.candidate.requests
    analysis = StepAnalysis(
        verdict=worst_of(finding.verdict for finding in findings),
        findings=tuple(findings),
        candidate_requests=int(max(served, replayed)),
    )
    return analysis, budget.memory


def _decisions(
    evidence: Evidence, config: RolloutConfig, budget: Budget, policy: PolicyConfig | None
) -> tuple[Finding, ...]:
    if evidence.decisions is not None:
        return decision_findings(evidence.decisions, config, budget, policy=policy)
    # A shadow that saw nothing has shown nothing; later steps have traffic of their own.
    verdict: Verdict = "pause" if evidence.percent == 0 else "advance"
    problem = evidence.decisions_problem or "there is no payload log to take requests from"
    says = f"no logged requests were replayed: {problem}"
    return (Finding(source="decisions", name="replay", verdict=verdict, says=says),)
