"""Has the share of violating posts moved, with nothing else: told from scores, without labels.

If only the mix of violating and harmless posts changes (prior shift, label shift), the scores of a
new window are a mixture of the two score distributions that labelled reference rows show. The
mixture's weight is the window's prevalence; whether any weight fits says if the mix is all that
moved. The model may be a black box and need not be calibrated.

References
----------
Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities", Neural Computation 14, 2002 (maximum likelihood).
Lipton, Wang and Smola, "Detecting and correcting for label shift with black box predictors",
ICML 2018.
Garg, Wu, Balakrishnan and Lipton, "A unified view of label shift estimation", NeurIPS 2020
(binned scores).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tidegate.config import PolicyConfig
from tidegate.evaluation.crossfit import Rows
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.ranking import check_open_share
from tidegate.records import PriorShift, ThresholdOffer

FloatArray = npt.NDArray[np.float64]

# The method's constants: how finely scores are told apart, and how often counts are redrawn.
_BINS = 12
_DRAWS = 500
_HALVINGS = 40


def estimate_prior_shift(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    window: npt.ArrayLike,
    *,
    confidence: float,
    weights: npt.ArrayLike | None = None,
    seed: int = 0,
) -> PriorShift:
    """Estimate a window's prevalence from its scores, and whether a new prevalence explains them.

    Parameters
    ----------
    scores, labels : array_like, shape (n,)
        Reference rows that the model did not learn from; 1 violates, 0 does not.
    window : array_like, shape (m,)
        Scores of the window's rows.
    confidence : float
        Of the interval: percentiles of the estimate over redrawn reference and window counts, so
        that it knows the uncertainty of both.
    weights : array_like, shape (n,), optional
        How far each reference label is to be trusted.
    seed : int
        Of the redrawing.

    Returns
    -------
    PriorShift
        `fit_p_value` is the share of redrawn windows that fit their best mixture as badly as the
        real one does: small means that more than the mix has moved. Of a large window any
        trifle makes it small; `explained_share` says how much of the scores' distance from the
        reference the new mix takes away.

    Raises
    ------
    ValueError
        If the reference lacks a class, the window is empty, or a score is not finite.
    """
    check_open_share("confidence", confidence, example="0.95")
    reference, truth, seen, trust = _checked(scores, labels, window, weights)
    sides, violating, harmless, counts, share = _mixture(reference, truth, seen, trust)
    rows = [max(1, round(float(side.sum()))) for side in sides]
    rng = np.random.default_rng(seed)

    def redrawn(window_shares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        drawn = [
            _smoothed(rng.multinomial(n, p, size=_DRAWS))
            for n, p in zip(rows, (violating, harmless), strict=True)
        ]
        new = rng.multinomial(seen.size, window_shares, size=_DRAWS).astype(np.float64)
        return drawn[0], drawn[1], new

    first, second, new = redrawn(counts / counts.sum())
    tail = 50 * (1 - confidence)
    low, high = np.percentile(_mixture_share(first, second, new), [tail, 100 - tail])
    seen_counts = counts[None, :].astype(np.float64)
    misfit = _misfit(violating, harmless, np.array([share]), seen_counts)
    before = float(np.average(truth, weights=trust))
    moved = _misfit(violating, harmless, np.array([before]), seen_counts)
    first, second, new = redrawn(share * violating + (1 - share) * harmless)
    usual = _misfit(first, second, _mixture_share(first, second, new), new)
    return PriorShift(
        prevalence=share,
        interval=(float(low), float(high)),
        reference_prevalence=before,
        explained_share=float(1 - misfit[0] / moved[0]) if moved[0] > 0 else 1.0,
        fit_p_value=float((1 + (usual >= misfit[0]).sum()) / (1 + _DRAWS)),
        rows=int(seen.size),
        confidence=confidence,
    )


def mixture_prevalence(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    window: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Return a window's prevalence alone, as `estimate_prior_shift` estimates it.

    Raises
    ------
    ValueError
        As there.
    """
    reference, truth, seen, trust = _checked(scores, labels, window, weights)
    return _mixture(reference, truth, seen, trust).share


