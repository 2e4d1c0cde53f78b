"""The golden set: labelled rows that no model's decision influenced, scored at every retrain."""

from collections.abc import Sequence
from typing import Any

from tidegate.config import PolicyConfig
from tidegate.evaluation.comparison import Baseline, compare
from tidegate.evaluation.history import rows_digest
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import measure, quality
from tidegate.records import GoldenSetFigures, GoldenSetReport, PastEvaluation


def measure_golden_set(
    golden: Any,
    threshold: float | FloatArray | None,
    baseline: Baseline | None,
    *,
    policy: PolicyConfig,
    history: Sequence[PastEvaluation] = (),
) -> GoldenSetReport:
    """Measure the candidate on the golden set, beside the baseline and earlier candidates.

    Parameters
    ----------
    golden : DataFrame
        The set as the candidate scored it.
    threshold : float, array or None
        The candidate's cut, or one a row where it serves several (NaN where nothing is flagged).
    baseline : Baseline, optional
        Its `holdout` is the same set as the baseline scored it.
    policy : PolicyConfig
        `confidence` of the intervals, `prevalence` that precision is carried to.
    history : sequence of PastEvaluation
        Earlier evaluations of this model; those of the same rows are shown.

    Raises
    ------
    BadInput
        If the table breaks a rule.
    """
    digest = rows_digest(golden)
    found = quality(golden, confidence=policy.confidence)
    seen = None
    if threshold is not None:
        seen = measure(
            golden, threshold, confidence=policy.confidence, prevalence=policy.prevalence
        )
    compared = None
    if baseline is not None:
        compared = compare(
            golden,
            threshold,
            baseline,
            confidence=policy.confidence,
            prevalence=policy.prevalence,
        )
    return GoldenSetReport(
        figures=GoldenSetFigures(
            digest=digest,
            rows=len(golden),
            violating=int(golden["label"].sum()),
            average_precision=found.average_precision,
            roc_auc=found.roc_auc,
            threshold=threshold if isinstance(threshold, float) else None,
            precision=seen.precision if seen else None,
            precision_lower_bound=seen.precision_lower_bound if seen else None,
            recall=seen.recall if seen else None,
            recall_ci=seen.recall_ci if seen else None,
        ),
        baseline=compared,
        history=tuple(
            entry for entry in history if entry.golden is not None and entry.golden.digest == digest
        ),
    )
