"""From which light score on rows must reach the heavy model, so that its flags are not lost.

The truth here is what the heavy model itself flags, which needs no label: every row that neither
model learned from is evidence. Of the rows that the heavy model flags, the share whose light score
lies below a pass-through score must be at most ``max_recall_loss``. That share is the distribution
function of the light score among flagged rows, so the largest pass-through score with that
promise is a one-sided distribution-free tolerance limit: an order statistic, without any grid and
without a correction for looking at many.

References
----------
Wilks, "Determination of sample sizes for setting tolerance limits", Annals of Mathematical
Statistics 12, 1941.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tidegate.config import CascadeConfig
from tidegate.evaluation.intervals import FloatArray, exact_upper_bound, wilson
from tidegate.pass_through import stops
from tidegate.records import (
    Agreement,
    AgreementSource,
    CascadeReport,
    FilterMeasurement,
    PassThroughPoint,
)

#: Light and heavy score of the same rows, each of shape (rows,).
Pairs = tuple[FloatArray, FloatArray]

_CURVE_POINTS = 5
# Below this p-value, training rows are said to be another population than validation rows.
_VISIBLY_DIFFERENT = 0.05
# Scores of a row alone and in a batch differ in their last digits.
_MARGIN = 1e-6
# Rows of these sources stand for what is served; training rows are scored by other models.
_REPRESENTATIVE: tuple[AgreementSource, ...] = ("validation", "unlabelled")


def fewest_flagged(max_loss: float, confidence: float) -> int:
    """Return the fewest flagged rows, none of them lost, that show the promise.

    Examples
    --------
    >>> fewest_flagged(0.002, 0.95)
    1497
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_loss) - 1e-9)


def tolerated(flagged: int, max_loss: float, confidence: float) -> int | None:
    """Return how many flagged rows may lie below the limit; None where not even none may.

    The largest k with P(Binomial(flagged, max_loss) <= k) <= 1 - confidence.
    """
    from scipy.special import bdtr

    lost = np.arange(math.ceil(flagged * max_loss) + 1)
    shown = np.flatnonzero(bdtr(lost, flagged, max_loss) <= 1 - confidence)
    return int(lost[shown[-1]]) if flagged and shown.size else None


def choose_pass_through(
    evidence: Mapping[AgreementSource, Pairs],
    threshold: float,
    rules: CascadeConfig,
    *,
    confidence: float,
    at_most: float = math.inf,
) -> CascadeReport:
    """Return the largest pass-through score with the promise, and the curve of the load knob.

    Parameters
    ----------
    evidence : mapping
        Scores of rows that neither model learned from. `validation` rows are always there;
        `training` rows are scored by models of their folds, which stand in for the final ones
        (with fewer rows to learn from, they agree less). Training rows are left out where
        validation visibly loses more of its flagged rows.
    threshold : float
        Rows whose heavy score is at least that are flagged.
    rules : CascadeConfig
        How much may be lost, at rest and at full load.
    confidence : float
        Of the promise at rest; each other point of the curve has it for itself.
    at_most : float
        The pass-through score at rest is not to be above.

    Returns
    -------
    CascadeReport
        Without a `pass_through`, but with a reason, where the rows are too few.
    """
    used = {source: pairs for source, pairs in evidence.items() if source in rules.evidence}
    report = _chosen(used, threshold, rules, confidence, at_most)
    if report.pass_through is not None and _disagree(used, threshold, report.pass_through):
        del used["training"]
        report = _chosen(used, threshold, rules, confidence, at_most)
    return report


