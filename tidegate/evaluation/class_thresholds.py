"""A threshold for each class or task on its own probability, all promises kept together.

A row that reaches a class's threshold is named as of that class. Whether it is acted on goes by its
score: the classes' promises say what a post is, the score's promise that it violates.
"""

from typing import Any

import numpy as np

from tidegate.config import PolicyConfig
from tidegate.errors import BadInput
from tidegate.evaluation.classes import output_names, probabilities, truth_of
from tidegate.evaluation.crossfit import Rows
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import Measurement, measure, rows_of
from tidegate.evaluation.segments import choose_together
from tidegate.records import ClassThreshold


def class_thresholds(
    validation: Any, holdout: Any, policy: PolicyConfig
) -> tuple[ClassThreshold, ...]:
    """Choose a threshold for every violating class, or every task, under one risk budget.

    Parameters
    ----------
    validation, holdout : DataFrame
        Scored tables, as for `tidegate.evaluation.classes.class_metrics`. Any table of two classes
        gives nothing.
    policy : PolicyConfig
        The objective, of each class against all other rows; `confidence` is for all classes
        together, `class_min_precision` holds floors of their own. A stated prevalence weighs
        violating and other rows, and the mix of classes among the violating ones is the sample's.

    Returns
    -------
    tuple of ClassThreshold
        In the order of the outputs. Classes that do not violate have none, nor has the task that
        is the label itself: its threshold is the score's.
    """
    score, label, weight = rows_of(validation, "validation")
    names = output_names(validation)
    if not names:
        return ()
    outputs, truth = probabilities(validation, names), truth_of(validation, names)
    weight = _in_production(label, weight, policy)
    parts: dict[str, Rows] = {}
    for place, name in enumerate(names):
        own, actual = outputs[:, place], truth[:, place].astype(np.float64)
        is_label = np.array_equal(own, score) and np.array_equal(actual, label)
        violates = "class" not in validation or bool((label[actual == 1] == 1).any())
        if violates and not is_label:
            parts[name] = (own, actual, weight)
    strange = sorted(set(policy.class_min_precision) - set(parts))
    if strange:
        raise BadInput(
            "policy.class_min_precision",
            f"there is no violating class or task {strange[0]!r}",
            f"name one of {', '.join(parts)}",
        )
    policies = {
        name: policy.model_copy(
            update={
                "min_precision": policy.class_min_precision.get(name, policy.min_precision),
                "prevalence": None,
            }
        )
        for name in parts
    }
    found = choose_together(parts, policies)
    there = probabilities(holdout, names), truth_of(holdout, names)
    judged = []
    for name, (risk, choice) in found.items():
        place = names.index(name)
        threshold, seen = choice.threshold, None
        actual = there[1][:, place].astype(int)
        if threshold is not None and 0 < actual.sum() < len(actual):
            table = holdout.assign(score=there[0][:, place], label=actual)
            table["weight"] = _in_production(*rows_of(holdout, "holdout")[1:], policy)
            seen = measure(table, threshold.value, confidence=policy.confidence, costs=policy.costs)
        judged.append(
            ClassThreshold(
                name=name,
                n=int(parts[name][1].sum()),
                risk=risk,
                threshold=threshold,
                best_reachable=choice.best,
                flagged=seen.flagged if seen else None,
                precision=seen.precision if seen else None,
                precision_lower_bound=seen.precision_lower_bound if seen else None,
                recall=seen.recall if seen else None,
                recall_ci=seen.recall_ci if seen else None,
                refuted=seen is not None and _refuted(seen, policies[name]),
            )
        )
    return tuple(judged)


def _in_production(label: FloatArray, weight: FloatArray, policy: PolicyConfig) -> FloatArray:
    if policy.prevalence is None:
        return weight
    sample = float(np.average(label, weights=weight))
    odds = policy.prevalence / sample, (1 - policy.prevalence) / (1 - sample)
    return weight * np.where(label == 1, *odds)


def _refuted(seen: Measurement, policy: PolicyConfig) -> bool:
    """Whether the holdout shows, with confidence, that the class's promise is broken."""
    if policy.objective == "max_precision":
        return (seen.recall_upper_bound or 0.0) < (policy.min_recall or 0.0)
    if policy.objective == "max_fpr":
        return (seen.fpr_lower_bound or 0.0) > (policy.max_fpr or 1.0)
    if policy.objective == "min_cost":
        return seen.saving is not None and seen.saving[1] < 0
    upper = seen.precision_upper_bound
    return upper is not None and upper < policy.min_precision
