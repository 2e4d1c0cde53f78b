"""What asks for a retrain, what is asked for, and what a trigger remembers."""

from collections.abc import Mapping
from typing import Any, Literal

from tidegate.records.record import Record

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


class TriggerState(Record):
    """What a trigger remembers of one model between calls; times are UTC, ISO 8601.

    `waiting` holds what was noticed while a request ran or while the trigger rested. `told` and
    `asked` are the latest signals that were acted on and the latest requests, with their times.
    `in_a_row` counts retrains for each cause since a window without it.
    """

    model: str
    running: RemedyRequest | None = None
    waiting: tuple[Signal, ...] = ()
    told: Mapping[str, str] = {}
    asked: Mapping[str, str] = {}
    last_retrain_at: str | None = None
    light_in_a_row: int = 0
    in_a_row: Mapping[str, int] = {}


class TriggerVerdict(Record):
    """What was decided, and why; `request` is None where nothing is to be done now."""

    at: str
    request: RemedyRequest | None
    why: str
