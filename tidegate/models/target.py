"""What a model's outputs mean: its labels, its score, and which rows violate."""

from typing import Any

import numpy as np

from tidegate.models.interface import Labels, Scores
from tidegate.records import CLASS, LABEL, TASK_PREFIX, Target


def labels_of(target: Target, roles: Any) -> Labels:
    """Return what a model of this target learns from a table's role columns.

    Returns
    -------
    ndarray
        Binary: 0/1, shape (rows,). Multi-class: the class's number in ``target.outputs``, shape
        (rows,). Multi-label: 0/1, shape (rows, outputs).
    """
    if target.kind == "multiclass":
        return np.asarray(roles[CLASS], dtype=np.int8)
    if target.kind == "multilabel":
        columns = [LABEL, *(TASK_PREFIX + task for task in target.outputs[1:])]
        return np.column_stack([np.asarray(roles[column], dtype=np.int8) for column in columns])
    return np.asarray(roles[LABEL], dtype=np.int8)


def violating_of(target: Target, y: Labels) -> Labels:
    """Return 1 for the labels that violate, else 0, shape (rows,)."""
    if target.kind == "multiclass":
        return np.isin(y, _violating(target)).astype(np.int8)
    return y[:, 0] if target.kind == "multilabel" else y


def score_of(target: Target, outputs: Scores) -> Scores:
    """Return P(violating), shape (rows,), of outputs of shape (rows, outputs).

    The score of a multi-class model is the sum over the violating classes; that of several tasks
    is the first output, which is the label itself.
    """
    if target.kind == "multiclass":
        total = outputs[:, _violating(target)].sum(axis=1)
        return np.asarray(np.clip(total, 0.0, 1.0), dtype=np.float64)
    return np.asarray(outputs[:, 0 if target.kind == "multilabel" else 1], dtype=np.float64)


def indicators_of(target: Target, y: Labels) -> Labels:
    """Return the 0/1 questions inside the labels, shape (rows, questions).

    Binary labels ask one; several tasks one each; classes one each, "is it this one".
    """
    if target.kind == "multiclass":
        return np.asarray(y[:, None] == np.arange(len(target.outputs)), dtype=np.int8)
    return np.asarray(y if target.kind == "multilabel" else y[:, None])


def _violating(target: Target) -> list[int]:
    return [target.outputs.index(name) for name in target.violating]
