"""What the policy wants of a threshold, and what is promised of the one chosen.

======================  ============================================  ===========================
``policy.objective``    promised with ``policy.confidence``           among those, the best
======================  ============================================  ===========================
``max_recall``          precision is at least ``min_precision``       recall
``max_precision``       recall is at least ``min_recall``             precision
``max_fpr``             false-positive rate is at most ``max_fpr``    recall
``min_cost``            acting costs less than doing nothing          cost
======================  ============================================  ===========================

Recall and the false-positive rate each look at one class only. The cut is then an order statistic
of that class's scores, whose rate is Beta-distributed whatever the scores' distribution, so that
one rank fixed beforehand keeps the promise and no sequence of tests is paid for. Neither rate moves
with prevalence.

A cost mixes both. It is bounded at a few dozen cuts at once, each by exact bounds of its two rates
at a Bonferroni level, and the cut of the lowest bound is chosen, so that the promise survives the
choice.

References
----------
Wilks, "Determination of sample sizes for setting tolerance limits", Annals of Mathematical
Statistics 12, 1941 (order statistics).
Tong, Feng and Li, "Neyman-Pearson classification algorithms and NP receiver operating
characteristics", Science Advances 4, 2018 (the same for a limit on false positives).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.config import CostConfig, PolicyConfig
from tidegate.evaluation.crossfit import Fold, Rows
from tidegate.evaluation.intervals import FloatArray, exact_lower_bound, exact_upper_bound
from tidegate.evaluation.prevalence import precision_in_production
from tidegate.evaluation.ranking import Ranked, rank
from tidegate.evaluation.threshold import (
    best_reachable,
    choose_threshold,
    first_rank,
    minimum_flagged,
    sample_floor,
)
from tidegate.records import OperatingPoint, Threshold

# The method's constant: at how many cuts a cost is bounded; more cost more level than they find.
_COST_CUTS = 32


@dataclass(frozen=True)
class Choice:
    """A threshold, or why there is none.

    Parameters
    ----------
    threshold : Threshold or None
        What the policy's objective chose.
    best : OperatingPoint or None
        What the rows do reach when nothing can be promised.
    needed : int or None
        Rows of the promise's class (violating ones; for `max_fpr` harmless ones) without which
        even a faultless model cannot keep the promise; None if no number suffices.
    have : float
        Rows of that class, by weight.
    """

    threshold: Threshold | None
    best: OperatingPoint | None
    needed: int | None
    have: float


def choose(rows: Rows, policy: PolicyConfig, folds: Sequence[Fold] = ()) -> Choice:
    """Choose the threshold that the policy's objective asks for on validation rows.

    Parameters
    ----------
    rows : Rows
        Score, label and weight of the validation rows.
    policy : PolicyConfig
        The objective and its numbers.
    folds : sequence of Fold
        Further evidence for `max_recall`.
    """
    score, label, weight = rows
    ranked = rank(score, label, weight)
    harmless = ranked.total - ranked.violating
    delta = 1 - policy.confidence
    if policy.objective == "max_precision" and policy.min_recall is not None:
        needed = minimum_flagged(policy.min_recall, policy.confidence)
        threshold = _keeping_recall(ranked, policy, policy.min_recall)
        return Choice(threshold, None, needed, ranked.violating)
    if policy.objective == "max_fpr" and policy.max_fpr is not None:
        needed = math.ceil(math.log(delta) / math.log1p(-policy.max_fpr))
        return Choice(_within_fpr(ranked, policy, policy.max_fpr), None, needed, harmless)
    if policy.objective == "min_cost" and policy.costs is not None:
        return Choice(_cheapest(ranked, policy, policy.costs), None, 1, ranked.violating)
    threshold = choose_threshold(
        score,
        label,
        min_precision=policy.min_precision,
        confidence=policy.confidence,
        weights=weight,
        prevalence=policy.prevalence,
        folds=folds,
        evidence=policy.training_evidence,
    )
    floor = sample_floor(policy.min_precision, ranked.prevalence, policy.prevalence)
    best = None
    if threshold is None:
        best = best_reachable(
            score,
            label,
            confidence=policy.confidence,
            weights=weight,
            prevalence=policy.prevalence,
        )
        wanted = rows_needed(ranked, floor, policy)
        best = best.model_copy(update={"rows": ranked.scores.size, "rows_needed": wanted})
    needed = minimum_flagged(floor, policy.confidence)
    return Choice(threshold, best, needed, ranked.violating)


def rows_needed(ranked: Ranked, floor: float, policy: PolicyConfig) -> int | None:
    """Return how many labelled rows would show the floor with `policy.power`, or None.

    A normal approximation at the first of the thresholds to be tested, taking the sample's
    precision there for the true one: an orientation. Where the sample's precision is below the
    floor there, the threshold further down at which the fewest rows would do stands in; None where
    there is none.
    """
    from scipy.special import ndtri

    fewest = minimum_flagged(floor, policy.confidence)
    if fewest is None:
        return None
    cuts = ranked.grid(min(first_rank(ranked, fewest), ranked.total))
    mass, hits = ranked.mass(cuts), ranked.hits(cuts)
    # A precision of 1 in the sample is not 1 in truth (Laplace's rule).
    precision = (hits + 1) / (mass + 2)
    above = precision - floor
    if not (above > 0).any():
        return None
    z = ndtri(policy.confidence) * math.sqrt(floor * (1 - floor))
    z = z + ndtri(policy.power) * np.sqrt(precision * (1 - precision))
    flagged = (z / np.where(above > 0, above, np.nan)) ** 2
    rows = flagged / mass * ranked.scores.size
    return math.ceil(float(rows[0] if above[0] > 0 else np.nanmin(rows)))


def _keeping_recall(ranked: Ranked, policy: PolicyConfig, min_recall: float) -> Threshold | None:
    """Return the highest cut whose recall is shown to be at least `min_recall`."""
    from scipy.special import betainc

    # P(recall at the j-th highest violating score < floor) = P(Beta(j, v + 1 - j) < floor).
    def kept(cut: float) -> bool:
        hits = float(ranked.hits(cut))
        if hits <= 0:
            return False
        risk = betainc(hits, max(ranked.violating + 1 - hits, 1.0), min_recall)
        return bool(risk <= 1 - policy.confidence)

    found = _last(ranked.violating_scores, kept)
    if found is None:
        return None
    bound = float(exact_lower_bound(ranked.hits(found), ranked.violating, policy.confidence))
    return _described(ranked, found, policy, min_recall, max(bound, min_recall))


def _within_fpr(ranked: Ranked, policy: PolicyConfig, max_fpr: float) -> Threshold | None:
    """Return the lowest cut whose false-positive rate is shown to be at most `max_fpr`."""
    harmless = ranked.total - ranked.violating

    # With j wrongly flagged the rate is below that of all scores above the next harmless one,
    # which is Beta(j + 1, harmless - j).
    def wrong(cut: float) -> float:
        return float(ranked.mass(cut) - ranked.hits(cut))

    def kept(cut: float) -> bool:
        return bool(exact_upper_bound(wrong(cut), harmless, policy.confidence) <= max_fpr)

    found = _last(ranked.scores[::-1], kept)
    if found is None:
        return None
    bound = float(exact_upper_bound(wrong(found), harmless, policy.confidence))
    return _described(ranked, found, policy, max_fpr, bound)


def _last(cuts: FloatArray, kept: Callable[[float], bool]) -> float | None:
    """Return the last of the cuts that keeps a promise which, once broken, stays broken."""
    low, high = 0, cuts.size
    while low < high:
        middle = (low + high) // 2
        if kept(float(cuts[middle])):
            low = middle + 1
        else:
            high = middle
    return float(cuts[low - 1]) if low else None


def _cheapest(ranked: Ranked, policy: PolicyConfig, costs: CostConfig) -> Threshold | None:
    """Return the cut of the lowest bound on the cost a post, if that is below doing nothing."""
    cuts = ranked.grid(1)
    if not cuts.size or not 0 < ranked.prevalence < 1:
        return None
    cuts = cuts[np.unique(np.linspace(0, cuts.size - 1, _COST_CUTS).round().astype(int))]
    risk = 1 - policy.confidence
    if policy.prevalence is not None:
        share = low = high = policy.prevalence
    else:
        # Unless it is stated, the share of violating posts takes its part of the risk.
        risk, ends = 0.8 * risk, 1 - 0.1 * risk
        share, counts = ranked.prevalence, (ranked.violating, ranked.total)
        low = float(exact_lower_bound(*counts, ends))
        high = float(exact_upper_bound(*counts, ends))
    level = 1 - risk / (2 * cuts.size)
    hits, wrong = ranked.hits(cuts), ranked.mass(cuts) - ranked.hits(cuts)
    missed = 1 - exact_lower_bound(hits, ranked.violating, level)
    accused = exact_upper_bound(wrong, ranked.total - ranked.violating, level)

    def cost(share: float) -> FloatArray:
        return share * costs.missed_violation * missed + (1 - share) * costs.wrong_flag * accused

    bound = np.maximum(cost(low), cost(high))
    best = int(np.argmin(bound))
    # What acting saves grows with the share of violating posts.
    if cost(low)[best] >= low * costs.missed_violation:
        return None
    doing_nothing = share * costs.missed_violation
    return _described(ranked, float(cuts[best]), policy, doing_nothing, float(bound[best]))


def _described(
    ranked: Ranked, cut: float, policy: PolicyConfig, promised: float, bound: float
) -> Threshold:
    hits, mass = float(ranked.hits(cut)), float(ranked.mass(cut))

    def carried(precision: float) -> float:
        return precision_in_production(precision, ranked.prevalence, policy.prevalence)

    return Threshold(
        value=ranked.serving_cut(cut),
        min_precision=0.0,
        confidence=policy.confidence,
        precision=carried(hits / mass),
        precision_lower_bound=carried(float(exact_lower_bound(hits, mass, policy.confidence))),
        recall=hits / ranked.violating,
        flagged=int(ranked.rows(cut)),
        objective=policy.objective,
        promised=promised,
        promised_bound=bound,
    )
