"""Whether a score means what it says: the share of violating rows at each level of the score."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.evaluation.intervals import wilson
from tidegate.evaluation.measurement import rows_of


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of neighbouring scores: `share` of them violates, `low` to `high` by Wilson."""

    rows: int
    mean_score: float
    share: float
    low: float
    high: float


def reliability_bins(
    scored: Any, *, confidence: float, bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """Return at most `bins` bins with about as many rows each, low scores first.

    Rows with one score stay in one bin. Rows count by weight, the heaviest as 1.

    References
    ----------
    Bröcker and Smith, "Increasing the reliability of reliability diagrams", Weather and
    Forecasting 22, 2007 (intervals); Nguyen and O'Connor, "Posterior calibration and exploratory
    analysis for natural language processing models", EMNLP 2015 (bins of equal size).
    """
    score, label, weight = rows_of(scored, "holdout")
    share = weight / weight.max()
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, score, side="left")
    found = []
    for number in range(edges.size + 1):
        inside = place == number
        mass = float(share[inside].sum())
        if mass <= 0:
            continue
        hits = float((share * label)[inside].sum())
        low, high = wilson(hits, mass, confidence)
        found.append(
            ReliabilityBin(
                rows=int(inside.sum()),
                mean_score=float(np.average(score[inside], weights=share[inside])),
                share=hits / mass,
                low=low,
                high=high,
            )
        )
    return tuple(found)
