"""From a net's logits to the probabilities of a target's outputs, and how good they are."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tidegate.models.interface import Labels, Scores, Weights
from tidegate.models.quality import average_precision, log_loss
from tidegate.records import CurvePoint, Target

Logits = npt.NDArray[np.float64]
_BOUNDS = (-3.0, 3.0)


def logit_count(target: Target) -> int:
    """Return how many logits a row has: one for the two classes of a binary target."""
    return 1 if target.kind == "binary" else len(target.outputs)


def probabilities(target: Target, logits: Logits, temperature: float = 1.0) -> Scores:
    """Return float64 probabilities of shape (rows, outputs) from logits of shape (rows, logits)."""
    from scipy.special import expit, softmax

    cooled = np.asarray(logits, dtype=np.float64) / temperature
    if target.kind == "binary":
        return np.column_stack([expit(-cooled[:, 0]), expit(cooled[:, 0])])
    if target.kind == "multilabel":
        return np.asarray(expit(cooled), dtype=np.float64)
    return np.asarray(softmax(cooled, axis=1), dtype=np.float64)


def cross_entropy(target: Target, probability: Scores, y: Labels, weight: Weights) -> float:
    """Return the weighted cross-entropy in nats; over several tasks, their mean."""
    tiny = np.finfo(np.float64).tiny
    if target.kind == "multilabel":
        right = np.where(y == 1, probability, 1 - probability)
        loss = -np.log(np.maximum(right, tiny)).mean(axis=1)
    else:
        loss = -np.log(np.maximum(probability[np.arange(len(y)), y], tiny))
    return float(np.average(loss, weights=weight))


def fitted_temperature(target: Target, logits: Logits, y: Labels, weight: Weights) -> float:
    """Return the divisor of the logits that makes their cross-entropy lowest (Guo et al., 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scores = probabilities(target, logits, float(np.exp(log_temperature)))
        return cross_entropy(target, scores, y, weight)

    found = minimize_scalar(loss, bounds=_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def curve_point(
    target: Target, step: int, train_loss: float, logits: Logits, y: Labels, weight: Weights
) -> CurvePoint:
    """Return what a trial reports of validation logits; ranking is by the violating outputs."""
    probability = probabilities(target, logits)
    violating = [place for place, name in enumerate(target.outputs) if name in target.violating]
    score = probability[:, violating].sum(axis=1)
    truth = y[:, violating].max(axis=1) if y.ndim == 2 else np.isin(y, violating).astype(np.int8)
    if target.kind == "binary":
        loss = log_loss(y, score, weight)
    else:
        loss = cross_entropy(target, probability, y, weight)
    return CurvePoint(
        step=step,
        train_log_loss=train_loss,
        validation_log_loss=loss,
        validation_average_precision=average_precision(truth, score, weight),
    )


def merged(keys: Sequence[bytes], weight: Weights) -> tuple[npt.NDArray[np.int64], Weights]:
    """Return the first row of each key and the weight of all rows that have it.

    A net that sees a hundred copies of a post in turn learns them a hundred times in a hundred
    steps; one row of that weight is cheaper, and a row of weight three is then three rows.
    """
    total: dict[bytes, float] = {}
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
        total[key] = total.get(key, 0.0) + float(weight[row])
    return np.array(list(first.values()), dtype=np.int64), np.array(list(total.values()))
