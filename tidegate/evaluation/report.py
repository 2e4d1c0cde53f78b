"""The run's report: one HTML file that opens from disk and asks nothing of a network."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tidegate.evaluation import charts
from tidegate.evaluation.decision import percent, points, span
from tidegate.records import (
    EvaluationReport,
    Expectation,
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
        The run's configuration, as JSON values.
    digests : mapping
        Name to digest: the lineage.
    search_cost : str, optional
        What the search cost, in one line.
    """
    import jinja2

    policy = config.get("policy")
    stated = policy.get("prevalence") if isinstance(policy, Mapping) else None
    best = _trial(search, search.best)
    drawn = {
        "precision-recall": charts.precision_recall(evaluation, holdout_scored, prevalence=stated),
        "scores": charts.score_histogram(holdout_scored, evaluation.threshold),
        "scores-validation": charts.score_histogram(validation_scored, evaluation.threshold),
        "gaps": charts.gaps(evaluation),
        "baseline": charts.baseline_differences(evaluation),
        "prevalence": charts.prevalence(evaluation, stated),
        "search": charts.search_history(search),
        "learning": charts.learning_curve(best),
    }
    columns = list(dict.fromkeys(group.column for group in evaluation.groups))
    for number, column in enumerate(columns):
        drawn[f"groups-{number}"] = charts.group_rates(evaluation.groups, column)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: "–" if share is None else percent(share),
        "points": lambda share: "–" if share is None else points(share),
        "span": lambda interval: "" if interval is None else span(interval),
        "count": lambda number: "–" if number is None else f"{number:,}",
    }
    word, sign, meaning = _WORDS[evaluation.decision]
    return environment.get_template("report.html").render(
        e=evaluation,
        word=word,
        sign=sign,
        meaning=meaning,
        charts={name: _embedded(spec) for name, spec in drawn.items() if spec is not None},
        columns=columns,
        search=search,
        search_cost=search_cost,
        best=best,
        fitted=_fit(best),
        stated=stated,
        shift=_shift(evaluation),
        snapshot=snapshot,
        checks=data_validation,
        broken=data_validation.failures,
        expectation=_expectation,
        config=yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True),
        digests=digests,
        library=_charting_library(),
    )


@functools.cache
def _charting_library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that may stand inside HTML."""
    import vl_convert

    # Its stubs call the snippet required; without one Vega, Vega-Lite and vega-embed all come.
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    return bundle.replace("</script", "<\\/script")


def _embedded(spec: charts.Spec) -> str:
    # Inside a script element only "<" can end the data early; JSON may spell it as an escape.
    return json.dumps(spec, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _plain(value: object) -> object:
    return json.loads(json.dumps(value, default=str))


def _trial(search: SearchResult, number: int) -> TrialResult:
    return next(trial for trial in search.trials if trial.number == number)


def _fit(trial: TrialResult) -> str | None:
    """Say what the winner's curve tells of over- and underfitting."""
    if len(trial.curve) < 2:
        return None
    last = trial.curve[-1]
    lowest = min(trial.curve, key=lambda point: point.validation_log_loss)
    told = (
        f"Training log-loss ends at {last.train_log_loss:.3f}, validation at "
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
