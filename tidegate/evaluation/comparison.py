"""The candidate beside the baseline on the same holdout rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.errors import BadInput
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.paired_tests import delong, mcnemar
from tidegate.evaluation.prevalence import precision_in_production
from tidegate.records import BaselineComparison, Difference

# Cells of one block of bootstrap weights: 2 M float64 are 16 MB.
_BLOCK_CELLS = 2_000_000
# More rows than this are drawn as counts of cells: rows that both models score alike.
_MOST_ROWS = 40_000
_BINS = 100


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
    """Return candidate minus baseline with paired intervals.

    Both models see the same resampled rows, so that what makes a holdout hard cancels out.
    Precision and recall are taken at each model's own threshold, and only when both have one; so
    are the rows that only one of them gets right. ROC-AUC has DeLong's interval, the others the
    bootstrap's.

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
        Of more than 40,000 rows, counts are drawn of cells of rows that both models score alike.
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
    both = threshold is not None and baseline.threshold is not None
    rows = _Rows(
        scores=(score, other),
        label=label,
        weight=weight,
        count=np.ones(label.size),
        cuts=(threshold, baseline.threshold) if both else (None, None),
    )
    observed = _observed(rows, prevalence)
    drawn = rows if label.size <= _MOST_ROWS else _cells(rows)
    # A cell's scores are one: its figures miss the rows' by a hair, which the spread does not.
    around = _observed(drawn, prevalence)
    spread = _resampled(drawn, prevalence, resamples, seed)
    tail = (1 - confidence) / 2
    differences = {}
    for name, value in observed[0].items():
        if not np.isfinite([value, observed[1][name]]).all():
            continue
        difference = value - observed[1][name]
        moved = difference - (around[0][name] - around[1][name]) if drawn is not rows else 0.0
        low, high = np.nanquantile(spread[name], [tail, 1 - tail]) + moved
        differences[name] = Difference(
            candidate=float(value),
            baseline=float(observed[1][name]),
            difference=float(difference),
            difference_ci=(float(low), float(high)),
        )
    differences["roc_auc"] = delong(score, other, label, weight, confidence)
    discordance = {}
    if threshold is not None and baseline.threshold is not None:
        flagged, flagged_there = score >= threshold, other >= baseline.threshold
        discordance = mcnemar(flagged.astype(float), flagged_there.astype(float), label)
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


@dataclass(frozen=True)
class _Rows:
    """Rows as both models score them; `count` says how many stand behind each."""

    scores: tuple[FloatArray, FloatArray]
    label: FloatArray
    weight: FloatArray
    count: FloatArray
    cuts: tuple[float | None, float | None]


def _observed(rows: _Rows, prevalence: float | None) -> list[dict[str, float]]:
    return [
        {name: float(values[0]) for name, values in figure(rows.count[None, :]).items()}
        for figure in _both(rows, prevalence)
    ]


def _both(rows: _Rows, prevalence: float | None) -> "list[_Figures]":
    return [
        _Figures(score, rows.label, rows.weight, cut, prevalence)
        for score, cut in zip(rows.scores, rows.cuts, strict=True)
    ]


def _cells(rows: _Rows) -> _Rows:
    """Put rows together that have one label and lie in one bin of either model's scores.

    Bins hold equal shares of the violating rows, where average precision looks, and no bin
    crosses a threshold. A cell of unequal weights stands for as many equal ones as have the same
    sum and the same variance when they are drawn.
    """
    places, cuts = [], []
    for score, cut in zip(rows.scores, rows.cuts, strict=True):
        shares = np.linspace(0, 1, _BINS + 1)[1:-1]
        edges = np.unique(
            np.append(np.quantile(score[rows.label == 1], shares), [] if cut is None else cut)
        )
        places.append(np.searchsorted(edges, score, side="right"))
        cuts.append(None if cut is None else float(np.searchsorted(edges, cut, side="right")))
    size = _BINS + 2
    key = (places[0] * size + places[1]) * 2 + rows.label.astype(int)
    mass = np.bincount(key, rows.weight, minlength=2 * size**2)
    squares = np.bincount(key, rows.weight**2, minlength=2 * size**2)
    kept = np.flatnonzero(mass > 0)
    weight = squares[kept] / mass[kept]
    return _Rows(
        scores=((kept // 2 // size).astype(float), (kept // 2 % size).astype(float)),
        label=(kept % 2).astype(float),
        weight=weight,
        count=mass[kept] / weight,
        cuts=(cuts[0], cuts[1]),
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
    rows: _Rows, prevalence: float | None, resamples: int, seed: int
) -> Mapping[str, npt.NDArray[np.float64]]:
    """Return the differences of every figure over the resamples."""
    figures = _both(rows, prevalence)
    size = rows.label.size
    block = max(1, _BLOCK_CELLS // size)
    rng = np.random.default_rng(seed)
    parts: dict[str, list[FloatArray]] = {}
    for start in range(0, resamples, block):
        shape = (min(block, resamples - start), size)
        draws = rng.poisson(rows.count, size=shape).astype(np.float64)
        first, second = (figure(draws) for figure in figures)
        for name in first:
            parts.setdefault(name, []).append(first[name] - second[name])
    return {name: np.concatenate(values) for name, values in parts.items()}
