"""``audit.json``: the run's evidence in one place, for a transparency report and for an auditor."""

from collections.abc import Mapping
from typing import Any

from tidegate.evaluation.decision import percent
from tidegate.evaluation.dial import promised
from tidegate.records import (
    AuditRecord,
    EvaluationReport,
    LabelProvenance,
    Metric,
    Snapshot,
    ValidationReport,
)
from tidegate.store import digest_json

_RULED_OUT = (
    "Deciding on an account as a whole: a score is about one post.",
    "Clearing posts: a low score orders posts for review, it does not say that one is harmless.",
    "Surfaces, languages or populations that the training data do not hold.",
)
#: Their intervals come from a model of the ranking (`tidegate.evaluation.binormal`).
_RANKED = ("average_precision", "roc_auc")


def audit_record(
    *,
    evaluation: EvaluationReport,
    snapshot: Snapshot,
    data_validation: ValidationReport,
    config: Mapping[str, Any],
    digests: Mapping[str, str],
) -> AuditRecord:
    """Gather what a run found and where it came from; nobody has approved it yet.

    Parameters
    ----------
    evaluation, snapshot, data_validation
        The run's records.
    config : mapping
        The run's configuration, as JSON values.
    digests : mapping
        Name to SHA-256: the lineage.

    References
    ----------
    Mitchell et al., "Model cards for model reporting", FAT* 2019; Gebru et al., "Datasheets for
    datasets", CACM 64, 2021; the fields that Article 15 (1) (e) and Article 42 (2) of Regulation
    (EU) 2022/2065 ask of reports on automated moderation: purpose, indicators
    of accuracy, possible rate of error, safeguards.
    """
    data, policy = _section(config, "data"), _section(config, "policy")
    return AuditRecord(
        format=1,
        name=evaluation.name,
        algorithm=evaluation.algorithm,
        decision=evaluation.decision,
        reasons=evaluation.reasons,
        intended_use=intended_use(evaluation, promised(evaluation, policy).words),
        uses_ruled_out=_RULED_OUT,
        inputs=snapshot.columns,
        group_columns=snapshot.groups,
        sources=tuple(str(source) for source in data.get("source") or ()),
        splits=snapshot.splits,
        labels=LabelProvenance(
            column=data.get("label"),
            violating=tuple(str(value) for value in data.get("violating") or ("1",)),
            values=snapshot.label_values,
            source_column=data.get("label_source"),
            weights=data.get("label_weights") or {},
        ),
        duplicates=snapshot.duplicates,
        notices=snapshot.notices,
        data_gate_passed=data_validation.passed,
        data_gate_failures=data_validation.failures,
        policy=policy,
        confidence=evaluation.confidence,
        threshold=evaluation.threshold,
        rows=evaluation.rows,
        violating=evaluation.violating,
        metrics=_metrics(evaluation),
        classes=evaluation.classes,
        groups=evaluation.groups,
        fairness=evaluation.fairness,
        baseline=evaluation.baseline,
        promise=promised(evaluation, policy).words,
        holdout_uses=evaluation.holdout_uses,
        calibration=evaluation.calibration,
        worst_slices=evaluation.worst_slices,
        functional=evaluation.functional,
        golden_set=evaluation.golden_set,
        segments=evaluation.segments,
        class_thresholds=evaluation.class_thresholds,
        untreated=evaluation.untreated,
        mitigations=evaluation.mitigations,
        mitigation=evaluation.mitigation,
        cascade=evaluation.cascade,
        limits=_limits(evaluation, snapshot, data),
        lineage=lineage(digests, snapshot, config),
    )


def lineage(
    digests: Mapping[str, str], snapshot: Snapshot, config: Mapping[str, Any]
) -> dict[str, str]:
    """Return what a run was made of: digests, the configuration's among them, and the image."""
    image = _section(config, "cluster").get("image")
    return {
        **digests,
        "configuration": digest_json(config),
        "snapshot": snapshot.digest,
        **({"image": str(image)} if image else {}),
    }


def intended_use(evaluation: EvaluationReport, promise: str) -> str:
    """Say what the model may do, or that it may do nothing."""
    if evaluation.threshold is None:
        return "None yet: no threshold keeps the policy, so that the model must not act on posts."
    use = (
        f"Flag posts that score at least {evaluation.threshold:.6f}. The threshold was chosen so "
        f"that the policy's promise holds, {promise}, with "
        f"{percent(evaluation.confidence)} confidence, on traffic like the validation rows. Below "
        "the threshold a score orders posts for review; it does not clear them."
    )
    if evaluation.decision == "promote":
        return use
    return (
        f"None as decided ({evaluation.decision.replace('_', ' ')}); if the hold is lifted: {use}"
    )


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _metrics(evaluation: EvaluationReport) -> tuple[Metric, ...]:
    found = _free(evaluation, ("average_precision", "roc_auc", "log_loss", "brier_score"))
    if evaluation.precision is not None:
        found.append(
            Metric(
                name="precision",
                value=evaluation.precision,
                low=evaluation.precision_lower_bound,
                interval="one-sided exact binomial",
            )
        )
    if evaluation.recall is not None and evaluation.recall_ci is not None:
        low, high = evaluation.recall_ci
        found.append(
            Metric(name="recall", value=evaluation.recall, low=low, high=high, interval="Wilson")
        )
        found.append(
            Metric(
                name="false_negative_rate",
                value=1 - evaluation.recall,
                low=1 - high,
                high=1 - low,
                interval="Wilson",
            )
        )
    if evaluation.calibration is not None:
        low, high = evaluation.calibration.error_ci
        found.append(
            Metric(
                name="calibration_error",
                value=evaluation.calibration.error,
                low=low,
                high=high,
                interval="inverted noncentral chi-square",
            )
        )
    return (*found, *_free(evaluation, ("macro_f1", "roc_auc_ovo")))


def _free(evaluation: EvaluationReport, names: tuple[str, ...]) -> list[Metric]:
    """Return the figures that need no threshold, those that there are."""
    found = []
    for name in names:
        value = getattr(evaluation, name)
        if value is None:
            continue
        low, high = evaluation.intervals.get(name, (None, None))
        how = "score, binormal" if name in _RANKED else "Student, of the influence function"
        found.append(
            Metric(
                name=name, value=value, low=low, high=high, interval=None if low is None else how
            )
        )
    return found


def _limits(
    evaluation: EvaluationReport, snapshot: Snapshot, data: Mapping[str, Any]
) -> tuple[str, ...]:
    weighted = data.get("label_weights")
    limits = [
        "The promise holds for traffic that looks like the validation rows. When prevalence or "
        "content moves, precision moves with it: watch for drift and retrain.",
        "Labels are taken as true"
        + (" in the measure of their source's weight" if weighted else "")
        + "; where reviewers err, the figures err with them.",
        f"Groups are judged by the policy's limits among rows whose group is known; "
        f"groups below the policy's minimum are not judged ({evaluation.fairness.verdict})."
        if evaluation.groups
        else "No group was named, so that nothing is known about unequal treatment.",
        *snapshot.notices,
    ]
    return tuple(limits)
