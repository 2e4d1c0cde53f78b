"""How well a model tells classes, or answers several tasks, on a scored table."""

from typing import Any

import numpy as np

from tidegate.evaluation.intervals import FloatArray
from tidegate.records import ClassMetrics

_SCORE, _LABEL, _CLASS = "score_", "label_", "class"


def class_metrics(scored: Any) -> tuple[ClassMetrics, ...]:
    """Measure each class or task, rows weighted by their label weight.

    Parameters
    ----------
    scored : DataFrame
        A scored table. One with a column ``class`` holds a probability ``score_NAME`` a class, of
        which the largest decides; one with columns ``label_NAME`` holds a ``score_NAME`` a task,
        which decides from 0.5 on. Any other table is of two classes and gives nothing.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    names = output_names(scored)
    if not names:
        return ()
    outputs, truth = probabilities(scored, names), truth_of(scored, names)
    weight = scored["weight"].to_numpy(dtype=np.float64) if "weight" in scored else None
    said = outputs >= 0.5
    if _CLASS in scored:
        said = outputs.argmax(axis=1)[:, None] == np.arange(len(names))
    metrics = []
    for place, name in enumerate(names):
        actual = truth[:, place]
        precision, recall, f1, _ = precision_recall_fscore_support(
            actual, said[:, place], average="binary", sample_weight=weight, zero_division=0.0
        )
        ranked = None
        if actual.any() and not actual.all():
            ranked = float(average_precision_score(actual, outputs[:, place], sample_weight=weight))
        metrics.append(
            ClassMetrics(
                name=name,
                n=int(actual.sum()),
                precision=float(precision),
                recall=float(recall),
                f1=float(f1),
                average_precision=ranked,
            )
        )
    return tuple(metrics)


def roc_auc_ovo(scored: Any) -> float | None:
    """Return the mean ROC-AUC over all pairs of classes, rows unweighted; None without classes.

    References
    ----------
    Hand and Till, "A simple generalisation of the area under the ROC curve for multiple class
    classification problems", Machine Learning 45, 2001.
    """
    from sklearn.metrics import roc_auc_score

    names = output_names(scored)
    if not names or _CLASS not in scored:
        return None
    truth = truth_of(scored, names)
    present = truth.any(axis=0)
    if present.sum() < 2:
        return None
    outputs = probabilities(scored, names)[:, present]
    total = outputs.sum(axis=1, keepdims=True)
    outputs = np.where(total > 0, outputs / np.where(total > 0, total, 1.0), 1 / present.sum())
    number = truth[:, present].argmax(axis=1)
    if present.sum() == 2:
        return float(roc_auc_score(number, outputs[:, 1]))
    return float(roc_auc_score(number, outputs, multi_class="ovo", average="macro"))


def output_names(scored: Any) -> tuple[str, ...]:
    """Return the classes or tasks of a scored table; none where it is of two classes."""
    names = [column.removeprefix(_SCORE) for column in scored if column.startswith(_SCORE)]
    told = _CLASS in scored
    return tuple(name for name in names if told or _LABEL + name in scored)


def probabilities(scored: Any, names: tuple[str, ...]) -> FloatArray:
    """Return the probability of each output, shape (rows, outputs)."""
    return np.column_stack([scored[_SCORE + name].to_numpy(dtype=np.float64) for name in names])


def truth_of(scored: Any, names: tuple[str, ...]) -> Any:
    """Return whether each row is of each class or task, shape (rows, outputs)."""
    if _CLASS in scored:
        return np.column_stack([(scored[_CLASS] == name).to_numpy() for name in names])
    return np.column_stack([scored[_LABEL + name].to_numpy() == 1 for name in names])
