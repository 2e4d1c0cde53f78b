"""A mitigated model beside the untreated one: whether it is fairer, and what that costs."""

from typing import Any

from tidegate.config import PolicyConfig
from tidegate.evaluation.comparison import Baseline, compare
from tidegate.evaluation.served_rule import served_cuts
from tidegate.records import EvaluationReport, MitigationReport, TreatedModel


def mitigation_report(
    treated: TreatedModel,
    judged: EvaluationReport,
    holdout: Any,
    untreated: Baseline,
    policy: PolicyConfig,
) -> MitigationReport:
    """Show a mitigated model beside the untreated one.

    Parameters
    ----------
    treated : TreatedModel
        Which mitigation.
    judged : EvaluationReport
        The same judgement of its tables that the candidate had, with a threshold of its own.
    holdout : DataFrame
        Scored by it.
    untreated : Baseline
        The candidate, with what it serves by.
    policy : PolicyConfig
        The confidence of the differences, and production's prevalence.
    """
    cuts = served_cuts(judged.threshold, judged.segments, holdout, policy)
    beside = compare(
        holdout, cuts, untreated, confidence=policy.confidence, prevalence=policy.prevalence
    )
    return MitigationReport(
        name=treated.name,
        algorithm=treated.algorithm,
        threshold=judged.threshold,
        precision=judged.precision,
        recall=judged.recall,
        fairness=judged.fairness,
        groups=judged.groups,
        differences=beside.differences,
        decision=judged.decision,
        reasons=judged.reasons,
    )


def untreated_report(judged: EvaluationReport) -> MitigationReport:
    """Return the candidate itself in the form of those that stand beside it."""
    return MitigationReport(
        name="untreated",
        algorithm=judged.algorithm,
        threshold=judged.threshold,
        precision=judged.precision,
        recall=judged.recall,
        fairness=judged.fairness,
        groups=judged.groups,
        differences={},
        decision=judged.decision,
        reasons=judged.reasons,
    )


def preferred(report: EvaluationReport, policy: PolicyConfig) -> str | None:
    """Return the mitigation whose model may be released instead of one that fails its audit.

    It must pass the audit and every other gate; of several the one of highest average precision
    wins. None unless the policy lets mitigations win, and the untreated model fails. All are judged
    on one holdout: where one audit passes wrongly with a chance of at most half of one minus the
    confidence, the choice among k does so with at most k times that.
    """
    if not policy.mitigation_wins or report.fairness.verdict != "fail":
        return None
    passed = [
        found
        for found in report.mitigations
        if found.fairness.verdict == "pass" and found.decision == "promote"
    ]
    if not passed:
        return None
    return max(passed, key=lambda found: found.differences["average_precision"].candidate).name
