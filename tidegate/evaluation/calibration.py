"""Whether a score of 0.8 means that 80 % violate, and the map that makes it so.

The map is chosen on validation by cross-validated log-loss; a simpler one wins a tie. Whether
scores mean what they say is then measured on the holdout. No map changes which rows rank above
which, so that a threshold and its promise stay the same rows on either scale (isotonic maps may
tie some).

References
----------
Platt, "Probabilistic outputs for support vector machines", 1999.
Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates",
KDD 2002 (isotonic).
Kull, Silva Filho and Flach, "Beta calibration", AISTATS 2017.
Vovk, Petej and Fedorova, "Large-scale probabilistic predictors with and without guarantees of
validity", NeurIPS 2015 (Venn-Abers).
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from tidegate.decision_rule import apply_map
from tidegate.evaluation.crossfit import Rows
from tidegate.evaluation.intervals import FloatArray, wilson
from tidegate.records import CalibrationMap, CalibrationReport, Interval, ReliabilityBin

# The methods' constants: folds of the choice, bins of the curve, knots of a stepwise map, and how
# close to 0 and 1 a probability may come before its log-loss is meaningless.
_FOLDS = 5
_BINS = 10
_KNOTS = 100
_EDGE = 1e-6


def calibrate(validation: Rows, holdout: Rows, *, confidence: float) -> CalibrationReport:
    """Choose a map on validation and measure raw and mapped scores on the holdout.

    Parameters
    ----------
    validation, holdout : Rows
        Score (between 0 and 1), label and weight.
    confidence : float
        Of each interval.
    """
    losses = cross_validated_losses(validation)
    method = min(losses, key=lambda name: losses[name])
    fitted = fit_map(method, validation)
    score, label, weight = holdout
    error, interval = calibration_error(holdout, confidence=confidence)
    mapped, mapped_interval = calibration_error(
        (apply_map(fitted, score), label, weight), confidence=confidence
    )
    return CalibrationReport(
        log_losses=losses,
        map=fitted,
        curve=reliability_curve(holdout, confidence=confidence),
        error=error,
        error_ci=interval,
        mapped_error=mapped,
        mapped_error_ci=mapped_interval,
        rows=int(score.size),
    )


def cross_validated_losses(rows: Rows) -> Mapping[str, float]:
    """Return each method's mean log-loss on rows that its fit left out, simplest method first."""
    score, label, weight = rows
    # Folds by rank within each class: alike, and the same whatever the order of the rows.
    fold = np.empty(score.size, dtype=int)
    for value in (0, 1):
        own = np.flatnonzero(label == value)
        fold[own[np.lexsort((weight[own], score[own]))]] = np.arange(own.size) % _FOLDS
    losses = {}
    for method in _FITS:
        total = 0.0
        for k in range(_FOLDS):
            inside, outside = fold != k, fold == k
            fitted = fit_map(method, (score[inside], label[inside], weight[inside]))
            mapped = np.clip(apply_map(fitted, score[outside]), _EDGE, 1 - _EDGE)
            hit = label[outside] == 1
            loss = -np.where(hit, np.log(mapped), np.log1p(-mapped))
            total += float((weight[outside] * loss).sum())
        losses[method] = total / float(weight.sum())
    return losses


def fit_map(method: str, rows: Rows) -> CalibrationMap:
    """Fit one map: ``identity``, ``platt``, ``beta``, ``isotonic`` or ``venn_abers``."""
    return _FITS[method](rows)


def reliability_curve(rows: Rows, *, confidence: float) -> tuple[ReliabilityBin, ...]:
    """Return bins of equally many rows: mean score, violating share and its Wilson interval."""
    score, label, weight = rows
    bins = []
    for own in _bins(score):
        effective = float(weight[own].sum() ** 2 / (weight[own] ** 2).sum())
        share = float(np.average(label[own], weights=weight[own]))
        bins.append(
            ReliabilityBin(
                rows=int(own.size),
                score=float(np.average(score[own], weights=weight[own])),
                violating=share,
                violating_ci=wilson(share * effective, effective, confidence),
            )
        )
    return tuple(bins)


def calibration_error(rows: Rows, *, confidence: float) -> tuple[float, Interval]:
    """Return the expected calibration error and its interval.

    The root mean square over equally filled bins of violating share minus mean score, without
    what sampling alone adds to the square. The sum of squares follows a scaled noncentral
    chi-square distribution (Satterthwaite's scale and degrees); the interval inverts it, and so it
    is as good for a perfectly calibrated score, where a bootstrap of the plug-in error is not.

    References
    ----------
    Kumar, Liang and Ma, "Verified uncertainty calibration", NeurIPS 2019 (the squared error without
    its bias).
    Sun, Chaudhari, Barnett and Dobriban, "A confidence interval for the l2 expected calibration
    error", 2024.
    """
    from scipy.optimize import brentq
    from scipy.special import chndtr

    score, label, weight = rows
    squares, noise = [], []
    for own in _bins(score):
        part = weight[own] / weight[own].sum()
        effective = 1 / float((part**2).sum())
        share = float((part * label[own]).sum())
        squares.append((share - float((part * score[own]).sum())) ** 2)
        # A share of 0 or 1 is not without noise (Agresti and Coull's rule).
        smooth = (share * effective + 1) / (effective + 2)
        noise.append(smooth * (1 - smooth) / effective)
    spread = np.array(noise)
    observed = float(np.sum(squares))
    scale = float((spread**2).sum() / spread.sum())
    freedom = float(spread.sum() / scale)

    def excess(level: float) -> float:
        def gap(noncentrality: float) -> float:
            tail = chndtr(observed / scale, freedom, noncentrality)
            return float(tail) - level

        if gap(0.0) <= 0:
            return 0.0
        top = 4 * (observed / scale + 10)
        return float(brentq(gap, 0.0, top)) * scale

    ends = [
        np.sqrt(excess(level) / spread.size)
        for level in (0.5 + confidence / 2, 0.5 - confidence / 2)
    ]
    point = np.sqrt(max(observed - float(spread.sum()), 0.0) / spread.size)
    return float(point), (float(min(ends[0], point)), float(max(ends[1], point)))


