"""What the report's slider shows before anybody moves it, and the data that move it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tidegate.evaluation.decision import percent
from tidegate.evaluation.operating_curve import RATES, OperatingCurve, as_json, load_at
from tidegate.records import EvaluationReport, Objective

_PER_POSTS = 1000


@dataclass(frozen=True)
class Promised:
    """What the policy's objective promises: a limit on one figure.

    `figure` is None for `min_cost`, whose limit (doing nothing) moves with the traffic.
    """

    objective: Objective
    figure: Literal["precision", "recall", "fpr"] | None
    limit: float | None

    @property
    def words(self) -> str:
        """Say the limit."""
        if self.figure is None or self.limit is None:
            return "a cost below that of doing nothing"
        if self.figure == "fpr":
            return f"a false-positive rate of at most {percent(self.limit)}"
        return f"{self.figure} of at least {percent(self.limit)}"


def promised(evaluation: EvaluationReport, policy: Mapping[str, Any]) -> Promised:
    """Return what the policy of a run promises."""
    objective: Objective = policy.get("objective", "max_recall")
    if objective == "max_precision":
        return Promised(objective, "recall", policy.get("min_recall"))
    if objective == "max_fpr":
        return Promised(objective, "fpr", policy.get("max_fpr"))
    if objective == "min_cost":
        return Promised(objective, None, None)
    return Promised(objective, "precision", evaluation.min_precision)


def start_stop(evaluation: EvaluationReport, curve: OperatingCurve) -> int:
    """Return the stop where the slider stands: the threshold, else the best reachable point."""
    best = evaluation.best_reachable
    wished = evaluation.threshold if best is None else best.threshold
    return curve.nearest(wished) if wished is not None else 0


def dial(
    evaluation: EvaluationReport, curve: OperatingCurve, start: int, policy: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the slider's section shows at its first stop, and what its script reads."""
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
    wanted = promised(evaluation, policy)
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
            "told": _told(wanted, curve, start),
        },
        "groups_at": _groups_at(curve, start),
        "slider": as_json(curve)
        | {
            "start": start,
            "posts": many,
            "unit": unit,
            "costs": costs,
            "promise": {"figure": wanted.figure, "limit": wanted.limit, "words": wanted.words},
            "confidence": evaluation.confidence,
        },
    }


def _told(wanted: Promised, curve: OperatingCurve, stop: int) -> str:
    """Say whether the holdout shows the promise at one stop, looked at alone."""
    if wanted.figure is None or wanted.limit is None:
        return "The policy promises a cost below that of doing nothing; the cost stands below."
    if wanted.figure == "precision":
        value, sure = curve.precision(stop), float(curve.precision_lower_bound[stop])
    elif wanted.figure == "recall":
        value, (sure, _) = curve.recall(stop)
    else:
        value, (_, sure) = curve.false_positive_rate(stop)
    side = 1 if wanted.figure != "fpr" else -1
    name = "the false-positive rate" if wanted.figure == "fpr" else wanted.figure
    bound = f"at {'least' if side > 0 else 'most'} {percent(sure)}"
    if side * (sure - wanted.limit) >= 0:
        return f"✓ The holdout shows {wanted.words} here: {name} is {bound}."
    if side * (value - wanted.limit) >= 0:
        return (
            f"? Not shown: {name} is {percent(value)} here but may be as "
            f"{'low' if side > 0 else 'high'} as {percent(sure)}; promised is {wanted.words}."
        )
    return f"✕ The promise is broken here: {name} is {percent(value)}, promised is {wanted.words}."


def _groups_at(curve: OperatingCurve, stop: int) -> list[dict[str, Any]]:
    found = []
    for g in curve.groups:
        row = {
            "column": g.column,
            "group": g.group,
            "too_small": g.too_small,
            "n": g.n,
            "flagged": int(g.flagged[stop]),
        }
        for name in RATES:
            row[name], row[f"{name}_ci"] = g.rate(name, stop, curve.confidence) or (None, None)
        found.append(row)
    return found
