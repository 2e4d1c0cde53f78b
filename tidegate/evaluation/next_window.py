"""A threshold for the posts that come next, from old labels and the newest scores.

`tidegate.evaluation.threshold` promises the precision of a model on a population. Who is held to a
floor week by week needs something else: that the precision of *this* week's flagged posts, a few
hundred of them, is above it. Labels come late, so two things are put together. Labelled rows say
how violating and how harmless posts score; the latest scores, which wait for no label, say how many
of each there are now. Such a threshold costs nothing and may be renewed every day.
"""

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.crossfit import Rows
from tidegate.evaluation.prior_shift import mixture_prevalence
from tidegate.evaluation.ranking import check_floor, check_open_share
from tidegate.records import OperatingPoint

# The method's constant: fewer flagged rows than these say nothing.
_FEWEST_ROWS = 20


def next_window_threshold(
    rows: Rows,
    latest: npt.ArrayLike,
    *,
    upcoming: int,
    min_precision: float,
    confidence: float,
) -> OperatingPoint:
    """Return the lowest cut at which the next window likely keeps the floor.

    Parameters
    ----------
    rows : Rows
        Score, label and weight of rows drawn at random that the model did not learn from. A
        weight may fall with a row's age.
    latest : array_like, shape (m,)
        Scores of the newest posts, all of them, whether labelled or not.
    upcoming : int
        How many posts the next window will hold.
    min_precision : float
        The floor.
    confidence : float
        Chance that the window's own precision is above it.

    Returns
    -------
    OperatingPoint
        With what is expected of the next window; where no cut keeps the floor, the one that
        comes nearest.

    Raises
    ------
    ValueError
        If the rows lack a class or there are no latest scores.

    Notes
    -----
    With weights that carry the rows to the prevalence of now (Saerens, Latinne and Decaestecker,
    2002), n effective flagged rows (Kish, 1965) and a share p of them violating, the share among m
    flagged posts to come has the variance p (1 - p) (1 / n + 1 / m) about p: that of a prediction,
    not of a mean. p is shrunk by Jeffreys' half a row a class; the bound is normal.
    """
    from scipy.special import ndtri

    check_floor("min_precision", min_precision)
    check_open_share("confidence", confidence, example="0.95")
    score, label, weight = rows
    newest = np.asarray(latest, np.float64)
    prevalence = mixture_prevalence(score, label, newest, weights=weight)
    order = np.argsort(-score, kind="stable")
    score, violating = score[order], label[order] == 1
    share = np.average(violating, weights=weight[order])
    carried = np.where(violating, prevalence / share, (1 - prevalence) / (1 - share))
    mass = weight[order] * carried
    total, squares, right = (np.cumsum(x) for x in (mass, mass**2, mass * violating))
    n = total**2 / squares
    p = (right / total * n + 0.5) / (n + 1)
    m = np.maximum(1.0, total / total[-1] * upcoming)
    bound = p - ndtri(confidence) * np.sqrt(p * (1 - p) * (1 / (n + 1) + 1 / m))
    # A cut lies below all rows of its score.
    possible = np.append(score[1:] < score[:-1], True)
    possible[: min(_FEWEST_ROWS, len(score) - 1)] = False
    kept = np.flatnonzero(possible & (bound >= min_precision))
    place = int(kept[-1]) if kept.size else int(np.argmax(np.where(possible, bound, -np.inf)))
    below = score[place + 1] if place + 1 < len(score) else score[place]
    return OperatingPoint(
        threshold=float((score[place] + below) / 2),
        precision=float(p[place]),
        precision_lower_bound=float(max(0.0, bound[place])),
        recall=float(right[place] / right[-1]),
        flagged=place + 1,
    )
