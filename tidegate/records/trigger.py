"""What asks for a retrain, what is asked for, and what a trigger remembers."""

from collections.abc import Mapping
from typing import Any, Literal

from tidegate.records.record import Interval, Record

Cause = Literal[
    "covariate_shift",
    "prior_shift",
    "stale_threshold",
    "concept_drift",
    "quality_loss",
    "slipping_quality",
    "unclear",
    "schedule",
    "new_labels",
    "hand",
]


class Signal(Record):
    """One thing that was noticed about a model in a window.

    `wants` is set by a person's hand alone; every other cause has its own remedy.
    """

    model: str
    window: str
    cause: Cause
    says: str
    wants: Literal["threshold_update", "light_refresh", "full_retrain", "page"] | None = None
    evidence: Mapping[str, Any] = {}


class RemedyRequest(Record):
    """One request, whatever number of signals led to it.

    `name` is made of model, window, cause and remedy alone, so that whoever asks twice asks for
    the same thing.
    """

    name: str
    model: str
    window: str
    remedy: Literal["threshold_update", "light_refresh", "full_retrain", "page"]
    causes: tuple[Cause, ...]
    says: str
    asked_at: str
    evidence: Mapping[str, Any] = {}


class LogLine(Record):
    """What a trigger did or learnt, and when (UTC, ISO 8601); `request` names what it is about."""

    at: str
    request: str
    says: str


class ThresholdUpdate(Record):
    """What came of a request for another threshold of the model in service.

    `outcome` is ``decided`` only until the release is on its way: a trigger that was stopped
    between the two finds it and goes on. `labelled_precision` is an interval over the labelled
    rows of late that the new threshold flags, `labelled_flagged` of them.
    """

    request: str
    model: str
    outcome: Literal[
        "decided",
        "in_service",
        "release_begun",
        "approval_asked",
        "release_under_way",
        "kept",
        "refused",
    ]
    says: str
    version_before: str
    version: str | None = None
    threshold_before: float | None = None
    threshold: float | None = None
    min_precision: float | None = None
    prevalence_assumed: float | None = None
    labelled_flagged: int = 0
    labelled_precision: Interval | None = None


class TriggerState(Record):
    """What a trigger remembers of one model between calls; times are UTC, ISO 8601.

    `waiting` holds what was noticed while a request ran or while the trigger rested. `told` and
    `asked` are the latest signals that were acted on and the latest requests, with their times.
    `in_a_row` counts retrains for each cause since a window without it. `log` holds the latest of
    what was asked for and how it ended, `unsent` the pages that nobody took yet. `labels_learnt`
    is how many labels had come back at the last retrain.
    """

    model: str
    running: RemedyRequest | None = None
    waiting: tuple[Signal, ...] = ()
    told: Mapping[str, str] = {}
    asked: Mapping[str, str] = {}
    last_retrain_at: str | None = None
    light_in_a_row: int = 0
    in_a_row: Mapping[str, int] = {}
    log: tuple[LogLine, ...] = ()
    unsent: tuple[RemedyRequest, ...] = ()
    labels_learnt: int | None = None


class TriggerVerdict(Record):
    """What was decided, and why; `request` is None where nothing is to be done now."""

    at: str
    request: RemedyRequest | None
    why: str
