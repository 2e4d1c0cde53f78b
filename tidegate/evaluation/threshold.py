"""The threshold of highest recall whose precision floor holds with stated confidence."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.intervals import (
    FloatArray,
    exact_lower_bound,
    exact_tail,
)
from tidegate.evaluation.prevalence import floor_on_sample, precision_in_production
from tidegate.records import OperatingPoint, Threshold

# The method's constants, not the policy's: where the sequence starts (share of the violating
# rows) and how far one test lies from the next (share of the rows flagged so far).
_START_SHARE = 0.25
_STEP_SHARE = 0.01


def choose_threshold(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    min_precision: float,
    confidence: float = 0.95,
    weights: npt.ArrayLike | None = None,
    prevalence: float | None = None,
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
    _check_floor(min_precision)
    ranked = _rank(scores, labels, weights)
    floor = sample_floor(min_precision, ranked.prevalence, prevalence)
    fewest = minimum_flagged(floor, confidence)
    if fewest is None:
        return None
    start = max(fewest, math.ceil(_START_SHARE * ranked.violating))
    tried = ranked.boundaries(start)
    tried = tried[ranked.mass[tried] >= start - 1e-9]
    tails = exact_tail(ranked.hits[tried], ranked.mass[tried], floor)
    # The tolerance is that of the incomplete beta function, not of the promise.
    failed = np.flatnonzero(tails > (1 - confidence) * (1 + 1e-12))
    passed = int(failed[0]) if failed.size else tried.size
    if passed == 0:
        return None
    point = ranked.point(int(tried[passed - 1]), confidence, prevalence)
    return Threshold(
        value=point.threshold,
        min_precision=min_precision,
        confidence=confidence,
        precision=point.precision,
        # Passing the test and reaching the floor are the same event; rounding must not part them.
        precision_lower_bound=max(point.precision_lower_bound, min_precision),
        recall=point.recall,
        flagged=point.flagged,
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
    ranked = _rank(scores, labels, weights)
    tried = ranked.boundaries(1)
    tried = tried if tried.size else np.array([ranked.cuts.size - 1])
    bounds = exact_lower_bound(ranked.hits[tried], ranked.mass[tried], confidence)
    best = tried[np.lexsort((ranked.hits[tried], bounds))[-1]]
    return ranked.point(int(best), confidence, prevalence)


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
    _check_floor(min_precision)
    ranked = _rank(scores, labels, weights)
    reached = np.flatnonzero(ranked.hits >= min_precision * ranked.mass - 1e-12)
    return float(ranked.cuts[reached[-1]]) if reached.size else None


def sample_floor(min_precision: float, sample: float, production: float | None) -> float:
    """Return the floor that the sample must show, after checking the stated prevalence."""
    if production is not None:
        check_open_share("prevalence", production, example="0.05")
    return floor_on_sample(min_precision, sample, production)


@dataclass(frozen=True)
class _Ranked:
    """Rows by descending score, cumulated at each distinct score.

    `rows` counts rows; `mass` and `hits` count effective rows and effective violating rows.
    """

    cuts: FloatArray
    rows: npt.NDArray[np.int64]
    mass: FloatArray
    hits: FloatArray

    @property
    def violating(self) -> float:
        return float(self.hits[-1])

    @property
    def prevalence(self) -> float:
        return float(self.hits[-1] / self.mass[-1])

    def boundaries(self, start: int) -> npt.NDArray[np.int64]:
        """Return the distinct cuts at a grid of ranks that begins at `start`, high to low."""
        total = float(self.mass[-1])
        dense = np.arange(start, min(total, 1 / _STEP_SHARE) + 1)
        first = max(start, round(1 / _STEP_SHARE))
        steps = max(0, math.ceil(math.log(max(total / first, 1)) / math.log1p(_STEP_SHARE)) + 1)
        sparse = np.floor(first * (1 + _STEP_SHARE) ** np.arange(steps))
        ranks = np.concatenate([dense, sparse, [total]])
        # A tie that straddles the rank is left out whole: those above are what the rank's own
        # score says nothing about.
        found = np.searchsorted(self.mass, ranks[ranks <= total] + 1e-9, side="right") - 1
        return np.unique(found[found >= 0])

    def point(self, index: int, confidence: float, production: float | None) -> OperatingPoint:
        hits, mass = float(self.hits[index]), float(self.mass[index])
        bound = float(exact_lower_bound(hits, mass, confidence))
        return OperatingPoint(
            threshold=self._cut(index),
            precision=precision_in_production(hits / mass, self.prevalence, production),
            precision_lower_bound=precision_in_production(bound, self.prevalence, production),
            recall=hits / self.violating if self.violating else 0.0,
            flagged=int(self.rows[index]),
        )

    def _cut(self, index: int) -> float:
        upper = float(self.cuts[index])
        if index + 1 == self.cuts.size:
            return upper
        lower = float(self.cuts[index + 1])
        middle = lower + (upper - lower) / 2
        return middle if lower < middle < upper else upper


def _rank(scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None) -> _Ranked:
    score, label, weight = checked_rows(scores, labels, weights)
    used = weight > 0
    score, label, weight = score[used], label[used], weight[used]
    equal = bool(np.all(weight == weight[0]))
    # Unequal weights add up in one order whatever the order of the rows.
    order = np.argsort(-score) if equal else np.lexsort((weight, label, -score))
    score, label = score[order], label[order]
    share = np.ones(score.size) if equal else weight[order] / weight.max()
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    return _Ranked(
        cuts=score[last],
        rows=last + 1,
        mass=np.cumsum(share)[last],
        hits=np.cumsum(share * label)[last],
    )


def checked_rows(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scores, labels and weights as float arrays of one length.

    Raises
    ------
    ValueError
        If a score is not finite, a label is not 0 or 1, a weight is negative or not finite, no
        weight is positive, there are no rows, or the lengths differ.
    """
    score = np.asarray(scores, dtype=np.float64)
    label = np.asarray(labels)
    if score.ndim != 1 or label.shape != score.shape:
        raise ValueError(
            f"scores and labels must be flat and of one length, got shapes {score.shape} and "
            f"{label.shape}; write one score and one label a row"
        )
    if score.size == 0:
        raise ValueError("scores must hold at least one row, got 0; write the validation rows")
    if not np.isfinite(score).all():
        raise ValueError(
            f"scores must be finite, got {int((~np.isfinite(score)).sum())} NaN or infinite "
            "values; write a number for every row"
        )
    odd = ~np.isin(label, (0, 1))
    if odd.any():
        raise ValueError(
            f"labels must be 0 or 1, got {label[odd][0]!s}; write 1 for violating rows, else 0"
        )
    weight = np.ones(score.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != score.shape:
        raise ValueError(
            f"weights must have one value a row, got shape {weight.shape} for {score.size} rows; "
            "write one weight a row or None"
        )
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.max() <= 0:
        raise ValueError(
            f"weights must be finite, at least 0 and not all 0, got {weight.min()} to "
            f"{weight.max()}; write 1 for a fully trusted row"
        )
    return score, label.astype(np.float64), weight


def check_open_share(name: str, value: float, *, example: str) -> None:
    """Refuse a number that is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1), got {value}; write {example}")


def _check_floor(min_precision: float) -> None:
    if not 0 < min_precision <= 1:
        mend = f"{min_precision / 100:g}" if 1 < min_precision <= 100 else "0.9"
        raise ValueError(f"min_precision must be in (0, 1], got {min_precision}; write {mend}")
