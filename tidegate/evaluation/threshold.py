"""The threshold of highest recall whose precision floor holds with stated confidence."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.crossfit import (
    EffectiveCounts,
    Fold,
    combined_counts,
    one_population,
    surest_start,
)
from tidegate.evaluation.intervals import exact_lower_bound, exact_tail
from tidegate.evaluation.prevalence import floor_on_sample, precision_in_production
from tidegate.evaluation.ranking import Ranked, check_floor, check_open_share, checked_rows, rank
from tidegate.records import OperatingPoint, Threshold, TrainingEvidence

# The method's constant, not the policy's: where the sequence starts, as a share of the violating
# rows, when nothing says better.
_START_SHARE = 0.25


def choose_threshold(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    min_precision: float,
    confidence: float = 0.95,
    weights: npt.ArrayLike | None = None,
    prevalence: float | None = None,
    folds: Sequence[Fold] = (),
    evidence: TrainingEvidence = "start",
) -> Threshold | None:
    """Return the lowest threshold that certifiably keeps the precision floor, or None.

    Fixed-sequence testing: thresholds are tried from high to low; each must show, by a one-sided
    exact binomial test at ``1 - confidence``, that its precision is at least `min_precision`;
    the last one before the first failure is chosen. Because the testing stops at the first
    failure, the whole sequence errs with probability at most ``1 - confidence``, however many
    thresholds it tries. The plain rule (lowest threshold whose sample precision reaches the
    floor) errs in about half of all samples.

    Parameters
    ----------
    scores : array_like, shape (n,)
        Finite scores; only their order matters.
    labels : array_like, shape (n,)
        1 is violating, 0 is not.
    min_precision : float
        The floor, in (0, 1].
    confidence : float
        Probability, over validation samples, that the promise holds.
    weights : array_like, shape (n,), optional
        How far a row's label is to be trusted. A row counts as ``weight / max(weight)`` of a row,
        the expectation of rejection sampling to the weighted population; see Notes.
    prevalence : float, optional
        Share of violating rows in production, where it differs from the sample's: the floor is
        then promised there (see `tidegate.evaluation.prevalence`).
    folds : sequence of Fold
        Training rows scored by models that did not learn from them.
    evidence : {"validation", "start", "combined"}
        What the folds are used for: nothing; where the tests begin, which costs no assumption; or
        as evidence beside the validation rows, under the assumption that
        `tidegate.evaluation.crossfit` states; where the rows visibly break it, they only say
        where the tests begin. Combined, ``precision`` and its bound are those of
        both, and ``effective_rows`` says how many independent rows they are worth.

    Returns
    -------
    Threshold or None
        ``value`` is the cut: a row is flagged when its score is at least that. It lies halfway
        to the next lower score, so that rounding in serving moves no row across. None when no
        threshold can be certified.

    Raises
    ------
    ValueError
        If the arrays or the numbers break a rule.

    Notes
    -----
    *Why the binomial is exact.* The sequence is a grid of ranks that no label chose. Given the
    score at rank k + 1, the rows above it are independent draws from the population above that
    score, so the violating ones among them are Binomial(k, precision); with tied scores the same
    holds for the rows strictly above. The cut lies within half a row of that population, on the
    side where, for any score that ranks sensibly, precision is higher.

    *Where the sequence starts.* At the very top, few rows are flagged, one mistake ends the
    search, and nothing is found; too far down, the first test already fails. The start is a
    quarter as many rows as are violating, but at least `minimum_flagged`, the fewest with which
    a faultless sample passes. The count of violating rows comes from the labels, which a fixed
    sequence must not. It matters little: an error means that the first threshold in the sequence
    whose promise is false was certified, and that threshold is the same for every start above
    it. Only if the start itself can fall on a false promise does its dependence count; it is one
    number that moves by a few per cent between samples, and in the worst case built for it
    (precision a hair below the floor at every threshold) errors stay within ``1 - confidence``
    (``tests/unit/test_threshold.py``).

    *Monotone.* A higher floor never gives a lower threshold as long as both sequences start at
    the same rank, that is while `minimum_flagged` is at most a quarter of the violating rows.

    *Weights.* The effective counts never exceed those of Kish (Survey Sampling, 1965), and the
    variance they imply is at least that of the weighted sum however weights and labels depend on
    each other; equal weights give the unweighted test exactly. For unequal weights the binomial
    tail is continued to fractional counts, which is conservative rather than exact.

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test: calibrating predictive
    algorithms to achieve risk control", 2021 (fixed-sequence testing).
    Bauer, "Multiple testing in clinical trials", Statistics in Medicine 10, 1991.
    """
    check_open_share("confidence", confidence, example="0.95")
    check_floor("min_precision", min_precision)
    ranked = rank(scores, labels, weights)
    floor = sample_floor(min_precision, ranked.prevalence, prevalence)
    fewest = minimum_flagged(floor, confidence)
    if fewest is None:
        return None
    folds = tuple(folds)
    rows = checked_rows(scores, labels, weights)
    if evidence == "combined" and not one_population(rows, folds):
        evidence = "start"
    share = surest_start(folds, floor) if folds and evidence == "start" else None
    start = first_rank(ranked, fewest)
    if share is not None:
        start = max(fewest, math.ceil(share * ranked.total))
    cuts = ranked.grid(start)
    cuts = cuts[ranked.mass(cuts) >= start - 1e-9]
    if not cuts.size:
        return None
    counts = EffectiveCounts(rows=ranked.mass(cuts), hits=ranked.hits(cuts))
    if folds and evidence == "combined":
        counts = combined_counts(ranked, cuts, rows, folds, floor)
    tails = exact_tail(counts.hits, counts.rows, floor)
    # The tolerance is that of the incomplete beta function, not of the promise.
    failed = np.flatnonzero(tails > (1 - confidence) * (1 + 1e-12))
    passed = int(failed[0]) if failed.size else cuts.size
    if passed == 0:
        return None
    last, right, flagged = cuts[passed - 1], *(v[passed - 1] for v in (counts.hits, counts.rows))
    bound = float(exact_lower_bound(right, flagged, confidence))
    return Threshold(
        value=ranked.serving_cut(last),
        min_precision=min_precision,
        confidence=confidence,
        precision=precision_in_production(float(right / flagged), ranked.prevalence, prevalence),
        # Passing the test and reaching the floor are the same event; rounding must not part them.
        precision_lower_bound=max(
            precision_in_production(bound, ranked.prevalence, prevalence), min_precision
        ),
        recall=float(ranked.hits(last)) / ranked.violating,
        flagged=int(ranked.rows(last)),
        evidence=evidence if folds else "validation",
        effective_rows=float(flagged),
    )


def minimum_flagged(min_precision: float, confidence: float) -> int | None:
    """Return the fewest flagged rows, all right, that show the floor with confidence.

    None for a floor of 1, which no finite number of rows can show.

    Examples
    --------
    >>> minimum_flagged(0.9, 0.95)
    29
    """
    if min_precision >= 1:
        return None
    return max(1, math.ceil(math.log(1 - confidence) / math.log(min_precision) - 1e-9))


def first_rank(ranked: Ranked, fewest: int) -> int:
    """Return the rank at which the tests begin when nothing else says where."""
    return max(fewest, math.ceil(_START_SHARE * ranked.violating))


def best_reachable(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    weights: npt.ArrayLike | None = None,
    prevalence: float | None = None,
) -> OperatingPoint:
    """Return the point with the highest precision lower bound, among equals that of most recall.

    It tells a refusal what the data do reach. Its bound is that of one threshold looked at
    alone, and it was looked for: an orientation, not a promise.
    """
    check_open_share("confidence", confidence, example="0.95")
    ranked = rank(scores, labels, weights)
    cuts = ranked.grid(1)
    if not cuts.size:
        cuts = ranked.scores[:1]
    hits, mass = ranked.hits(cuts), ranked.mass(cuts)
    bounds = exact_lower_bound(hits, mass, confidence)
    best = int(np.lexsort((hits, bounds))[-1])
    right, flagged = float(hits[best]), float(mass[best])

    def carried(precision: float) -> float:
        return precision_in_production(precision, ranked.prevalence, prevalence)

    return OperatingPoint(
        threshold=ranked.serving_cut(cuts[best]),
        precision=carried(right / flagged),
        precision_lower_bound=carried(float(bounds[best])),
        recall=right / ranked.violating if ranked.violating else 0.0,
        flagged=int(ranked.rows(cuts[best])),
    )


def empirical_threshold(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    min_precision: float,
    weights: npt.ArrayLike | None = None,
) -> float | None:
    """Return the lowest score whose sample precision reaches the floor: the rule without proof.

    It is here to be measured against (``benchmarks/threshold_promise.py``).
    """
    check_floor("min_precision", min_precision)
    ranked = rank(scores, labels, weights)
    cuts = np.unique(ranked.scores)[::-1]
    reached = np.flatnonzero(ranked.hits(cuts) >= min_precision * ranked.mass(cuts) - 1e-12)
    return float(cuts[reached[-1]]) if reached.size else None


def sample_floor(min_precision: float, sample: float, production: float | None) -> float:
    """Return the floor that the sample must show, after checking the stated prevalence."""
    if production is not None:
        check_open_share("prevalence", production, example="0.05")
    return floor_on_sample(min_precision, sample, production)
