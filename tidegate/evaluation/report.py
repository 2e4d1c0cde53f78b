"""The run's report: one HTML file that opens from disk and asks nothing of a network."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from tidegate.evaluation import charts
from tidegate.evaluation.audit import lineage
from tidegate.evaluation.decision import percent
from tidegate.evaluation.intervals import wilson
from tidegate.evaluation.operating_curve import OperatingCurve, as_json, load_at, operating_curve
from tidegate.evaluation.page import render_page
from tidegate.records import (
    EvaluationReport,
    Expectation,
    Interval,
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
_PER_POSTS = 1000


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
) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    evaluation : EvaluationReport
        The decision and the figures behind it.
    validation_scored, holdout_scored : DataFrame
        Scored tables. Only counts and curves of them enter the page, never a row.
    search : SearchResult
        The trials.
    data_validation : ValidationReport
        The data gate's verdict.
    snapshot : Snapshot
        What the splits hold.
    config : mapping
        The run's configuration, as JSON values. Of its policy, `prevalence`, `posts_per_day`,
        `costs` and `review_capacity` say what the slider's figures are counted in.
    digests : mapping
        Name to digest: the lineage.
    search_cost : str, optional
        What the search cost, in one line.
    """
    found = config.get("policy")
    policy: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    stated = policy.get("prevalence")
    best = _trial(search, search.best)
    curve = _curve(evaluation, holdout_scored, stated)
    start = _start(evaluation, curve)
    bins = evaluation.calibration.curve if evaluation.calibration else ()
    shown = _curves(search)
    columns = list(dict.fromkeys(group.column for group in evaluation.groups))
    word, sign, meaning = _WORDS[evaluation.decision]
    return render_page(
        "report.html",
        charts=_charts(evaluation, curve, start, bins, stated)
        | {
            "scores": charts.score_histogram(holdout_scored, float(curve.cuts[start]), "holdout"),
            "scores-validation": charts.score_histogram(
                validation_scored, evaluation.threshold, "validation"
            ),
            "search": charts.search_history(search),
            "learning": charts.learning_curve(best),
        }
        | _small_multiples(shown),
        e=evaluation,
        word=word,
        sign=sign,
        meaning=meaning,
        in_words=_in_words(evaluation),
        against=evaluation.baseline.differences.get("average_precision"),
        columns=columns,
        several=len(columns) > 1,
        **_slider(evaluation, curve, start, policy),
        bins=bins,
        search=search,
        search_cost=search_cost,
        best=best,
        fitted=_fit(best),
        curves=shown,
        shift=_shift(evaluation),
        snapshot=snapshot,
        checks=data_validation,
        broken=data_validation.failures,
        expectation=_expectation,
        config=yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True),
        lineage=lineage(digests, snapshot, config),
    )


def _charts(
    evaluation: EvaluationReport,
    curve: OperatingCurve,
    start: int,
    bins: Any,
    stated: float | None,
) -> dict[str, charts.Spec | None]:
    drawn = {
        "precision-recall": charts.precision_recall(curve, evaluation.min_precision, start),
        "reliability": charts.reliability(bins),
        "gaps": charts.gaps(evaluation),
        "baseline": charts.baseline_differences(evaluation),
        "prevalence": charts.prevalence(evaluation, stated),
    }
    for number, column in enumerate(dict.fromkeys(group.column for group in evaluation.groups)):
        drawn[f"groups-{number}"] = charts.group_rates(evaluation.groups, column)
    return drawn


def _curve(evaluation: EvaluationReport, holdout: Any, stated: float | None) -> OperatingCurve:
    points = (evaluation.threshold, getattr(evaluation.best_reachable, "threshold", None))
    return operating_curve(
        holdout,
        confidence=evaluation.confidence,
        prevalence=stated,
        groups=evaluation.groups,
        keep=[threshold for threshold in points if threshold is not None],
    )


def _start(evaluation: EvaluationReport, curve: OperatingCurve) -> int:
    """Return the stop where the slider stands: the threshold, else the best reachable point."""
    best = evaluation.best_reachable
    wished = evaluation.threshold if best is None else best.threshold
    return curve.nearest(wished) if wished is not None else 0


def _slider(
    evaluation: EvaluationReport, curve: OperatingCurve, start: int, policy: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the threshold section shows before anybody moves it, and the data to move it."""
    posts, costs = policy.get("posts_per_day"), policy.get("costs")
    unit = "a day" if posts else f"per {_PER_POSTS:,} posts"
    many = float(posts or _PER_POSTS)
    load = load_at(curve, start, start, posts=many, costs=costs)
    recall, recall_ci = curve.recall(start)
    precision, low = curve.precision(start), float(curve.precision_lower_bound[start])
    share = curve.production
    mix = (
        f"the stated {percent(share)} of posts violate"
        if share is not None
        else f"{percent(curve.sample_prevalence)} of posts violate, as in the holdout"
    )
    return {
        "curve": curve,
        "unit": unit,
        "per": f"to {many:,.0f} posts a day" if posts else unit,
        "capacity": policy.get("review_capacity"),
        "assumption": f"Counts hold where {mix}, and people are taken to decide rightly.",
        "at": {
            "stop": start,
            "stops": curve.cuts.size,
            "cut": float(curve.cuts[start]),
            "precision": precision,
            "low": low,
            "recall": recall,
            "recall_ci": recall_ci,
            "flagged": int(curve.flagged[start]),
            "load": load,
            "told": _told(precision, low, evaluation.min_precision),
        },
        "groups_at": _groups_at(curve, start),
        "slider": as_json(curve)
        | {
            "start": start,
            "posts": many,
            "unit": unit,
            "costs": costs,
            "floor": evaluation.min_precision,
            "confidence": evaluation.confidence,
        },
    }


def _told(precision: float, low: float, wanted: float) -> str:
    floor = percent(wanted)
    if low >= wanted:
        return (
            f"✓ The holdout shows the floor of {floor} here: precision is at least {percent(low)}."
        )
    if precision >= wanted:
        return (
            f"? Not shown: precision is {percent(precision)} here but may be as low as "
            f"{percent(low)}; the floor is {floor}."
        )
    return f"✕ Below the floor of {floor}: precision is {percent(precision)} here."


def _groups_at(curve: OperatingCurve, stop: int) -> list[dict[str, Any]]:
    def rate(name: str, hits: int, rows: int) -> dict[str, float | Interval | None]:
        some = rows > 0
        return {
            name: hits / rows if some else None,
            f"{name}_ci": wilson(hits, rows, curve.confidence) if some else None,
        }

    found = []
    for g in curve.groups:
        flagged, right = int(g.flagged[stop]), int(g.right[stop])
        found.append(
            {
                "column": g.column,
                "group": g.group,
                "too_small": g.too_small,
                "n": g.n,
                "flagged": flagged,
            }
            | rate("precision", right, flagged)
            | rate("recall", right, g.violating)
            | rate("fpr", flagged - right, g.n - g.violating)
        )
    return found


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
