"""From what evaluation chose to the rule that the bundle serves by."""

from collections.abc import Sequence
from typing import Any

from tidegate.config import PolicyConfig
from tidegate.decision_rule import row_thresholds
from tidegate.errors import BadInput
from tidegate.evaluation.intervals import FloatArray
from tidegate.records import DecisionRule, EvaluationReport, SegmentThreshold


def served_rule(report: EvaluationReport, policy: PolicyConfig) -> DecisionRule:
    """Return what is served beside the threshold of all rows.

    Parameters
    ----------
    report : EvaluationReport
        What was chosen: the lower end of the review band (its upper end is the threshold), the
        segments' and the classes' thresholds, the calibration map, and the map to the scale of the
        model in service.
    policy : PolicyConfig
        Names the segment column.
    """
    calibration = report.calibration.map if report.calibration else None
    if calibration is not None and calibration.method == "identity":
        calibration = None
    return DecisionRule(
        review_threshold=report.review.threshold if report.review else None,
        segment_column=policy.segments if report.segments else None,
        segment_thresholds=_by_segment(report.segments),
        class_thresholds={
            of.name: None if of.threshold is None or of.refuted else of.threshold.value
            for of in report.class_thresholds
        },
        calibration=calibration,
        scale=report.score_reference,
    )


def served_cuts(
    threshold: float | None,
    segments: Sequence[SegmentThreshold],
    scored: Any,
    policy: PolicyConfig,
) -> float | FloatArray | None:
    """Return the threshold that each row of a scored table is served by.

    Parameters
    ----------
    threshold : float or None
        Of all rows, and of segments that validation did not hold.
    segments : sequence of SegmentThreshold
        None where the policy names no segments.
    scored : DataFrame
        Holds the segment column.
    policy : PolicyConfig
        Names it.

    Returns
    -------
    float, array or None
        One threshold for all, one a row (NaN where nothing is flagged), or None where nothing is
        flagged anywhere.
    """
    if policy.segments is None or not segments:
        return threshold
    if policy.segments not in scored.columns:
        raise BadInput(
            "policy.segments", f"the table has no column {policy.segments!r}", "mend the name"
        )
    by_segment = _by_segment(segments)
    if threshold is None and all(cut is None for cut in by_segment.values()):
        return None
    return row_thresholds(threshold, by_segment, scored[policy.segments], len(scored))


def cuts_as_served(
    report: EvaluationReport, scored: Any, policy: PolicyConfig
) -> float | FloatArray | None:
    """Return the thresholds of a table whose rows may not say their segment.

    Where the table lacks the segment column, its rows are served by the one threshold, as a post
    without it is.
    """
    if policy.segments is not None and policy.segments not in scored.columns:
        return report.threshold
    return served_cuts(report.threshold, report.segments, scored, policy)


def _by_segment(segments: Sequence[SegmentThreshold]) -> dict[str, float | None]:
    return {of.segment: None if of.threshold is None else of.threshold.value for of in segments}
