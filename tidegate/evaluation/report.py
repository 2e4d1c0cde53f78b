"""The run's report: one HTML file that opens from disk and asks nothing of a network."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import yaml

from tidegate.config import CleaningConfig
from tidegate.evaluation import charts
from tidegate.evaluation.audit import lineage
from tidegate.evaluation.decision import percent
from tidegate.evaluation.dial import Promised, dial, promised, start_stop
from tidegate.evaluation.operating_curve import OperatingCurve, operating_curve
from tidegate.evaluation.page import render_page
from tidegate.records import (
    GROUP_PREFIX,
    SLICE_PREFIX,
    Approval,
    EvaluationReport,
    Expectation,
    GroupPair,
    MitigationReport,
    SearchResult,
    Snapshot,
    TrialResult,
    ValidationReport,
)

_WORDS = {
    "promote": ("Promote", "✓", "The candidate keeps the policy and may be released."),
    "hold": ("Hold", "✕", "The candidate must not be released as it is."),
    "insufficient_data": (
        "Insufficient data",
        "?",
        "The data cannot settle whether the candidate may be released.",
    ),
}
_MOST_CURVES = 12
# Between them stands who approved the model, which is known after the page was written.
_APPROVAL = ("<!--approval-->", "<!--/approval-->")
_MOST_PAIRS = 40


def render_report(
    *,
    evaluation: EvaluationReport,
    validation_scored: Any,
    holdout_scored: Any,
    search: SearchResult,
    data_validation: ValidationReport,
    snapshot: Snapshot,
    config: Mapping[str, Any],
    digests: Mapping[str, str],
    search_cost: str | None = None,
    cleaning: Mapping[str, int] | None = None,
    texts: Mapping[str, str] | None = None,
) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    evaluation : EvaluationReport
        The decision and the figures behind it.
    validation_scored, holdout_scored : DataFrame
        Scored tables. Counts and curves of them enter the page, and of the most confident errors
        id, groups and slices; nothing else of a row.
    search : SearchResult
        The trials.
    data_validation : ValidationReport
        The data gate's verdict.
    snapshot : Snapshot
        What the splits hold.
    config : mapping
        The run's configuration, as JSON values.
    digests : mapping
        Name to digest: the lineage.
    search_cost : str, optional
        What the search cost, in one line.
    cleaning : mapping, optional
        Training rows that each rule of cleaning changed, by ``column:rule``.
    texts : mapping, optional
        Texts of the most confident errors by id, where the configuration lets them be shown.
    """
    policy = _section(config, "policy")
    stated = policy.get("prevalence")
    best = _trial(search, search.best)
    curve = _curve(evaluation, holdout_scored, stated)
    start = start_stop(evaluation, curve)
    wanted = promised(evaluation, policy)
    shown, pairs = _curves(search), _pairs(evaluation)
    columns = list(dict.fromkeys(group.column for group in evaluation.groups))
    word, sign, meaning = _WORDS[evaluation.decision]
    return render_page(
        "report.html",
        charts=_charts(evaluation, curve, start, wanted)
        | {
            "pairs": charts.group_pairs([p for p in pairs if p.metric == "fpr"]),
            "prevalence": charts.prevalence(evaluation, stated),
            "scores": charts.score_histogram(holdout_scored, float(curve.cuts[start]), "holdout"),
            "scores-validation": charts.score_histogram(
                validation_scored, evaluation.threshold, "validation"
            ),
            "search": charts.search_history(search),
            "learning": charts.learning_curve(best),
        }
        | _small_multiples(shown),
        e=evaluation,
        approval_told=_approval_told(evaluation, config),
        approval_marks=_APPROVAL,
        treated=_treated(evaluation),
        untreated_ap=_untreated_precision(evaluation),
        word=word,
        sign=sign,
        meaning=meaning,
        in_words=_in_words(evaluation),
        against=evaluation.baseline.differences.get("average_precision"),
        columns=columns,
        several=len(columns) > 1,
        pairs=pairs,
        policy=policy,
        data=_section(config, "data"),
        stated=stated,
        wanted=wanted,
        **dial(evaluation, curve, start, policy),
        errors=_errors(evaluation, holdout_scored),
        texts=texts or {},
        search=search,
        search_cost=search_cost,
        best=best,
        fitted=_fit(best),
        curves=shown,
        shift=_shift(evaluation),
        snapshot=snapshot,
        inputs=_inputs(snapshot),
        cleaning=_cleaning(cleaning or {}, snapshot),
        checks=data_validation,
        broken=data_validation.failures,
        expectation=_expectation,
        config=yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True),
        lineage=lineage(digests, snapshot, config),
    )