def _chosen(
    evidence: Mapping[AgreementSource, Pairs],
    threshold: float,
    rules: CascadeConfig,
    confidence: float,
    at_most: float,
) -> CascadeReport:
    flagged = [light[heavy >= threshold] for light, heavy in evidence.values()]
    ranked = np.sort(np.concatenate(flagged)) if flagged else np.zeros(0)
    report = CascadeReport(
        pass_through=None,
        max_recall_loss=rules.max_recall_loss,
        confidence=confidence,
        threshold=threshold,
        evidence={
            source: Agreement(rows=len(light), flagged=len(own))
            for (source, (light, _)), own in zip(evidence.items(), flagged, strict=True)
        },
        flagged_needed=fewest_flagged(rules.max_recall_loss, confidence),
    )
    curve: list[PassThroughPoint] = []
    losses = np.geomspace(rules.max_recall_loss, rules.overload_recall_loss, _CURVE_POINTS)
    for load, loss in zip(np.linspace(0, 1, _CURVE_POINTS), losses, strict=True):
        most = tolerated(ranked.size, float(loss), confidence)
        if most is None:
            return report.model_copy(update={"reason": _too_few(report, ranked.size)})
        # A stopped row scores below the pass-through score, and must not be flagged.
        cut = min(float(ranked[most]) * (1 - _MARGIN), threshold)
        cut = cut if curve else min(cut, at_most)
        lost = int(stops(ranked, cut).sum())
        point = PassThroughPoint(load=load, max_loss=loss, pass_through=cut, lost=lost)
        curve.append(point)
    served = [light for source, (light, _) in evidence.items() if source in _REPRESENTATIVE]
    light = np.concatenate(served or [light for light, _ in evidence.values()])
    stopped = int(stops(light, curve[0].pass_through).sum())
    bound = float(exact_upper_bound(curve[0].lost, ranked.size, confidence))
    return report.model_copy(
        update={
            "pass_through": curve[0].pass_through,
            # Being the limit and keeping the promise are one event; rounding must not part them.
            "loss_upper_bound": min(bound, rules.max_recall_loss),
            "share_saved": stopped / light.size,
            "share_saved_ci": wilson(stopped, light.size, confidence),
            "curve": tuple(curve),
        }
    )


def _too_few(report: CascadeReport, flagged: int) -> str:
    rows = sum(of.rows for of in report.evidence.values())
    total = f", some {math.ceil(report.flagged_needed * rows / flagged):,} rows" if flagged else ""
    return (
        f"a loss of at most {report.max_recall_loss:g} takes {report.flagged_needed:,} rows that "
        f"the model flags and did not learn from{total}; there are {flagged:,}: add them as "
        "data.unlabelled, set search.crossfit_folds, or allow more with "
        "policy.cascade.max_recall_loss"
    )


def _disagree(
    evidence: Mapping[AgreementSource, Pairs], threshold: float, pass_through: float
) -> bool:
    """Say whether validation visibly loses more of its flagged rows than training (Fisher)."""
    from scipy.stats import hypergeom

    if "training" not in evidence or "validation" not in evidence:
        return False
    counts = []
    for source in ("validation", "training"):
        light, heavy = evidence[source]
        flagged = light[heavy >= threshold]
        counts.append((int(stops(flagged, pass_through).sum()), len(flagged)))
    (lost, own), (lost_there, there) = counts
    tail = hypergeom.sf(lost - 1, own + there, lost + lost_there, own)
    return bool(lost > 0 and tail < _VISIBLY_DIFFERENT)


def measure_filter(
    light: FloatArray,
    heavy: FloatArray,
    label: Any,
    *,
    threshold: float,
    pass_through: float,
    confidence: float,
) -> FilterMeasurement:
    """Return what the filter does to labelled rows that had no part in choosing it.

    Parameters
    ----------
    light, heavy : array, shape (rows,)
    label : array, shape (rows,)
        1 is violating.
    """
    stopped, flagged = stops(light, pass_through), heavy >= threshold
    violating = np.asarray(label) == 1
    lost = int((stopped & flagged & violating).sum())
    total = int(violating.sum())
    return FilterMeasurement(
        rows=len(light),
        stopped=int(stopped.sum()),
        flagged=int(flagged.sum()),
        flagged_lost=int((stopped & flagged).sum()),
        violating=total,
        recall_lost=lost / total if total else 0.0,
        recall_lost_upper_bound=float(exact_upper_bound(lost, total, confidence)) if total else 1.0,
    )
