"""The candidate beside the baseline on the same holdout rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.decision_rule import row_thresholds
from tidegate.errors import BadInput
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.paired_spread import (
    Placed,
    average_precision,
    placed,
    rate_draws,
    roc_auc,
    variance_of_difference,
)
from tidegate.evaluation.paired_tests import delong, mcnemar
from tidegate.evaluation.prevalence import precision_in_production
from tidegate.records import BaselineComparison, DecisionRule, Difference, Interval

# Cells of one block of bootstrap weights: 2 M float64 are 16 MB.
_BLOCK_CELLS = 2_000_000
# Average precision of more rows than this is not resampled; its influence function is used.
_MOST_ROWS = 40_000


@dataclass(frozen=True)
class Baseline:
    """The model to beat, scored on the candidate's holdout rows.

    Parameters
    ----------
    name : str
        What a reader knows it by.
    kind : str
        Where it comes from.
    threshold : float or None
        Its own cut; None when it has none.
    holdout : DataFrame
        The same rows as the candidate's holdout, in the same order, with its scores.
    note : str, optional
        What a reader should know about the comparison.
    rule : DecisionRule
        What a bundle serves by beside its threshold.
    """

    name: str
    kind: Literal["configured", "in_service", "benchmark_model"]
    threshold: float | None
    holdout: Any
    note: str | None = None
    rule: DecisionRule = field(default_factory=DecisionRule)

    def cuts(self, holdout: Any) -> float | FloatArray | None:
        """Return its threshold, or one a row where the holdout holds its segment column."""
        by_segment, column = self.rule.segment_thresholds, self.rule.segment_column
        if not by_segment or column is None or column not in holdout.columns:
            return self.threshold
        return row_thresholds(self.threshold, by_segment, holdout[column], len(holdout))


def compare(
    holdout: Any,
    threshold: float | FloatArray | None,
    baseline: Baseline,
    *,
    confidence: float,
    prevalence: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> BaselineComparison:
    """Return candidate minus baseline with paired intervals.

    Both models are judged on the same rows, so that what makes a holdout hard cancels out.
    Precision and recall are taken at each model's own threshold, and only when both have one; so
    are the rows that only one of them gets right. ROC-AUC has DeLong's interval, the others the
    percentile bootstrap's; average precision of more than 40,000 rows has the normal interval of
    its influence function, which is what the bootstrap settles at.

    Parameters
    ----------
    holdout : DataFrame
        The candidate's scored holdout.
    threshold : float, array or None
        The candidate's cut, or one a row.
    baseline : Baseline
        The model to compare with.
    confidence : float
        Of the two-sided intervals.
    prevalence : float, optional
        Production's share of violating rows, to which precision is carried.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    BadInput
        If the two tables do not hold the same rows.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile interval).
    Chamandy et al., "Estimating uncertainty for massive data streams", 2012 (Poisson weights).
    `tidegate.evaluation.paired_spread` for many rows.
    """
    score, label, weight = rows_of(holdout, "holdout")
    other, other_label, _ = rows_of(baseline.holdout, "baseline")
    _check_same_rows(holdout, baseline.holdout, label, other_label)
    few = label.size <= _MOST_ROWS
    first, second = (placed(s, label, weight, exact=few) for s in (score, other))
    precisions = average_precision(first), average_precision(second)
    if few:
        # Draws go to the rows in an order of their own, whatever order the table has.
        turn = np.lexsort((weight, label, other, score))
        turn = turn[weight[turn] > 0]
        drawn = [
            _AveragePrecision(own.key[turn], weight[turn])(_draws(turn.size, resamples, seed))
            for own in (first, second)
        ]
        spread = np.quantile(drawn[0] - drawn[1], [(1 - confidence) / 2, (1 + confidence) / 2])
        ends = (float(spread[0]), float(spread[1]))
        auc = delong(score, other, label, weight, confidence)
    else:
        ends = _around((first, precisions[0]), (second, precisions[1]), weight, confidence)
        areas = roc_auc(first), roc_auc(second)
        auc = _difference(
            areas[0][0],
            areas[1][0],
            _around((first, areas[0]), (second, areas[1]), weight, confidence),
        )
    differences = {
        "average_precision": _difference(precisions[0][0], precisions[1][0], ends),
    }
    cuts = baseline.cuts(holdout)
    discordance = {}
    if threshold is not None and cuts is not None:
        flagged = score >= threshold, other >= cuts
        rates = rate_draws(flagged, label, weight, resamples=resamples, seed=seed)
        differences |= _rates(rates, confidence, prevalence)
        discordance = mcnemar(flagged[0], flagged[1], label)
    differences["roc_auc"] = auc
    return BaselineComparison(
        name=baseline.name,
        kind=baseline.kind,
        threshold=baseline.threshold,
        rows=int(label.size),
        differences=differences,
        note=baseline.note,
        discordance=discordance,
    )


def _check_same_rows(holdout: Any, other: Any, label: FloatArray, other_label: FloatArray) -> None:
    same = len(holdout) == len(other) and (
        "id" not in holdout.columns
        or "id" not in other.columns
        or np.array_equal(holdout["id"].to_numpy(), other["id"].to_numpy())
    )
    if not same:
        raise BadInput(
            "baseline",
            f"must be scored on the candidate's {len(holdout)} holdout rows in their order, got "
            f"{len(other)} rows with other ids",
            "score the baseline on this run's holdout",
        )
    if not np.array_equal(label, other_label):
        raise BadInput(
            "baseline",
            "must carry the candidate's holdout labels, got others for "
            f"{int((label != other_label).sum())} rows",
            "score the baseline on this run's holdout",
        )


def _difference(candidate: float, baseline: float, ends: Interval) -> Difference:
    return Difference(
        candidate=candidate,
        baseline=baseline,
        difference=candidate - baseline,
        difference_ci=ends,
    )


def _around(
    first: tuple[Placed, tuple[float, FloatArray]],
    second: tuple[Placed, tuple[float, FloatArray]],
    weight: FloatArray,
    confidence: float,
) -> Interval:
    """Return the normal interval of the difference of two figures that hold their influences."""
    from scipy.special import ndtri

    variance = variance_of_difference((first[0], first[1][1]), (second[0], second[1][1]), weight)
    difference = first[1][0] - second[1][0]
    half = float(ndtri(0.5 + confidence / 2)) * float(np.sqrt(variance))
    return (difference - half, difference + half)


def _rates(
    draws: Sequence[Mapping[str, FloatArray]], confidence: float, prevalence: float | None
) -> dict[str, Difference]:
    """Return the differences of precision, at production's prevalence, and of recall."""
    tail = (1 - confidence) / 2
    found = {}
    for name in ("precision", "recall"):
        one, two = (np.asarray(of[name]) for of in draws)
        if name == "precision" and prevalence is not None:
            one, two = (_carried(of["precision"], of["sample"], prevalence) for of in draws)
        if not np.isfinite([one[0], two[0]]).all():
            continue
        low, high = np.nanquantile((one - two)[1:], [tail, 1 - tail])
        found[name] = _difference(float(one[0]), float(two[0]), (float(low), float(high)))
    return found


