"""The candidate beside the baseline on the same holdout rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.errors import BadInput
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.prevalence import precision_in_production
from tidegate.records import BaselineComparison, Difference

# Cells of one block of bootstrap weights: 2 M float64 are 16 MB.
_BLOCK_CELLS = 2_000_000
# Beyond this many drawn rows in all, fewer resamples are taken, but at least 200.
_MOST_CELLS = 40_000_000


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
    """

    name: str
    kind: Literal["configured", "in_service", "benchmark_model"]
    threshold: float | None
    holdout: Any
    note: str | None = None


def compare(
    holdout: Any,
    threshold: float | None,
    baseline: Baseline,
    *,
    confidence: float,
    prevalence: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> BaselineComparison:
    """Return candidate minus baseline with paired bootstrap intervals.

    Both models see the same resampled rows, so that what makes a holdout hard cancels out.
    Precision and recall are taken at each model's own threshold, and only when both have one.

    Parameters
    ----------
    holdout : DataFrame
        The candidate's scored holdout.
    threshold : float or None
        The candidate's cut.
    baseline : Baseline
        The model to compare with.
    confidence : float
        Of the two-sided percentile intervals.
    prevalence : float, optional
        Production's share of violating rows, to which precision is carried.
    resamples : int
        Fewer are taken on more than 40,000 rows, where intervals need them less; at least 200.
    seed : int
        Of the resampling.

    Raises
    ------
    BadInput
        If the two tables do not hold the same rows.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile interval).
    Chamandy et al., "Estimating uncertainty for massive data streams", 2012 (Poisson weights).
    """
    score, label, weight = rows_of(holdout, "holdout")
    other, other_label, _ = rows_of(baseline.holdout, "baseline")
    _check_same_rows(holdout, baseline.holdout, label, other_label)
    cuts = (
        None
        if threshold is None or baseline.threshold is None
        else (
            threshold,
            baseline.threshold,
        )
    )
    figures = [
        _Figures(score, label, weight, cuts and cuts[0], prevalence),
        _Figures(other, label, weight, cuts and cuts[1], prevalence),
    ]
    ones = np.ones((1, label.size))
    observed = [{name: values[0] for name, values in f(ones).items()} for f in figures]
    drawn = _resampled(figures, label.size, resamples, seed)
    tail = (1 - confidence) / 2
    differences = {}
    for name, value in observed[0].items():
        if not np.isfinite([value, observed[1][name]]).all():
            continue
        low, high = np.nanquantile(drawn[name], [tail, 1 - tail])
        differences[name] = Difference(
            candidate=float(value),
            baseline=float(observed[1][name]),
            difference=float(value - observed[1][name]),
            difference_ci=(float(low), float(high)),
        )
    return BaselineComparison(
        name=baseline.name,
        kind=baseline.kind,
        threshold=baseline.threshold,
        rows=int(label.size),
        differences=differences,
        note=baseline.note,
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


class _Figures:
    """Average precision, precision and recall of one model under many row weightings at once."""

    def __init__(
        self,
        score: FloatArray,
        label: FloatArray,
        weight: FloatArray,
        cut: float | None,
        prevalence: float | None,
    ) -> None:
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
        self.weight = weight[self.order]
        self.label = label[self.order]
        self.flagged = None if cut is None else int((score >= cut).sum())
        self.prevalence = prevalence

    def __call__(self, draws: FloatArray) -> Mapping[str, FloatArray]:
        """Return each figure, shape (k,), under `draws`, shape (k, n)."""
        drawn = draws[:, self.order] * self.weight
        mass = np.cumsum(drawn, axis=1)
        hits = np.cumsum(drawn * self.label, axis=1)
        violating = hits[:, -1]
        at_mass, at_hits = mass[:, self.last], hits[:, self.last]
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(at_mass > 0, at_hits / at_mass, 0.0)
            gained = np.diff(at_hits, axis=1, prepend=0.0)
            figures = {"average_precision": (gained * precision).sum(axis=1) / violating}
            if self.flagged is not None:
                right = hits[:, self.flagged - 1] if self.flagged else np.zeros(len(draws))
                flagged = mass[:, self.flagged - 1] if self.flagged else np.zeros(len(draws))
                sample = violating / mass[:, -1]
                figures["precision"] = self._carried(right / flagged, sample)
                figures["recall"] = right / violating
        return figures

    def _carried(self, precision: FloatArray, sample: FloatArray) -> FloatArray:
        if self.prevalence is None:
            return precision
        pairs = zip(precision, sample, strict=True)
        return np.array(
            [precision_in_production(float(p), float(s), self.prevalence) for p, s in pairs]
        )


def _resampled(
    figures: list[_Figures], rows: int, resamples: int, seed: int
) -> Mapping[str, npt.NDArray[np.float64]]:
    """Return the differences of every figure over the resamples."""
    wanted = min(resamples, max(200, _MOST_CELLS // rows))
    block = max(1, _BLOCK_CELLS // rows)
    rng = np.random.default_rng(seed)
    parts: dict[str, list[FloatArray]] = {}
    for start in range(0, wanted, block):
        draws = rng.poisson(1.0, size=(min(block, wanted - start), rows)).astype(np.float64)
        first, second = (figure(draws) for figure in figures)
        for name in first:
            parts.setdefault(name, []).append(first[name] - second[name])
    return {name: np.concatenate(values) for name, values in parts.items()}
