"""What to do with the candidate, and why, in sentences that a policy lead can act on.

The rules, all of them:

1. No threshold keeps what the objective promises (a precision floor, unless the policy says
   otherwise): ``insufficient_data`` when validation has too few rows for even a faultless model
   to show it, else ``hold`` with the best point and the rows that would settle it.
2. The holdout shows that the promise is broken (exact one-sided bound): ``hold``.
3. A group gap is shown to exceed its limit: ``hold``.
4. The groups cannot be judged: ``insufficient_data`` if ``policy.insufficient_fairness`` is
   ``block``, else a remark.
5. The candidate's average precision is shown to be below the baseline's (the whole interval of
   the difference is negative): ``hold``. With ``policy.non_inferiority_margin`` the candidate
   must be shown to lose less than the margin: ``hold`` when it is shown to lose more,
   ``insufficient_data`` when the interval straddles the margin.
6. Otherwise ``promote``.

A hold outweighs insufficient data: more data would not mend what is already shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate.config import PolicyConfig
from tidegate.evaluation.measurement import Measurement
from tidegate.records import (
    BaselineComparison,
    Decision,
    FairnessGap,
    FairnessReport,
    OperatingPoint,
    SegmentThreshold,
    Threshold,
)

# A sentence is for reading: of many segments so many are named.
_NAMED = 6

Outcome = Literal["promote", "hold", "insufficient_data"]


@dataclass(frozen=True)
class Evidence:
    """All that the decision rests on.

    Parameters
    ----------
    threshold : Threshold or None
        Chosen on validation.
    best : OperatingPoint or None
        What validation does reach, when there is no threshold.
    violating : float
        Validation rows of the class that the promise is about (violating ones; for `max_fpr`
        harmless ones), by weight.
    needed : int or None
        Rows of that class without which no model can show it; None if no number suffices.
    validation_prevalence : float
        Share of violating rows in validation.
    holdout : Measurement or None
        The threshold measured on the holdout.
    fairness : FairnessReport
        The audit on the holdout.
    comparison : BaselineComparison
        Candidate minus baseline on the holdout.
    segments : sequence of SegmentThreshold
        Where the policy wants a threshold a segment: their promises then stand for the one.
    """

    threshold: Threshold | None
    best: OperatingPoint | None
    violating: float
    needed: int | None
    validation_prevalence: float
    holdout: Measurement | None
    fairness: FairnessReport
    comparison: BaselineComparison
    segments: Sequence[SegmentThreshold] = ()


def decide(evidence: Evidence, policy: PolicyConfig) -> Decision:
    """Apply the rules above; the reasons that decide come first."""
    found: list[tuple[Outcome, str]] = [
        _threshold(evidence, policy),
        *_holdout(evidence, policy),
        *_fairness(evidence, policy),
        *_baseline(evidence, policy),
    ]
    order: dict[Outcome, int] = {"hold": 0, "insufficient_data": 1, "promote": 2}
    found.sort(key=lambda item: order[item[0]])
    reasons = [reason for _, reason in found]
    if policy.prevalence is not None:
        reasons.append(
            f"Precision is stated for production, where {percent(policy.prevalence)} of the rows "
            f"violate (policy.prevalence); in validation {percent(evidence.validation_prevalence)} "
            "do."
        )
    return Decision(decision=found[0][0], reasons=tuple(reasons))


def _threshold(evidence: Evidence, policy: PolicyConfig) -> tuple[Outcome, str]:
    wanted, sure = promise(policy), percent(policy.confidence)
    chosen, best = evidence.threshold, evidence.best
    acted_on = [of for of in evidence.segments if of.threshold is not None]
    if acted_on:
        return "promote", _segments(evidence.segments, wanted, sure)
    if evidence.segments and chosen is not None:
        return "hold", (
            f"In no segment does validation show {wanted} with {sure} confidence for all segments "
            "together, so that nothing would be acted on."
        )
    if chosen is not None:
        shown = f"a precision of at least {percent(chosen.precision_lower_bound)}"
        demanded = percent(policy.min_precision)
        if policy.objective != "max_recall" and chosen.promised_bound is not None:
            shown, demanded = _bound(policy, chosen.promised_bound), wanted
        return "promote", (
            f"At threshold {chosen.value:.4f} validation shows {shown} with {sure} confidence; the "
            f"policy demands {demanded}. {rows(chosen.flagged)} flagged, "
            f"{percent(chosen.precision)} of them rightly.{_training_evidence(chosen, policy)}"
        )
    if policy.objective == "min_cost":
        return "hold", (
            f"Validation does not show with {sure} confidence that any threshold costs less than "
            "doing nothing (policy.costs)."
        )
    if evidence.needed is None:
        return "insufficient_data", (
            f"The policy demands {wanted}, which no finite number of rows can show; "
            "set policy.min_precision below 1."
        )
    if evidence.violating < evidence.needed:
        which = "harmless" if policy.objective == "max_fpr" else "violating"
        return "insufficient_data", (
            f"Validation has {evidence.violating:,.0f} {which} rows; to show {wanted} "
            f"with {sure} confidence even a faultless model needs {evidence.needed:,}."
        )
    reach = ""
    if best is not None:
        reach = (
            f" The best reachable point, looked at alone, is threshold {best.threshold:.4f}: "
            f"{rows(best.flagged)} flagged, precision {percent(best.precision)} (at least "
            f"{percent(best.precision_lower_bound)}), recall {percent(best.recall)}."
        )
        if best.precision_lower_bound >= policy.min_precision:
            reach += " Picked out after the fact, that bound is no promise."
        if best.rows is not None and best.rows_needed is not None:
            more = max(best.rows_needed - best.rows, 0)
            reach += (
                f" About {rows(best.rows_needed)} labelled for validation, {more:,} more than now, "
                f"would show it {percent(policy.power)} of the time (policy.power)."
            )
        elif best.rows is not None:
            reach += (
                " Further down its precision is below the floor: more rows of this kind cannot "
                "help."
            )
    return "hold", (
        f"No threshold keeps {wanted} that the policy demands with {sure} "
        f"confidence on validation.{reach}"
    )


def _segments(segments: Sequence[SegmentThreshold], wanted: str, sure: str) -> str:
    found = [
        f"{of.segment} from {of.threshold.value:.4f} ({rows(of.threshold.flagged)} flagged)"
        for of in segments
        if of.threshold is not None
    ]
    left = [of.segment for of in segments if of.threshold is None]
    without = f" In {_listed(left)} it shows it nowhere, and nothing is acted on." if left else ""
    return (
        f"With {sure} confidence validation shows {wanted} in every segment acted on: "
        f"{_listed(found)}.{without}"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def promise(policy: PolicyConfig) -> str:
    """Say what the policy's objective promises."""
    if policy.objective == "max_precision":
        return f"a recall of {percent(policy.min_recall or 0.0)}"
    if policy.objective == "max_fpr":
        return f"a false-positive rate of at most {percent(policy.max_fpr or 0.0)}"
    if policy.objective == "min_cost":
        return "a cost below that of doing nothing"
    return f"a precision of {percent(policy.min_precision)}"