def offer_threshold(
    rows: Rows, shift: PriorShift, *, policy: PolicyConfig, threshold: float | None
) -> ThresholdOffer:
    """Choose the threshold anew for the shifted prevalence, and check the old one's promise.

    The promise is made at the low end of the prevalence's interval, where precision is lowest;
    interval and threshold share the policy's risk, so that together they keep its confidence.

    Parameters
    ----------
    rows : Rows
        Labelled reference rows, as `tidegate.evaluation.measurement.rows_of` reads them.
    shift : PriorShift
        At a confidence of at least one minus the policy's risk (its lower end errs half of that).
    policy : PolicyConfig
        The promise.
    threshold : float or None
        The one in service.

    Raises
    ------
    ValueError
        If the interval alone errs more often than the policy allows.
    """
    spent = (1 - shift.confidence) / 2
    if spent >= 1 - policy.confidence:
        raise ValueError(
            f"the prevalence is known with confidence {shift.confidence:g} and the policy asks for "
            f"{policy.confidence:g}; estimate the shift with confidence {policy.confidence:g}"
        )
    confidence = policy.confidence + spent
    low = max(shift.interval[0], 1e-6)
    there = policy.model_copy(update={"prevalence": min(low, 1 - 1e-6), "confidence": confidence})
    chosen = choose(rows, there)
    new = chosen.threshold
    kept = threshold is not None and new is not None and new.value <= threshold
    return ThresholdOffer(
        prevalence=shift.prevalence,
        prevalence_assumed=low,
        in_service=threshold,
        in_service_keeps_promise=kept,
        offered=new,
        best_reachable=chosen.best,
    )


class _Mixture(NamedTuple):
    """A window's counts a bin, and the mixture of the reference's classes nearest to them."""

    sides: list[FloatArray]
    violating: FloatArray
    harmless: FloatArray
    counts: npt.NDArray[np.int64]
    share: float


def _checked(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    window: npt.ArrayLike,
    weights: npt.ArrayLike | None,
) -> tuple[FloatArray, npt.NDArray[np.bool_], FloatArray, FloatArray]:
    reference, truth = np.asarray(scores, np.float64), np.asarray(labels) == 1
    seen = np.asarray(window, np.float64)
    trust = np.ones(reference.size) if weights is None else np.asarray(weights, np.float64)
    if not (trust[truth].sum() > 0 and trust[~truth].sum() > 0):
        raise ValueError("the reference must hold violating and harmless rows; take a larger one")
    if seen.size == 0:
        raise ValueError("the window holds no scores; take a longer window")
    if not (np.isfinite(reference).all() and np.isfinite(seen).all()):
        raise ValueError("scores must be finite; mend the model or leave such rows out")
    return reference, truth, seen, trust


def _mixture(
    reference: FloatArray, truth: npt.NDArray[np.bool_], seen: FloatArray, trust: FloatArray
) -> _Mixture:
    edges = _edges(reference, truth)
    sides = [_histogram(reference[side], trust[side], edges) for side in (truth, ~truth)]
    counts = np.bincount(np.searchsorted(edges, seen, side="right"), minlength=edges.size + 1)
    violating, harmless = (side / side.sum() for side in sides)
    share = float(_mixture_share(violating, harmless, counts[None, :].astype(np.float64))[0])
    return _Mixture(sides, violating, harmless, counts, share)


def _edges(scores: FloatArray, truth: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the bins' inner edges: as many violating as harmless quantiles."""
    inner = np.linspace(0, 1, _BINS // 2 + 1)[1:-1]
    sides = [np.quantile(scores[side], inner) for side in (truth, ~truth)]
    return np.unique(np.concatenate(sides))


def _histogram(scores: FloatArray, trust: FloatArray, edges: FloatArray) -> FloatArray:
    """Count rows a bin, in as many rows as their unequal weights are worth (Kish, 1965)."""
    place = np.searchsorted(edges, scores, side="right")
    mass = np.bincount(place, weights=trust, minlength=edges.size + 1)
    worth = trust.sum() ** 2 / (trust**2).sum()
    return np.asarray(_smoothed(mass * worth / mass.sum()) * worth)


def _smoothed(counts: npt.NDArray[Any]) -> FloatArray:
    """Return shares of bins, none of them zero: a bin unseen among few rows is not impossible."""
    padded = counts + 0.5 / counts.shape[-1]
    return np.asarray(padded / padded.sum(axis=-1, keepdims=True))


def _mixture_share(violating: FloatArray, harmless: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the violating component's share of highest likelihood, for every row of counts.

    The log-likelihood is concave in the share, so its slope is halved upon.
    """
    low, high = np.zeros(len(counts)), np.ones(len(counts))
    difference = violating - harmless
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        mixed = middle[:, None] * violating + (1 - middle[:, None]) * harmless
        rises = (counts * difference / mixed).sum(axis=1) > 0
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return (low + high) / 2


def _misfit(
    violating: FloatArray, harmless: FloatArray, share: FloatArray, counts: FloatArray
) -> FloatArray:
    """Return Pearson's distance between counts and the mixture, for every row of counts."""
    mixed = share[:, None] * violating + (1 - share[:, None]) * harmless
    expected = mixed * counts.sum(axis=1, keepdims=True)
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=1))
