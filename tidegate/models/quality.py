"""How good outputs are on labelled, weighted rows: the two figures that every trial reports."""

import numpy as np

from tidegate.models.interface import BINARY, Evaluation, Labels, Scores, Weights
from tidegate.models.target import indicators_of, score_of, violating_of
from tidegate.records import CurvePoint, Target

_SMALLEST = float(np.finfo(np.float64).eps)


def average_precision(y: Labels, score: Scores, weight: Weights) -> float:
    """Return the weighted average precision (PR-AUC) of scores of shape (rows,).

    The figure is scikit-learn's; an ensemble's selection asks for thousands of them, and this is
    some ten times quicker.
    """
    order = np.argsort(-score, kind="stable")
    ranked, violating = score[order], (y * weight)[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    hits, flagged = np.cumsum(violating)[last], np.cumsum(weight[order])[last]
    gained = np.diff(hits, prepend=0.0)
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    return float(gained @ precision / hits[-1]) if hits[-1] > 0 else 0.0


def log_loss(y: Labels, score: Scores, weight: Weights) -> float:
    """Return the weighted cross-entropy, in nats, of scores of shape (rows,)."""
    return cross_entropy(BINARY, y, np.column_stack([1 - score, score]), weight)


def cross_entropy(target: Target, y: Labels, outputs: Scores, weight: Weights) -> float:
    """Return the weighted cross-entropy, in nats, of outputs; the mean over several tasks."""
    asked = indicators_of(target, y) == 1
    if target.kind == "multiclass":
        right = np.where(asked, outputs, 0.0).sum(axis=1)
        return float(np.average(-np.log(np.maximum(right, _SMALLEST)), weights=weight))
    said = outputs if target.kind == "multilabel" else outputs[:, 1:]
    right = np.maximum(np.where(asked, said, 1 - said), _SMALLEST)
    return float(np.average(-np.log(right).mean(axis=1), weights=weight))


def measured(target: Target, y: Labels, outputs: Scores, weight: Weights) -> tuple[float, float]:
    """Return the average precision of the violating score and the target's cross-entropy."""
    score = score_of(target, outputs)
    return (
        average_precision(violating_of(target, y), score, weight),
        cross_entropy(target, y, outputs, weight),
    )


def curve_point(
    step: int, train_log_loss: float, target: Target, evaluation: Evaluation, outputs: Scores
) -> CurvePoint:
    """Return the point of a learning curve at which `outputs` score the evaluation's rows."""
    precision, loss = measured(target, evaluation.y, outputs, evaluation.weight)
    return CurvePoint(
        step=step,
        train_log_loss=train_log_loss,
        validation_log_loss=loss,
        validation_average_precision=precision,
    )