def _bound(policy: PolicyConfig, bound: float) -> str:
    if policy.objective == "max_precision":
        return f"a recall of at least {percent(bound)}"
    if policy.objective == "max_fpr":
        return f"a false-positive rate of at most {percent(bound)}"
    return f"a cost a post of at most {bound:.4g}"


def _training_evidence(chosen: Threshold, policy: PolicyConfig) -> str:
    if chosen.evidence == "combined" and chosen.effective_rows is not None:
        return (
            " Training rows scored by models of their folds are part of the evidence (policy."
            f"training_evidence: combined), worth {chosen.effective_rows:,.0f} flagged rows in all."
        )
    if policy.training_evidence == "combined":
        return (
            " Validation stood alone (policy.training_evidence: combined): there are no fold "
            "scores, or training rows visibly come from another population."
        )
    return ""


def _holdout(evidence: Evidence, policy: PolicyConfig) -> list[tuple[Outcome, str]]:
    seen = evidence.holdout
    if seen is None:
        return []
    if seen.precision is None or seen.precision_lower_bound is None:
        return [("hold", "At the threshold no holdout row is flagged: the model would do nothing.")]
    if policy.objective != "max_recall":
        return [_other_promise(seen, policy)]
    upper = seen.precision_upper_bound or 0.0
    floor, sure = percent(policy.min_precision), percent(policy.confidence)
    if upper < policy.min_precision:
        return [
            (
                "hold",
                f"On the holdout precision is {percent(seen.precision)} of {rows(seen.flagged)} "
                f"flagged and at most {percent(upper)} with {sure} confidence; the policy demands "
                f"{floor}.",
            )
        ]
    recall = ""
    if seen.recall is not None and seen.recall_ci is not None:
        recall = f" Recall is {percent(seen.recall)} ({span(seen.recall_ci)})."
    verb = "confirms" if seen.precision_lower_bound >= policy.min_precision else "does not refute"
    return [
        (
            "promote",
            f"The holdout {verb} the floor of {floor}: {rows(seen.flagged)} flagged, precision "
            f"{percent(seen.precision)}, at least {percent(seen.precision_lower_bound)} with "
            f"{sure} confidence.{recall}",
        )
    ]


def _other_promise(seen: Measurement, policy: PolicyConfig) -> tuple[Outcome, str]:
    """Hold where the holdout shows, with confidence, that the promise is broken."""
    wanted, sure = promise(policy), percent(policy.confidence)
    broken, told = False, ""
    if policy.objective == "max_precision" and seen.recall is not None:
        upper = seen.recall_upper_bound or 0.0
        broken = upper < (policy.min_recall or 0.0)
        told = f"recall is {percent(seen.recall)}, at most {percent(upper)}"
    elif policy.objective == "max_fpr" and seen.fpr is not None:
        lower = seen.fpr_lower_bound or 0.0
        broken = lower > (policy.max_fpr or 0.0)
        told = f"the false-positive rate is {percent(seen.fpr)}, at least {percent(lower)}"
    elif seen.saving is not None:
        low, high = seen.saving
        broken = high < 0
        told = f"acting saves {low:.4g} to {high:.4g} a post against doing nothing"
    verb = "breaks" if broken else "does not refute"
    return (
        "hold" if broken else "promote",
        f"The holdout {verb} the promise of {wanted}: {told} with {sure} confidence, "
        f"{rows(seen.flagged)} flagged.",
    )


