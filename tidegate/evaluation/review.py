"""Two thresholds: act, send to review, leave, with as many reviews as people can do."""

import numpy as np

from tidegate.evaluation.crossfit import Rows
from tidegate.evaluation.intervals import FloatArray, exact_upper_bound
from tidegate.evaluation.ranking import rank
from tidegate.records import ReviewBand


def review_band(
    rows: Rows,
    act: float | FloatArray | None,
    *,
    posts_per_day: float,
    capacity: float,
    confidence: float,
    prevalence: float | None = None,
) -> ReviewBand | None:
    """Return the lowest threshold whose posts below `act` fit into the review capacity.

    Parameters
    ----------
    rows : Rows
        Score, label and weight of validation rows.
    act : float, array or None
        The threshold from which posts are acted on, or one a row; None (of a row: NaN) where
        nothing may be, so that all flagged posts go to review.
    posts_per_day, capacity : float
        Posts that come, and posts that people can review, a day.
    confidence : float
        That the mean number of reviews a day stays within the capacity: the exact upper bound of
        the band's share of posts does. Bands only grow, so that the first that does not fit ends
        the search and no other is tried.
    prevalence : float, optional
        Share of violating posts in production; rows of the two classes then count accordingly,
        and as fewer (Kish's effective number).

    Returns
    -------
    ReviewBand or None
        None where no row lies below `act`, or not one fits.
    """
    score, label, weight = rows
    if prevalence is not None:
        sample = float(np.average(label, weights=weight))
        if not 0 < sample < 1:
            return None
        ratio = np.where(label == 1, prevalence / sample, (1 - prevalence) / (1 - sample))
        weight = weight * ratio
    below = np.ones(score.size, dtype=bool) if act is None else ~(score >= act)
    if not below.any():
        return None
    all_rows = rank(score, label, weight)
    band = rank(score[below], label[below], weight[below])
    # `rank` counts in units of its own largest weight.
    unit = float(weight[below].max() / weight.max())
    trusted = weight / weight.max()
    design = float((trusted**2).sum() / trusted.sum())
    cuts = band.grid(1)
    mass = band.mass(cuts) * unit / design
    total = all_rows.total / design
    limit = capacity / posts_per_day
    fits = np.flatnonzero(exact_upper_bound(mass, total, confidence) <= limit)
    if not fits.size:
        return None
    last = int(fits[-1])
    cut = float(cuts[last])
    acted_hits = all_rows.violating - band.violating * unit
    caught = acted_hits + float(band.hits(cut)) * unit
    return ReviewBand(
        threshold=band.serving_cut(cut),
        act_threshold=act if isinstance(act, float) else None,
        reviews_per_day=float(mass[last] / total) * posts_per_day,
        reviews_per_day_upper_bound=float(exact_upper_bound(mass[last], total, confidence))
        * posts_per_day,
        capacity=capacity,
        confidence=confidence,
        precision=float(band.hits(cut) / band.mass(cut)),
        recall_with_review=caught / all_rows.violating if all_rows.violating else 0.0,
    )