def approved_page(page: str, approval: Approval) -> str:
    """Return a report's page that says who approved the model, and when.

    A page that is no report of ours stays as it is.
    """
    before, start, rest = page.partition(_APPROVAL[0])
    _, end, after = rest.partition(_APPROVAL[1])
    if not start or not end:
        return page
    note = f" {approval.note}" if approval.note else ""
    told = escape(f"Approved by {approval.approved_by} at {approval.approved_at}.{note}")
    return f"{before}{start}{told}{end}{after}"


def _approval_told(evaluation: EvaluationReport, config: Mapping[str, Any]) -> str:
    """Say what the release still wants of a person."""
    if evaluation.decision != "promote":
        return "Not promoted: nobody is asked to approve it."
    if _section(config, "rollout").get("approval") == "manual":
        return "Waits for a person’s approval (rollout.approval: manual)."
    return "Released without a person’s approval (rollout.approval: auto)."


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _charts(
    evaluation: EvaluationReport, curve: OperatingCurve, start: int, wanted: Promised
) -> dict[str, charts.Spec | None]:
    floor = wanted.limit if wanted.figure == "precision" else None
    tests, golden = evaluation.functional, evaluation.golden_set
    calibration, scale = evaluation.calibration, evaluation.score_reference
    drawn = {
        "precision-recall": charts.precision_recall(curve, floor, start),
        "gaps": charts.gaps(evaluation),
        "mitigations": charts.mitigated_gaps(_treated(evaluation)),
        "baseline": charts.baseline_differences(evaluation),
        "reliability": charts.reliability(calibration.curve if calibration else ()),
        "scale": charts.score_scale(scale) if scale else None,
        "slices": charts.slice_losses(evaluation.worst_slices),
        "functional": charts.pass_rates(tests) if tests else None,
        "identities": charts.identity_shifts(tests) if tests else None,
        "golden": charts.golden_history(golden) if golden else None,
    }
    for number, column in enumerate(dict.fromkeys(group.column for group in evaluation.groups)):
        drawn[f"groups-{number}"] = charts.group_rates(evaluation.groups, column)
    return drawn


def _treated(evaluation: EvaluationReport) -> list[MitigationReport]:
    """Return the untreated model and those trained against its gap."""
    return [*([evaluation.untreated] if evaluation.untreated else []), *evaluation.mitigations]


def _untreated_precision(evaluation: EvaluationReport) -> float | None:
    """Return the average precision of the untreated model, which the others are compared with."""
    for found in evaluation.mitigations:
        if "average_precision" in found.differences:
            return found.differences["average_precision"].baseline
    return None


def _pairs(evaluation: EvaluationReport) -> list[GroupPair]:
    """Return the pairs that may differ most, those with a limit first."""
    order = sorted(evaluation.fairness.pairs, key=lambda p: (p.limit is None, -p.size_ci[1]))
    return order[:_MOST_PAIRS]


def _errors(evaluation: EvaluationReport, holdout: Any) -> list[dict[str, Any]]:
    """Return the most confident errors with what rows can be told apart by."""
    groups = dict.fromkeys(group.column for group in evaluation.groups)
    slices = [str(c) for c in holdout.columns if str(c).startswith(SLICE_PREFIX)]
    named = {c: c.removeprefix(SLICE_PREFIX) for c in [*groups, *slices] if c in holdout.columns}
    wanted = {error.id for error in evaluation.confident_errors}
    ids = holdout["id"] if "id" in holdout.columns else holdout.index.to_series()
    own = ids.astype(str)
    rows = holdout.assign(**{"_own": own})[own.isin(wanted).to_numpy()].set_index("_own")
    found = []
    for error in evaluation.confident_errors:
        row = rows.loc[error.id] if error.id in rows.index else {}
        told = [f"{title}: {_value(row[column])}" for column, title in named.items() if len(row)]
        found.append(error.model_dump() | {"features": ", ".join(told)})
    return found


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "__len__"):
        return " and ".join(str(part) for part in value) or "–"
    return "–" if value is None or value != value else str(value)