def _fairness(evidence: Evidence, policy: PolicyConfig) -> list[tuple[Outcome, str]]:
    fairness = evidence.fairness
    if fairness.verdict == "not_assessed":
        if evidence.threshold is None:
            return []
        return [("promote", "Fairness was not assessed: the configuration names no groups.")]
    judged = [gap for gap in fairness.gaps if gap.limit is not None]
    found: list[tuple[Outcome, str]] = []
    for gap in judged:
        if gap.verdict == "fail":
            found.append(("hold", f"{_gap(gap)}: shown to be beyond the limit."))
        elif gap.verdict == "pass":
            found.append(("promote", f"{_gap(gap)}: within the limit."))
    if fairness.verdict == "insufficient_data":
        unsettled = [gap for gap in judged if gap.verdict == "insufficient_data"]
        told = " ".join(f"{_gap(gap)}." for gap in unsettled)
        if not told:
            told = (
                "Fewer than two groups have the rows that policy.min_group_rows "
                f"({policy.min_group_rows}) asks for."
            )
        blocks = policy.insufficient_fairness == "block"
        what = "blocks promotion" if blocks else "is let pass"
        found.append(
            (
                "insufficient_data" if blocks else "promote",
                f"The holdout cannot settle whether groups are treated alike, which {what} "
                f"(policy.insufficient_fairness: {policy.insufficient_fairness}). {told}",
            )
        )
    return found


_METRICS = {
    "fpr": ("False-positive rates", "policy.max_fpr_gap"),
    "fnr": ("False-negative rates", "policy.max_gaps.fnr"),
    "precision": ("Precisions", "policy.max_gaps.precision"),
    "selection_rate": ("Shares of flagged rows", "policy.max_gaps.selection_rate"),
    "calibration": ("Mean scores less violating shares", "policy.max_gaps.calibration"),
}


def _gap(gap: FairnessGap) -> str:
    low, high = gap.gap_ci
    what, limit = _METRICS[gap.metric]
    return (
        f"{what} by {gap.column} differ by {points(gap.gap)} between "
        f"{gap.highest} (highest) and {gap.lowest} (lowest); the largest true difference between "
        f"two groups lies from {points(low).removesuffix(' points')} to {points(high)}, and "
        f"{limit} allows {points(gap.limit or 0.0)}"
    )


def _baseline(evidence: Evidence, policy: PolicyConfig) -> list[tuple[Outcome, str]]:
    other = evidence.comparison
    difference = other.differences.get("average_precision")
    if difference is None:
        return []
    low, high = difference.difference_ci
    whom = {
        "configured": f"the configured baseline, {other.name}",
        "in_service": f"the model in service, {other.name}",
        "benchmark_model": "the benchmark model",
    }[other.kind]
    if low == high == 0:
        same = f"The candidate ranks the holdout exactly as {whom} does"
        return [("promote", f"{same}: average precision {difference.candidate:.3f}.")]
    figures = (
        f"{difference.candidate:.3f} against {difference.baseline:.3f}, difference "
        f"{difference.difference:+.3f} ({low:+.3f} to {high:+.3f}, {percent(policy.confidence)} "
        "confidence)"
    )
    margin = policy.non_inferiority_margin
    if margin is not None and low < -margin:
        allowed = f"policy.non_inferiority_margin allows a loss of {margin:.3f}"
        if high < -margin:
            return [("hold", f"Average precision falls short of {whom}: {figures}; {allowed}.")]
        told = f"The holdout cannot show that average precision keeps up with {whom}"
        return [("insufficient_data", f"{told}: {figures}; {allowed}.")]
    if high < 0 and margin is None:
        return [("hold", f"Average precision is below that of {whom}: {figures}.")]
    if high < 0:
        return [
            (
                "promote",
                f"Average precision is below that of {whom} by less than "
                f"policy.non_inferiority_margin ({margin:.3f}): {figures}.",
            )
        ]
    relation = "above" if low > 0 else "not shown to differ from"
    return [("promote", f"Average precision is {relation} that of {whom}: {figures}.")]


def percent(share: float) -> str:
    """Write a share as per cent with the digits that matter."""
    hundredfold = 100 * share
    if abs(hundredfold - round(hundredfold)) < 1e-9:
        return f"{round(hundredfold)} %"
    digits = 2 if 0.99 < share < 1 or 0 < share < 0.01 else 1
    return f"{hundredfold:.{digits}f} %"


def points(share: float) -> str:
    """Write a difference of shares in percentage points."""
    return f"{percent(share).removesuffix(' %')} points"


def span(interval: tuple[float, float]) -> str:
    """Write an interval of shares."""
    return f"{percent(interval[0]).removesuffix(' %')} to {percent(interval[1])}"


def rows(count: int) -> str:
    """Write a number of rows."""
    return f"{count:,} row{'' if count == 1 else 's'}"
