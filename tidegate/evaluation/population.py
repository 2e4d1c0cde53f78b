"""How many posts in production violate: an estimate from few labels, and how many labels it takes.

Labels are dear, so the sample is drawn unequally, more of it where the score says that violations
are, and each label is weighted back by its chance of being drawn. The scores of *all* posts, which
cost nothing, take out of the estimate what they explain.

References
----------
Horvitz and Thompson, "A generalization of sampling without replacement from a finite universe",
JASA 47, 1952.
Neyman, "On the two different aspects of the representative method", JRSS 97, 1934 (allocation).
Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, "Prediction-powered inference", Science 382, 2023,
and Angelopoulos, Duchi and Zrnic, "PPI++", 2023 (a weight on the scores that never widens).
Fisch et al., "Stratified prediction-powered inference", NeurIPS 2024.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.intervals import FloatArray, wilson
from tidegate.evaluation.ranking import check_open_share
from tidegate.records import PrevalenceEstimate

# The method's constant: from how many labels a stratum's scores may be weighed.
_MIN_POWERED = 20


@dataclass(frozen=True)
class Stratum:
    """Posts of production from which some were drawn at random and labelled.

    Parameters
    ----------
    size : int
        Posts in the stratum.
    labels : array, shape (n,)
        Of the drawn posts: 1 violates, 0 does not.
    scores : array, shape (n,), optional
        Of the same posts.
    mean_score : float, optional
        Of all posts in the stratum.
    """

    size: int
    labels: npt.ArrayLike
    scores: npt.ArrayLike | None = None
    mean_score: float | None = None


def estimate_prevalence(strata: Sequence[Stratum], *, confidence: float) -> PrevalenceEstimate:
    """Estimate the share of violating posts over all strata.

    Parameters
    ----------
    strata : sequence of Stratum
        All of production; each needs a label.
    confidence : float
        Of the two-sided interval: Wilson's, at as many independent labels as have the estimate's
        variance. Strata count as large beside their samples.

    Returns
    -------
    PrevalenceEstimate
        ``classical_ci`` is the interval without the scores.

    Raises
    ------
    ValueError
        If a stratum has no label or fewer posts than labels.
    """
    check_open_share("confidence", confidence, example="0.95")
    total = sum(stratum.size for stratum in strata)
    plain, plain_variance, powered, variance, likely, labelled = 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for number, stratum in enumerate(strata):
        label = np.asarray(stratum.labels, dtype=np.float64)
        n, share = label.size, stratum.size / total
        if not 0 < n <= stratum.size:
            raise ValueError(
                f"stratum {number} must have 1 to {stratum.size} labels, got {n}; draw some or "
                "merge it with its neighbour"
            )
        mean = float(label.mean())
        # A stratum without a violating label is not without variance.
        smooth = (label.sum() + 0.5) / (n + 1)
        own = smooth * (1 - smooth) / n
        shift, kept = _explained(label, stratum)
        plain += share * mean
        plain_variance += share**2 * own
        likely += share * smooth
        powered += share * (mean + shift)
        variance += share**2 * own * kept
        labelled += n
    tighter = variance < plain_variance
    share = min(max(powered if tighter else plain, 0.0), 1.0)
    return PrevalenceEstimate(
        prevalence=share,
        interval=_interval(share, variance if tighter else plain_variance, likely, confidence),
        classical=plain,
        classical_ci=_interval(plain, plain_variance, likely, confidence),
        method="prediction_powered" if tighter else "horvitz_thompson",
        labelled=labelled,
        population=total,
        confidence=confidence,
    )


def weighted_prevalence(
    labels: npt.ArrayLike, inclusion: npt.ArrayLike, *, population: int, confidence: float
) -> PrevalenceEstimate:
    """Estimate the share of violating posts from independent draws of unequal chance.

    Parameters
    ----------
    labels : array_like, shape (n,)
        Of the drawn posts.
    inclusion : array_like, shape (n,)
        The chance with which each was drawn, in (0, 1].
    population : int
        Posts in production.
    confidence : float
        Of the interval.
    """
    label = np.asarray(labels, dtype=np.float64)
    chance = np.asarray(inclusion, dtype=np.float64)
    if label.size == 0 or chance.shape != label.shape or not ((chance > 0) & (chance <= 1)).all():
        raise ValueError(
            "inclusion must hold a chance in (0, 1] for each of at least one label; write the "
            "probability with which each post was drawn"
        )
    weight = 1 / chance
    # Hájek's form: the weights' own sum stands for the population, which steadies the estimate.
    share = float((weight * label).sum() / weight.sum())
    smooth = float(((weight * label).sum() + 0.5 * weight.mean()) / (weight.sum() + weight.mean()))
    square = float((weight**2 * (label - share) ** 2).sum()) / float(weight.sum()) ** 2
    even = smooth * (1 - smooth) / label.size
    variance = square if label.min() < label.max() else even
    interval = _interval(share, variance, smooth, confidence)
    return PrevalenceEstimate(
        prevalence=share,
        interval=interval,
        classical=share,
        classical_ci=interval,
        method="horvitz_thompson",
        labelled=int(label.size),
        population=population,
        confidence=confidence,
    )


def labels_needed(
    strata: Mapping[str, tuple[int, float]], *, width: float, confidence: float
) -> Mapping[str, int]:
    """Return how many labels a stratum needs for an interval of a wished width.

    Parameters
    ----------
    strata : mapping of name to (size, prevalence)
        Posts, and a guess of the violating share, for example the mean calibrated score.
    width : float
        Upper minus lower end of the interval.
    confidence : float
        Of the interval.

    Returns
    -------
    mapping of name to int
        Neyman's allocation: in proportion to size and spread, and at least one.
    """
    from scipy.special import ndtri

    check_open_share("width", width, example="0.01")
    check_open_share("confidence", confidence, example="0.95")
    total = sum(size for size, _ in strata.values())
    spread = {
        name: size / total * math.sqrt(max(share * (1 - share), 1e-12))
        for name, (size, share) in strata.items()
    }
    z = float(ndtri(0.5 + confidence / 2))
    together = sum(spread.values())
    n = (2 * z / width * together) ** 2
    return {
        name: min(strata[name][0], max(1, math.ceil(n * part / together)))
        for name, part in spread.items()
    }


def _explained(label: FloatArray, stratum: Stratum) -> tuple[float, float]:
    """Return what the scores add to the mean and the share of the variance that they leave."""
    if stratum.scores is None or stratum.mean_score is None or label.size < _MIN_POWERED:
        return 0.0, 1.0
    score = np.asarray(stratum.scores, dtype=np.float64)
    spread, own = float(score.var()), float(label.var())
    if spread <= 0 or own <= 0:
        return 0.0, 1.0
    slope = float(((score - score.mean()) * (label - label.mean())).mean()) / spread
    pull = min(max(slope, 0.0), 1.0)
    left = float((label - pull * score).var()) / own
    # Two degrees of freedom went into the mean and the slope.
    left *= label.size / (label.size - 2)
    if left >= 1:
        return 0.0, 1.0
    return pull * (stratum.mean_score - float(score.mean())), left


def _interval(
    share: float, variance: float, smooth: float, confidence: float
) -> tuple[float, float]:
    """Return Wilson's interval at as many labels as would have the variance."""
    effective = smooth * (1 - smooth) / variance
    return wilson(share * effective, effective, confidence)
