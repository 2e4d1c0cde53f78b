"""From what a candidate's two models say to the scores that are served, and judged."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.config import CascadeConfig, PolicyConfig
from tidegate.evaluation.cascade import (
    Pairs,
    choose_pass_through,
    fewest_flagged,
    measure_filter,
)
from tidegate.evaluation.crossfit import Fold, read_folds
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.objectives import choose
from tidegate.pass_through import filtered_scores
from tidegate.records import LIGHT, AgreementSource, CascadeReport

_MOST_ROUNDS = 20


def cascade_of(
    validation: Any, holdout: Any, agreement: Any, crossfit: Any, policy: PolicyConfig
) -> CascadeReport | None:
    """Say whether a cascade may serve, and from which light score on rows pass; None if unasked.

    Parameters
    ----------
    validation, holdout : DataFrame
        Scored tables of the heavy model, with the light one's scores under `records.LIGHT`.
    agreement : DataFrame or None
        ``source, light, heavy``: further rows that neither model learned from.
    crossfit : DataFrame or None
        As for `tidegate.evaluation.evaluate.evaluate`.
    policy : PolicyConfig
        Asks for it under `cascade`.
    """
    rules = policy.cascade
    if rules is None:
        return None
    if LIGHT not in validation.columns:
        why = "the search left no light model of two classes (its log says why)"
        return _refused(rules, policy, None, why)
    if policy.segments is not None:
        why = "it is proven at one threshold, and policy.segments gives each segment its own"
        return _refused(rules, policy, None, why)
    further: dict[AgreementSource, Pairs] = {}
    if agreement is not None:
        for source, rows in agreement.groupby("source"):
            further[source] = (rows["light"].to_numpy(), rows["heavy"].to_numpy())
    folds = () if crossfit is None else read_folds(crossfit, validation)
    light = validation[LIGHT].to_numpy()
    report = settle_cascade(rows_of(validation, "validation"), light, further, policy, rules, folds)
    if report.pass_through is None or report.threshold is None:
        return report
    measured = measure_filter(
        holdout[LIGHT].to_numpy(),
        holdout["score"].to_numpy(),
        holdout["label"],
        threshold=report.threshold,
        pass_through=report.pass_through,
        confidence=policy.confidence,
    )
    return report.model_copy(update={"holdout": measured})


def as_served(table: Any, cascade: CascadeReport | None) -> Any:
    """Return a scored table with the scores of what serves: the cascade's, else the heavy's."""
    if LIGHT not in table.columns:
        return table
    heavy = table.drop(columns=[LIGHT])
    if cascade is None or cascade.pass_through is None:
        return heavy
    light, score = table[LIGHT].to_numpy(), table["score"].to_numpy()
    return heavy.assign(score=filtered_scores(light, score, cascade.pass_through))


def settle_cascade(
    validation: tuple[FloatArray, FloatArray, FloatArray],
    light: FloatArray,
    evidence: Mapping[AgreementSource, Pairs],
    policy: PolicyConfig,
    rules: CascadeConfig,
    folds: Sequence[Fold] = (),
) -> CascadeReport:
    """Choose threshold and pass-through score so that each is the other's.

    The threshold is the one that the policy gives on the cascade's own validation scores, the
    pass-through score one that is proven at that threshold. They are chosen in turn, the
    pass-through score only ever falling, until both stay; the validation labels thus enter by the
    threshold alone.

    Parameters
    ----------
    validation : tuple of arrays
        Heavy score, label and weight of the validation rows.
    light : array
        Light scores of the same rows.
    evidence : mapping
        As for `choose_pass_through`, without the validation rows.
    policy : PolicyConfig
        What the policy demands of the threshold.
    rules : CascadeConfig
        How much the filter may lose.
    folds : sequence of Fold
        As for the threshold.
    """
    heavy, label, weight = validation
    pairs: dict[AgreementSource, Pairs] = {"validation": (light, heavy), **evidence}
    score, at_most = heavy, math.inf
    for _ in range(_MOST_ROUNDS):
        threshold = choose((score, label, weight), policy, folds).threshold
        if threshold is None:
            return _refused(rules, policy, None, "no threshold keeps the policy's promise")
        report = choose_pass_through(
            pairs, threshold.value, rules, confidence=policy.confidence, at_most=at_most
        )
        if report.pass_through is None or report.pass_through == at_most:
            return report
        at_most = report.pass_through
        score = filtered_scores(light, heavy, at_most)
    return _refused(rules, policy, None, "threshold and filter do not settle")


def _refused(
    rules: CascadeConfig, policy: PolicyConfig, threshold: float | None, reason: str
) -> CascadeReport:
    return CascadeReport(
        pass_through=None,
        reason=reason,
        max_recall_loss=rules.max_recall_loss,
        confidence=policy.confidence,
        threshold=threshold,
        flagged_needed=fewest_flagged(rules.max_recall_loss, policy.confidence),
    )
