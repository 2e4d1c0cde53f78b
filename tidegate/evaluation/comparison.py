"""The candidate beside the baseline on the same holdout rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tidegate.decision_rule import row_thresholds
from tidegate.errors import BadInput
from tidegate.evaluation.binormal import Figure, paired_ranking_interval
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
from tidegate.evaluation.paired_tests import mcnemar
from tidegate.evaluation.prevalence import precision_in_production
from tidegate.records import BaselineComparison, DecisionRule, Difference, Interval

#: More rows than this are placed on a grid, and show their own spread.
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
    Precision and recall are taken at each model's own threshold, and only when both have one, with
    percentile intervals of `rate_draws`; so are the rows that only one of them gets right. Average
    precision and ROC-AUC have the intervals of their influence functions (ROC-AUC's is DeLong's),
    which of at most 40,000 rows count for as much as `tidegate.evaluation.binormal` says.

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
        Of the draws of precision and recall.

    Raises
    ------
    BadInput
        If the two tables do not hold the same rows.

    References
    ----------
    Those of `tidegate.evaluation.paired_spread`, `binormal` and `paired_tests`.
    """
    score, label, weight = rows_of(holdout, "holdout")
    other, other_label, _ = rows_of(baseline.holdout, "baseline")
    _check_same_rows(holdout, baseline.holdout, label, other_label)
    few = label.size <= _MOST_ROWS
    first, second = (placed(s, label, weight, exact=few) for s in (score, other))
    precision, auc = (
        _of_few(figure, (first, second), label, weight, confidence)
        if few
        else _of_many(figure, (first, second), weight, confidence)
        for figure in (average_precision, roc_auc)
    )
    differences = {"average_precision": precision}
    cuts = baseline.cuts(holdout)
    discordance = {}
    if threshold is not None and cuts is not None:
        flagged = score >= threshold, other >= cuts
        same = np.array_equal(score, other)
        rates = rate_draws(flagged, label, weight, same=same, resamples=resamples, seed=seed)
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


def _of_few(
    figure: Figure,
    pair: tuple[Placed, Placed],
    label: FloatArray,
    weight: FloatArray,
    confidence: float,
) -> Difference:
    values, ends = paired_ranking_interval(figure, pair, label, weight, confidence)
    return _difference(*values, ends)


def _of_many(
    figure: Figure, pair: tuple[Placed, Placed], weight: FloatArray, confidence: float
) -> Difference:
    """Return the difference of a figure and its normal interval by the rows' influences."""
    from scipy.special import ndtri

    (first, one), (second, two) = (figure(rows) for rows in pair)
    variance = variance_of_difference((pair[0], one), (pair[1], two), weight)
    half = float(ndtri(0.5 + confidence / 2)) * float(np.sqrt(variance))
    return _difference(first, second, (first - second - half, first - second + half))


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
