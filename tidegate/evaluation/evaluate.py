"""From two scored tables to the evaluation report."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.config import PolicyConfig
from tidegate.errors import BadInput
from tidegate.evaluation.classes import class_metrics, roc_auc_ovo
from tidegate.evaluation.comparison import Baseline, compare
from tidegate.evaluation.decision import Evidence, decide
from tidegate.evaluation.fairness import audit
from tidegate.evaluation.measurement import measure, quality, rows_of
from tidegate.evaluation.threshold import (
    best_reachable,
    choose_threshold,
    minimum_flagged,
    sample_floor,
)
from tidegate.records import EvaluationReport, SplitName


def evaluate(
    validation: Any,
    holdout: Any,
    *,
    baseline: Baseline,
    policy: PolicyConfig,
    groups: Sequence[str],
    name: str,
    algorithm: str,
    prevalence: Mapping[SplitName, float],
) -> EvaluationReport:
    """Choose the threshold on validation, measure it on the holdout, and decide.

    Parameters
    ----------
    validation, holdout : DataFrame
        Scored tables: ``label``, ``score``, and where there are any ``id``, ``weight`` and the
        group columns.
    baseline : Baseline
        The model to beat, scored on the same holdout rows.
    policy : PolicyConfig
        What the policy team demands.
    groups : sequence of str
        The group columns.
    name, algorithm : str
        The candidate's.
    prevalence : mapping
        Share of violating rows a split, as the snapshot tells it.

    Raises
    ------
    BadInput
        If a table breaks a rule, or the baseline holds other rows.
    """
    for column in groups:
        if column not in holdout.columns:
            raise BadInput("data.groups", f"the holdout has no column {column!r}", "mend the name")
    score, label, weight = rows_of(validation, "validation")
    share = weight / weight.max()
    violating = float((share * label).sum())
    sample = violating / float(share.sum())
    confidence = policy.confidence
    threshold = choose_threshold(
        score,
        label,
        min_precision=policy.min_precision,
        confidence=confidence,
        weights=weight,
        prevalence=policy.prevalence,
    )
    best = None
    if threshold is None:
        best = best_reachable(
            score, label, confidence=confidence, weights=weight, prevalence=policy.prevalence
        )
    cut = None if threshold is None else threshold.value
    measured = None
    if cut is not None:
        measured = measure(holdout, cut, confidence=confidence, prevalence=policy.prevalence)
    metrics, fairness = audit(holdout, groups=groups, threshold=cut, policy=policy)
    comparison = compare(
        holdout, cut, baseline, confidence=confidence, prevalence=policy.prevalence
    )
    decision = decide(
        Evidence(
            threshold=threshold,
            best=best,
            violating=violating,
            needed=minimum_flagged(
                sample_floor(policy.min_precision, sample, policy.prevalence), confidence
            ),
            validation_prevalence=sample,
            holdout=measured,
            fairness=fairness,
            comparison=comparison,
        ),
        policy,
    )
    figures = quality(holdout)
    classes = class_metrics(holdout)
    return EvaluationReport(
        name=name,
        algorithm=algorithm,
        average_precision=figures.average_precision,
        roc_auc=figures.roc_auc,
        log_loss=figures.log_loss,
        brier_score=figures.brier_score,
        threshold=cut,
        min_precision=policy.min_precision,
        confidence=confidence,
        precision=measured.precision if measured else None,
        precision_lower_bound=measured.precision_lower_bound if measured else None,
        recall=measured.recall if measured else None,
        recall_ci=measured.recall_ci if measured else None,
        flagged=measured.flagged if measured else None,
        rows=len(holdout),
        violating=int(holdout["label"].sum()),
        validation_threshold=threshold,
        best_reachable=best,
        prevalence=prevalence,
        groups=metrics,
        fairness=fairness,
        baseline=comparison,
        decision=decision.decision,
        reasons=decision.reasons,
        classes=classes,
        macro_f1=sum(of.f1 for of in classes) / len(classes) if classes else None,
        roc_auc_ovo=roc_auc_ovo(holdout),
    )
