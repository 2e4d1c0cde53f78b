"""From two scored tables to the evaluation report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tidegate.config import PolicyConfig
from tidegate.decision_rule import answered_scores
from tidegate.errors import BadInput
from tidegate.evaluation.calibration import calibrate
from tidegate.evaluation.class_thresholds import class_thresholds
from tidegate.evaluation.classes import class_metrics, macro_f1, roc_auc_ovo
from tidegate.evaluation.comparison import Baseline, compare
from tidegate.evaluation.crossfit import Rows, read_folds
from tidegate.evaluation.decision import Evidence, decide
from tidegate.evaluation.fairness import audit
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import measure, quality, rows_of
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.review import review_band
from tidegate.evaluation.score_scale import reference_mapping
from tidegate.evaluation.segments import choose_by_segment
from tidegate.evaluation.served_rule import served_cuts
from tidegate.records import (
    EvaluationReport,
    ReferenceMapping,
    ReviewBand,
    SegmentThreshold,
    SplitName,
)


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
    crossfit: Any = None,
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
    crossfit : DataFrame, optional
        Training rows scored by models of their folds (`tidegate.evaluation.crossfit.read_folds`).

    Raises
    ------
    BadInput
        If a table breaks a rule, or the baseline holds other rows.
    """
    for column in groups:
        if column not in holdout.columns:
            raise BadInput("data.groups", f"the holdout has no column {column!r}", "mend the name")
    score, label, weight = rows_of(validation, "validation")
    confidence = policy.confidence
    folds = () if crossfit is None else read_folds(crossfit, validation)
    choice = choose((score, label, weight), policy, folds)
    threshold, best = choice.threshold, choice.best
    cut = None if threshold is None else threshold.value
    segments = _segments(validation, score, label, weight, policy)
    # What is measured, audited and compared is what will be served.
    cuts = served_cuts(cut, segments, holdout, policy)
    measured = None
    if cuts is not None:
        measured = measure(
            holdout,
            cuts,
            confidence=confidence,
            prevalence=policy.prevalence,
            costs=policy.costs,
        )
    metrics, fairness = audit(holdout, groups=groups, threshold=cuts, policy=policy)
    comparison = compare(
        holdout, cuts, baseline, confidence=confidence, prevalence=policy.prevalence
    )
    decision = decide(
        Evidence(
            threshold=threshold,
            best=best,
            violating=choice.have,
            needed=choice.needed,
            validation_prevalence=float(np.average(label, weights=weight)),
            holdout=measured,
            fairness=fairness,
            comparison=comparison,
            segments=segments,
        ),
        policy,
    )
    figures = quality(holdout, confidence=confidence)
    classes = class_metrics(holdout, confidence=confidence)
    macro, macro_interval = macro_f1(holdout, confidence=confidence) or (None, None)
    return EvaluationReport(
        name=name,
        algorithm=algorithm,
        average_precision=figures.average_precision,
        roc_auc=figures.roc_auc,
        log_loss=figures.log_loss,
        brier_score=figures.brier_score,
        intervals={
            **figures.intervals,
            **({} if macro_interval is None else {"macro_f1": macro_interval}),
        },
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
        review=_review(
            (score, label, weight), cut, served_cuts(cut, segments, validation, policy), policy
        ),
        segments=segments,
        calibration=calibrate(
            (score, label, weight), rows_of(holdout, "holdout"), confidence=confidence
        ),
        score_reference=_score_reference(holdout, baseline),
        classes=classes,
        class_thresholds=class_thresholds(validation, holdout, policy),
        macro_f1=macro,
        roc_auc_ovo=roc_auc_ovo(holdout),
    )


def _score_reference(holdout: Any, baseline: Baseline) -> ReferenceMapping | None:
    """Return the map to the scale of the model in service; nobody relies on the benchmark's."""
    if baseline.kind == "benchmark_model":
        return None
    return reference_mapping(
        rows_of(holdout, "holdout")[0],
        answered_scores(baseline.rule, rows_of(baseline.holdout, "baseline")[0]),
        name=baseline.name,
    )


def _review(
    rows: Rows, cut: float | None, cuts: float | FloatArray | None, policy: PolicyConfig
) -> ReviewBand | None:
    if policy.review_capacity is None or policy.posts_per_day is None:
        return None
    band = review_band(
        rows,
        cuts,
        posts_per_day=policy.posts_per_day,
        capacity=policy.review_capacity,
        confidence=policy.confidence,
        prevalence=policy.prevalence,
    )
    return None if band is None else band.model_copy(update={"act_threshold": cut})


def _segments(
    validation: Any,
    score: FloatArray,
    label: FloatArray,
    weight: FloatArray,
    policy: PolicyConfig,
) -> tuple[SegmentThreshold, ...]:
    column = policy.segments
    if column is None:
        return ()
    if column not in validation.columns:
        raise BadInput(
            "policy.segments", f"validation has no column {column!r}", "name one of data.groups"
        )
    values = list(validation[column])
    if any(isinstance(value, list | tuple | np.ndarray) for value in values):
        raise BadInput(
            "policy.segments",
            f"column {column!r} holds lists, and a row must lie in one segment",
            "name a column of single values",
        )
    return choose_by_segment((score, label, weight), values, policy)
