"""How good the model is in a window: expected from its scores, and shown by labelled rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.sequential import MeanSums, mean_bounds, share_bounds
from tidegate.records import SCORE, ExpectedQuality, Interval, LabelledQuality

Values = npt.NDArray[np.float64]

_REDRAWN = 200
_BINS = 20


def expected_quality(
    reference: Any,
    window: Any,
    *,
    weights: Values,
    threshold: float | None,
    confidence: float,
    assumption: str,
    seed: int,
) -> ExpectedQuality:
    """Expect precision and recall of a window without labels.

    Every score is worth the share of violating rows that the weighted reference has near it
    (scores in quantile bins, merged until the share rises with the score), so the model's own
    probabilities need not be right.

    Parameters
    ----------
    reference, window : DataFrame
        With `score`, and the reference with `label`.
    weights : array, shape (reference rows,)
        Of the change that is assumed.
    threshold : float or None
        In service; without one nothing is flagged.
    confidence : float
        Of the interval over redrawn reference rows.
    """
    scores, labels = (reference[n].to_numpy(np.float64) for n in (SCORE, "label"))
    seen = window[SCORE].to_numpy(np.float64)
    cut = np.inf if threshold is None else threshold
    flagged = int((seen >= cut).sum())
    # The cut is an edge too: flagged rows must not borrow the meaning of those below it.
    inner = np.quantile(scores, np.linspace(0, 1, _BINS + 1)[1:-1])
    edges = np.unique(np.append(inner, cut))
    place = np.searchsorted(edges, scores, side="right")
    there = np.bincount(np.searchsorted(edges, seen, side="right"), minlength=edges.size + 1)
    flags = np.arange(edges.size + 1) > np.searchsorted(edges, cut)
    if threshold is None:
        flags[:] = False
    rng = np.random.default_rng(seed)
    found = []
    for draw in range(_REDRAWN + 1):
        times = rng.multinomial(len(scores), np.full(len(scores), 1 / len(scores)))
        mass = weights if draw == 0 else weights * times
        worth = _rising(
            np.bincount(place, mass * labels, edges.size + 1).astype(np.float64),
            np.bincount(place, mass, edges.size + 1).astype(np.float64),
        )
        violating = worth * there
        found.append((violating[flags].sum() / max(1, flagged), violating.sum()))
    precision = [share for share, _ in found]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(precision[1:], [tail, 100 - tail])
    total = found[0][1]
    return ExpectedQuality(
        assumption=assumption,
        flagged=flagged,
        precision=float(precision[0]) if flagged else None,
        precision_interval=(float(low), float(high)) if flagged else None,
        recall=float(precision[0] * flagged / total) if total > 0 else None,
    )


def labelled_quality(
    reference: Any,
    labelled: Any,
    *,
    hypotheses: Mapping[str, Values],
    threshold: float | None,
    error: float,
) -> LabelledQuality:
    """Measure labelled rows by intervals that may be read as often as labels arrive.

    Parameters
    ----------
    reference : DataFrame
        With `score` and `label`.
    labelled : DataFrame
        Rows of the window whose labels came, `score` and `label`, and `weight` (one over the
        chance that the row was labelled) where that chance differed.
    hypotheses : mapping
        Name of a change to weights of the reference.
    threshold : float or None
        In service.
    error : float
        Chance that any of the intervals is ever wrong.
    """
    scores, labels = (labelled[n].to_numpy(np.float64) for n in (SCORE, "label"))
    weights = np.ones(len(scores))
    if "weight" in labelled:
        weights = labelled["weight"].to_numpy(np.float64)
    cut = np.inf if threshold is None else threshold
    known, truth = (reference[n].to_numpy(np.float64) for n in (SCORE, "label"))
    # Residuals of both signs must not cancel, so high and low scores are looked at apart.
    parted = float(np.median(known)) if threshold is None else threshold
    names = ("upper", "lower") if threshold is None else ("flagged", "not flagged")
    sides = {
        names[0]: (scores >= parted, known >= parted),
        names[1]: (scores < parted, known < parted),
    }
    # Precision, and of each side the window's residuals and the reference's under each change.
    each = error / (1 + 2 * (1 + len(hypotheses)))
    residuals: dict[str, Interval] = {}
    expected: dict[str, dict[str, Interval]] = {name: {} for name in hypotheses}
    for side, (here, there) in sides.items():
        if not (here.any() and there.any()):
            continue
        residuals[side] = _mean(labels[here] - scores[here], weights[here], each, low=-1.0)
        for name, mass in hypotheses.items():
            gaps = truth[there] - known[there]
            expected[name][side] = _fixed(gaps, mass[there], each)
    flagged = scores >= cut
    return LabelledQuality(
        rows=len(scores),
        flagged=int(flagged.sum()),
        precision=(
            float(np.average(labels[flagged], weights=weights[flagged])) if flagged.any() else None
        ),
        precision_interval=(
            _share(labels[flagged], weights[flagged], each) if flagged.any() else None
        ),
        residuals=residuals,
        expected=expected,
        error=error,
    )


def disagreeing(quality: LabelledQuality, hypothesis: str) -> tuple[str, ...]:
    """Return the sides on which labelled rows refute a kind of change as all that happened."""
    expected = quality.expected[hypothesis]
    return tuple(
        side
        for side, (low, high) in quality.residuals.items()
        if low > expected[side][1] or high < expected[side][0]
    )


def breaks_floor(quality: LabelledQuality, min_precision: float) -> bool:
    """Say whether labelled rows show that fewer flagged rows violate than was promised."""
    interval = quality.precision_interval
    return interval is not None and interval[1] < min_precision


def _share(labels: Values, weights: Values, error: float) -> Interval:
    if np.ptp(weights) > 0:
        return _mean(labels, weights, error, low=0.0)
    least, most = share_bounds(labels.sum(), len(labels), error)
    return float(least), float(most)


def _mean(values: Values, weights: Values, error: float, *, low: float) -> Interval:
    sums = MeanSums.of(values, weights)
    top = float(weights.max()) if len(weights) else 1.0
    least, most = mean_bounds(sums, error, low=low, high=1.0, max_weight=max(top, 1e-12))
    return float(least), float(most)


def _fixed(values: Values, weights: Values, error: float) -> Interval:
    """Return Student's interval of a weighted mean: the reference is read once, and large."""
    from scipy.stats import t

    mean = float(np.average(values, weights=weights))
    spread = np.sqrt((weights**2 * (values - mean) ** 2).sum()) / weights.sum()
    rows = weights.sum() ** 2 / (weights**2).sum()
    half = float(t.isf(error / 2, max(1.0, rows - 1)) * spread)
    return mean - half, mean + half


def _rising(hits: Values, mass: Values) -> Values:
    """Return the shares of neighbouring bins, pooled until they rise (pool adjacent violators)."""
    from scipy.optimize import isotonic_regression

    known = mass > 0
    if not known.any():
        return np.zeros_like(mass)
    fitted = isotonic_regression(hits[known] / mass[known], weights=mass[known]).x
    places = np.arange(len(mass))
    return np.asarray(np.interp(places, places[known], fitted))