def _carried(precision: FloatArray, sample: FloatArray, prevalence: float) -> FloatArray:
    pairs = zip(precision, sample, strict=True)
    return np.array([precision_in_production(float(p), float(s), prevalence) for p, s in pairs])


class _AveragePrecision:
    """Average precision of one model under many row weightings at once; keys as `Placed` has."""

    def __init__(self, key: npt.NDArray[np.integer[Any]], weight: FloatArray) -> None:
        place = key // 2
        self.order = np.argsort(-place, kind="stable")
        self.last = np.flatnonzero(np.append(np.diff(place[self.order]) != 0, True))
        self.weight = weight[self.order]
        self.label = (key % 2)[self.order]

    def __call__(self, blocks: Iterable[FloatArray]) -> FloatArray:
        """Return average precision under each of the draws, blocks of shape (k, n)."""
        found = []
        for draws in blocks:
            drawn = draws[:, self.order] * self.weight
            mass = np.cumsum(drawn, axis=1)[:, self.last]
            hits = np.cumsum(drawn * self.label, axis=1)[:, self.last]
            precision = np.divide(hits, mass, out=np.zeros_like(hits), where=mass > 0)
            gained = np.diff(hits, axis=1, prepend=0.0)
            found.append((gained * precision).sum(axis=1) / hits[:, -1])
        return np.concatenate(found)


def _draws(rows: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield Poisson weights of the rows, block by block; the same for the same seed."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // rows)
    for start in range(0, resamples, block):
        shape = (min(block, resamples - start), rows)
        yield rng.poisson(1.0, size=shape).astype(np.float64)
