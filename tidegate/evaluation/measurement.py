"""What a score and a threshold do on a scored table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import CostConfig
from tidegate.errors import BadInput
from tidegate.evaluation.binormal import ranking_interval
from tidegate.evaluation.intervals import (
    FloatArray,
    exact_lower_bound,
    exact_upper_bound,
    weighted_wilson,
)
from tidegate.evaluation.paired_spread import average_precision, placed, roc_auc
from tidegate.evaluation.prevalence import precision_in_production
from tidegate.evaluation.ranking import checked_rows, rank
from tidegate.records import Interval


@dataclass(frozen=True)
class Measurement:
    """Precision and recall at a threshold; a figure without rows behind it is None.

    The bounds are one-sided exact, the recall interval is two-sided Wilson. `saving` is what
    acting saves a post against doing nothing, an interval whose ends are one-sided bounds; None
    without costs.
    """

    flagged: int
    precision: float | None
    precision_lower_bound: float | None
    precision_upper_bound: float | None
    recall: float | None
    recall_ci: Interval | None
    recall_upper_bound: float | None = None
    fpr: float | None = None
    fpr_lower_bound: float | None = None
    saving: Interval | None = None


@dataclass(frozen=True)
class Quality:
    """Threshold-free figures of a scored table, and two-sided intervals by name.

    A mean loss that is the same in every row has no interval.
    """

    average_precision: float
    roc_auc: float
    log_loss: float
    brier_score: float
    intervals: Mapping[str, Interval]


def rows_of(scored: Any, where: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the checked score, label and weight of a scored table.

    Raises
    ------
    BadInput
        If a column is missing, a value breaks a rule, or only one class is there.
    """
    missing = [name for name in ("label", "score") if name not in scored.columns]
    if missing:
        raise BadInput(where, f"needs a column {missing[0]!r}", "write a scored table")
    weights = scored["weight"] if "weight" in scored.columns else None
    try:
        score, label, weight = checked_rows(scored["score"], scored["label"], weights)
    except ValueError as error:
        problem, _, mend = str(error).partition("; ")
        raise BadInput(where, problem, mend or "mend the table") from None
    if label.min() == label.max():
        raise BadInput(
            where,
            f"must hold violating and other rows, got only label {int(label[0])}",
            "choose a split that leaves both classes in every part",
        )
    return score, label, weight


def measure(
    scored: Any,
    threshold: float | FloatArray,
    *,
    confidence: float,
    prevalence: float | None = None,
    costs: CostConfig | None = None,
) -> Measurement:
    """Measure a threshold, or one a row, chosen elsewhere, on a scored table.

    A row whose own threshold is NaN is not flagged. `prevalence` carries precision to production's
    share of violating rows; recall is the same there. In the one-sided bounds rows count by
    ``weight / max(weight)``, as in `choose_threshold`, which keeps them on the safe side; in the
    recall's interval by `effective_rows`.
    """
    score, label, weight = rows_of(scored, "holdout")
    share = weight / weight.max()
    flagged = score >= threshold
    cells = np.bincount(flagged * np.int8(2) + label.astype(np.int8), share, minlength=4)
    right, mass = float(cells[3]), float(cells[2:].sum())
    squares = np.bincount(flagged * np.int8(2) + label.astype(np.int8), share**2, minlength=4)
    violating, harmless = float(cells[1::2].sum()), float(cells[::2].sum())
    sample = violating / float(cells.sum())

    def carried(precision: float) -> float:
        return precision_in_production(precision, sample, prevalence)

    some = mass > 0
    return Measurement(
        flagged=int(flagged.sum()),
        precision=carried(right / mass) if some else None,
        precision_lower_bound=(
            carried(float(exact_lower_bound(right, mass, confidence))) if some else None
        ),
        precision_upper_bound=(
            carried(float(exact_upper_bound(right, mass, confidence))) if some else None
        ),
        recall=right / violating,
        recall_ci=weighted_wilson(
            (right, float(squares[3])), (float(cells[1]), float(squares[1])), confidence
        ),
        recall_upper_bound=float(exact_upper_bound(right, violating, confidence)),
        fpr=(mass - right) / harmless,
        fpr_lower_bound=float(exact_lower_bound(mass - right, harmless, confidence)),
        saving=(
            None if costs is None else _saving(label, share, flagged, costs, confidence, prevalence)
        ),
    )