def _inputs(snapshot: Snapshot) -> list[dict[str, Any]]:
    kinds: list[tuple[str, str, str]] = [
        (column.name, column.kind, column.name) for column in snapshot.columns
    ]
    kinds += [(group, "group", GROUP_PREFIX + group) for group in snapshot.groups]
    return [
        {"name": name, "kind": kind, "profile": snapshot.profiles.get(key)}
        for name, kind, key in kinds
    ]


def _cleaning(changed: Mapping[str, int], snapshot: Snapshot) -> list[dict[str, Any]]:
    rows = snapshot.splits["train"].rows
    found = []
    for key, count in sorted(changed.items(), key=lambda item: -item[1]):
        column, _, rule = key.rpartition(":")
        told = CleaningConfig.model_fields.get(rule)
        described = rule if told is None else f"{rule}: {told.description}"
        found.append(
            {"column": column, "rule": described, "rows": count, "share": count / max(rows, 1)}
        )
    return found


def _curve(evaluation: EvaluationReport, holdout: Any, stated: float | None) -> OperatingCurve:
    points = (evaluation.threshold, getattr(evaluation.best_reachable, "threshold", None))
    return operating_curve(
        holdout,
        confidence=evaluation.confidence,
        prevalence=stated,
        groups=evaluation.groups,
        keep=[threshold for threshold in points if threshold is not None],
    )


def _in_words(evaluation: EvaluationReport) -> str | None:
    """Say the threshold's precision and recall to someone who has never met the words."""
    precision, recall = evaluation.precision, evaluation.recall
    if precision is None or recall is None or evaluation.precision_lower_bound is None:
        return None
    return (
        f"Of 100 posts that it would act on, about {100 * precision:.0f} violate the policy "
        f"(at least {100 * evaluation.precision_lower_bound:.0f}, with "
        f"{percent(evaluation.confidence)} confidence); of 100 violating posts it finds about "
        f"{100 * recall:.0f}."
    )


def _plain(value: object) -> object:
    return json.loads(json.dumps(value, default=str))


def _trial(search: SearchResult, number: int) -> TrialResult:
    return next(trial for trial in search.trials if trial.number == number)


def _curves(search: SearchResult) -> list[TrialResult]:
    """Return the trials whose curves are shown side by side, best first."""
    shown = [trial for trial in search.trials if len(trial.curve) > 1]
    shown.sort(key=lambda trial: -(trial.average_precision or 0.0))
    return shown[:_MOST_CURVES] if len(shown) > 1 else []


def _small_multiples(trials: list[TrialResult]) -> dict[str, charts.Spec | None]:
    losses = [
        loss
        for trial in trials
        for point in trial.curve
        for loss in (point.train_log_loss, point.validation_log_loss)
    ]
    return {
        f"learning-{trial.number}": charts.learning_curve(
            trial, loss_range=(min(losses), max(losses)), height=110
        )
        for trial in trials
    }


def _fit(trial: TrialResult) -> str | None:
    """Say what the winner's curve tells of over- and underfitting."""
    if len(trial.curve) < 2:
        return None
    last = trial.curve[-1]
    lowest = min(trial.curve, key=lambda point: point.validation_log_loss)
    told = (
        f"The winner's training log-loss ends at {last.train_log_loss:.3f}, validation at "
        f"{last.validation_log_loss:.3f}."
    )
    if lowest.step != last.step:
        return (
            f"{told} Validation was lowest at step {lowest.step} "
            f"({lowest.validation_log_loss:.3f}): later steps fit the training rows only."
        )
    return f"{told} Validation is lowest at the last step: more steps might still help."


def _shift(evaluation: EvaluationReport) -> str | None:
    """Say how far prevalence moves between the splits, when it moves by a half or more."""
    shares = {split: share for split, share in evaluation.prevalence.items() if share > 0}
    if len(shares) < 2:
        return None
    low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    if shares[high] < 1.5 * shares[low]:
        return None
    return (
        f"Prior shift: {percent(shares[high])} of the rows violate in {high}, "
        f"{percent(shares[low])} in {low}. A precision measured at one prevalence does not carry "
        "to another; state production's in policy.prevalence."
    )


def _expectation(of: Expectation) -> str:
    where = f"{of.split}" + (f" · {of.column}" if of.column else "")
    seen = f"observed {of.observed}" if of.observed is not None else ""
    count = f"{of.unexpected_count:,} unexpected" if of.unexpected_count is not None else ""
    wanted = f"expected {of.expected}" if of.expected is not None else ""
    return " · ".join(part for part in (where, count, seen, wanted) if part)