def _bins(score: FloatArray) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each bin, about as many in each; rows of one score stay together."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    wished = [part[0] for part in np.array_split(np.arange(score.size), _BINS) if part.size]
    starts = np.unique(np.searchsorted(ranked, ranked[wished], side="left"))
    return np.split(order, starts[1:])


def _identity(rows: Rows) -> CalibrationMap:
    return CalibrationMap(method="identity")


def _platt(rows: Rows) -> CalibrationMap:
    slope, shift = _logistic(rows, lambda s: (np.log(s) - np.log1p(-s))[:, None])
    if slope < 0:
        return _flat("platt", rows)
    return CalibrationMap(method="platt", coefficients=(slope, slope, shift))


def _beta(rows: Rows) -> CalibrationMap:
    rise, fall, shift = _logistic(rows, lambda s: np.column_stack([np.log(s), -np.log1p(-s)]))
    # A negative coefficient would make the map fall somewhere: drop that term (Kull et al.).
    if rise < 0:
        fall, shift = _logistic(rows, lambda s: -np.log1p(-s)[:, None])
        rise = 0.0
    elif fall < 0:
        rise, shift = _logistic(rows, lambda s: np.log(s)[:, None])
        fall = 0.0
    if min(rise, fall) < 0:
        return _flat("beta", rows)
    return CalibrationMap(method="beta", coefficients=(rise, fall, shift))


def _flat(method: Literal["platt", "beta"], rows: Rows) -> CalibrationMap:
    """Return the best map that does not fall where a higher score means less."""
    share = np.clip(float(np.average(rows[1], weights=rows[2])), _EDGE, 1 - _EDGE)
    return CalibrationMap(
        method=method, coefficients=(0.0, 0.0, float(np.log(share) - np.log1p(-share)))
    )


def _logistic(rows: Rows, features: Callable[[FloatArray], FloatArray]) -> list[float]:
    from sklearn.linear_model import LogisticRegression

    score, label, weight = rows
    X = features(np.clip(score, _EDGE, 1 - _EDGE))
    # Nearly no penalty: just enough that separable rows have an answer.
    model = LogisticRegression(C=1e3, max_iter=500).fit(X, label, weight / weight.max())
    return [*(float(value) for value in model.coef_[0]), float(model.intercept_[0])]


def _isotonic(rows: Rows) -> CalibrationMap:
    centre, share, mass = _cells(rows)
    return CalibrationMap(
        method="isotonic", knots=tuple(centre), values=tuple(_rising(share, mass))
    )


def _venn_abers(rows: Rows) -> CalibrationMap:
    """Each knot's row is added once as violating and once as harmless; the two fits are merged."""
    centre, share, mass = _cells(rows)
    values = []
    for i in range(centre.size):
        ends = []
        for label in (0.0, 1.0):
            added, total = share.copy(), mass.copy()
            total[i] += 1.0
            added[i] = (share[i] * mass[i] + label) / total[i]
            ends.append(_rising(added, total)[i])
        low, high = ends
        values.append(high / (1 - low + high))
    rising = np.maximum.accumulate(values)
    return CalibrationMap(method="venn_abers", knots=tuple(centre), values=tuple(rising))


def _cells(rows: Rows) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return centre, violating share and mass of at most `_KNOTS` runs of neighbouring scores."""
    score, label, weight = rows
    distinct, place = np.unique(score, return_inverse=True)
    if distinct.size > _KNOTS:
        own = np.bincount(place, weights=weight)
        below = np.cumsum(own) - own
        place = np.floor(below * (_KNOTS / own.sum()) + 1e-9).astype(int)[place]
        place = np.unique(place, return_inverse=True)[1]
    share = weight / weight.max()
    mass = np.bincount(place, weights=share).astype(np.float64)
    used = mass > 0
    mass = mass[used]
    centre = np.bincount(place, weights=share * score)[used] / mass
    return centre, np.bincount(place, weights=share * label)[used] / mass, mass


def _rising(share: FloatArray, mass: FloatArray) -> FloatArray:
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(share, weights=mass).x)


_FITS: Mapping[str, Callable[[Rows], CalibrationMap]] = {
    "identity": _identity,
    "platt": _platt,
    "beta": _beta,
    "isotonic": _isotonic,
    "venn_abers": _venn_abers,
}
