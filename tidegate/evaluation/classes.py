"""How well a model tells classes, or answers several tasks, on a scored table."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.binormal import ranking_interval
from tidegate.evaluation.intervals import FloatArray, weighted_wilson
from tidegate.evaluation.measurement import influence_half_width
from tidegate.evaluation.paired_spread import average_precision, placed
from tidegate.records import ClassMetrics, Interval

Rows = npt.NDArray[np.bool_]

_SCORE, _LABEL, _CLASS = "score_", "label_", "class"


def class_metrics(scored: Any, *, confidence: float) -> tuple[ClassMetrics, ...]:
    """Measure each class or task, rows weighted by their label weight, with two-sided intervals.

    Parameters
    ----------
    scored : DataFrame
        A scored table. One with a column ``class`` holds a probability ``score_NAME`` a class, of
        which the largest decides; one with columns ``label_NAME`` holds a ``score_NAME`` a task,
        which decides from 0.5 on. Any other table is of two classes and gives nothing.
    confidence : float
        Of each interval. That of F1 is Wilson's for the share of right rows among those that are
        said or truly of the class, carried over: F1 rises with this share alone.
    """
    from sklearn.metrics import precision_recall_fscore_support

    names = output_names(scored)
    if not names:
        return ()
    outputs, truth = probabilities(scored, names), truth_of(scored, names)
    weight, said = _weights(scored), _said(scored, outputs)
    metrics = []
    for place, name in enumerate(names):
        actual, claimed = truth[:, place], said[:, place]
        precision, recall, f1, _ = precision_recall_fscore_support(
            actual, claimed, average="binary", sample_weight=weight, zero_division=0.0
        )
        intervals = {
            name: _share_interval(actual & claimed, among, weight, confidence)
            for name, among in (
                ("precision", claimed),
                ("recall", actual),
                ("f1", actual | claimed),
            )
            if among.any()
        }
        if "f1" in intervals:
            low, high = intervals["f1"]
            intervals["f1"] = (2 * low / (1 + low), 2 * high / (1 + high))
        ranked = None
        if actual.any() and not actual.all():
            label = actual.astype(np.float64)
            rows = placed(outputs[:, place], label, weight, exact=True)
            ranked, intervals["average_precision"] = ranking_interval(
                average_precision, rows, label, weight, confidence
            )
        metrics.append(
            ClassMetrics(
                name=name,
                n=int(actual.sum()),
                precision=float(precision),
                recall=float(recall),
                f1=float(f1),
                average_precision=ranked,
                intervals=intervals,
            )
        )
    return tuple(metrics)


def macro_f1(scored: Any, *, confidence: float) -> tuple[float, Interval | None] | None:
    """Return the mean F1 of classes or tasks and its two-sided interval; None without them.

    The interval is from what each row moves the figure (the infinitesimal jackknife), so that a
    row counts once in all classes; none where no row moves it.
    """
    names = output_names(scored)
    if not names:
        return None
    outputs, truth = probabilities(scored, names), truth_of(scored, names)
    weight, said = _weights(scored), _said(scored, outputs)
    value, moves = 0.0, np.zeros(len(weight))
    for actual, claimed in zip(truth.T, said.T, strict=True):
        mass = actual * 1.0 + claimed
        total = float(weight @ mass)
        if total > 0:
            f1 = 2 * float(weight @ (actual & claimed)) / total
            moves += weight * (2 * (actual & claimed) - f1 * mass) / total / len(names)
            value += f1 / len(names)
    half = influence_half_width(moves, confidence)
    return value, None if half is None else (max(0.0, value - half), min(1.0, value + half))


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


def _weights(scored: Any) -> FloatArray:
    if "weight" not in scored:
        return np.ones(len(scored))
    weight = np.asarray(scored["weight"], dtype=np.float64)
    return np.asarray(weight / weight.max())


def _said(scored: Any, outputs: FloatArray) -> Rows:
    """Return which classes or tasks the model says, shape (rows, outputs)."""
    if _CLASS in scored:
        return np.asarray(outputs.argmax(axis=1)[:, None] == np.arange(outputs.shape[1]))
    return np.asarray(outputs >= 0.5)


def _share_interval(right: Rows, among: Rows, weight: FloatArray, confidence: float) -> Interval:
    wrong = among & ~right
    hits, misses = (
        (float(weight[rows].sum()), float((weight[rows] ** 2).sum())) for rows in (right, wrong)
    )
    return weighted_wilson(hits, misses, confidence)


def probabilities(scored: Any, names: tuple[str, ...]) -> FloatArray:
    """Return the probability of each output, shape (rows, outputs)."""
    return np.column_stack([scored[_SCORE + name].to_numpy(dtype=np.float64) for name in names])


def truth_of(scored: Any, names: tuple[str, ...]) -> Any:
    """Return whether each row is of each class or task, shape (rows, outputs)."""
    if _CLASS in scored:
        return np.column_stack([(scored[_CLASS] == name).to_numpy() for name in names])
    return np.column_stack([scored[_LABEL + name].to_numpy() == 1 for name in names])