def _saving(
    label: FloatArray,
    share: FloatArray,
    flagged: npt.NDArray[np.bool_],
    costs: CostConfig,
    confidence: float,
    production: float | None,
) -> Interval:
    from scipy.special import ndtri

    sample = float(np.average(label, weights=share))
    if production is not None:
        odds = np.where(label == 1, production / sample, (1 - production) / (1 - sample))
        share = share * odds
    gain = flagged * np.where(label == 1, costs.missed_violation, -costs.wrong_flag)
    mean = float(np.average(gain, weights=share))
    off = share * (gain - mean) / float(share.sum())
    error = float(np.sqrt((off**2).sum()))
    z = float(ndtri(confidence))
    # One wrong removal weighs as much as many violations: the sum is skewed, and the Edgeworth term
    # of the studentised mean (Hall, "The bootstrap and Edgeworth expansion", 1992) puts that right.
    lean = float((off**3).sum()) / error**3 * (2 * z * z + 1) / 6 if error > 0 else 0.0
    return (mean - (z - lean) * error, mean + (z + lean) * error)


def quality(scored: Any, *, confidence: float) -> Quality:
    """Return the threshold-free figures, rows weighted by their label weight.

    Average precision and ROC-AUC have the score interval of `ranking_interval`, which holds near 1
    too; the mean losses one from their influence functions on the scale of the logarithm. Few rows
    may carry most of a figure's variance, which is then known badly: the quantile is Student's,
    with the degrees of freedom that the fourth powers of the influences leave.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 22 (infinitesimal
    jackknife, delta method). Satterthwaite, "An approximate distribution of estimates of variance
    components", Biometrics Bulletin 2, 1946.
    """
    score, label, weight = rows_of(scored, "holdout")
    inside = np.clip(score, 1e-15, 1 - 1e-15)
    loss = -np.where(label == 1, np.log(inside), np.log1p(-inside))
    found = placed(score, label, weight, exact=True)
    values: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for name, figure in (("average_precision", average_precision), ("roc_auc", roc_auc)):
        values[name], intervals[name] = ranking_interval(figure, found, label, weight, confidence)
    for name, losses in (("log_loss", loss), ("brier_score", (score - label) ** 2)):
        value = values[name] = float(np.average(losses, weights=weight))
        half = influence_half_width(weight * (losses - value) / weight.sum(), confidence)
        if half is not None:
            factor = float(np.exp(half / value))
            intervals[name] = (value / factor, value * factor)
    return Quality(**values, intervals=intervals)


def influence_half_width(moves: FloatArray, confidence: float) -> float | None:
    """Return half an interval's width from what each row moves a figure; None if none does.

    See `quality` for the quantile.
    """
    from scipy.special import stdtrit

    squares = moves**2
    variance = float(squares.sum())
    # Rounding alone moves a figure by less.
    if variance <= 1e-24:
        return None
    spread = float((squares**2).sum()) - variance**2 / moves.size
    freedom = 2 * variance**2 / spread if spread > 0 else np.inf
    return float(stdtrit(max(freedom, 1.0), 0.5 + confidence / 2) * np.sqrt(variance))


def confusion(
    holdout: Any, threshold: float | FloatArray
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return row counts ((true negative, false positive), (false negative, true positive))."""
    score, label, _ = rows_of(holdout, "holdout")
    flagged = score >= threshold
    counts = [
        [int(((label == actual) & (flagged == bool(said))).sum()) for said in (0, 1)]
        for actual in (0, 1)
    ]
    return ((counts[0][0], counts[0][1]), (counts[1][0], counts[1][1]))


def roc_points(holdout: Any, max_points: int = 200) -> tuple[tuple[float, float, float], ...]:
    """Return at most `max_points` ROC points (false-positive rate, recall, threshold).

    The first point flags nothing; its threshold lies above every score.
    """
    curve = _curve(holdout, max_points - 1)
    rates = np.column_stack([curve.wrong / curve.harmless, curve.right / curve.violating])
    start = np.nextafter(curve.cuts[0], np.inf)
    return (
        (0.0, 0.0, float(start)),
        *(
            (float(fpr), float(recall), float(cut))
            for (fpr, recall), cut in zip(rates, curve.cuts, strict=True)
        ),
    )


@dataclass(frozen=True)
class _Curve:
    """Cuts, high first, and the weight of rows flagged rightly and wrongly at each."""

    cuts: FloatArray
    right: FloatArray
    wrong: FloatArray
    violating: float
    harmless: float


def _curve(scored: Any, max_points: int) -> _Curve:
    ranked = rank(*rows_of(scored, "scored table"))
    distinct = ranked.scores[np.append(ranked.scores[1:] != ranked.scores[:-1], True)][::-1]
    if distinct.size > max_points:
        kept = np.linspace(0, distinct.size - 1, max_points).round().astype(np.int64)
        distinct = np.take(distinct, kept)
    right = ranked.hits(distinct)
    return _Curve(
        cuts=distinct,
        right=right,
        wrong=ranked.mass(distinct) - right,
        violating=ranked.violating,
        harmless=ranked.total - ranked.violating,
    )
