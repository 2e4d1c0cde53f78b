"""A light filter before a heavy model: from which score on rows pass, and what was shown of it."""

from collections.abc import Mapping
from typing import Literal

from tidegate.records.record import Interval, Record

#: A scored table's column with the light model's score, before a cascade is made of both.
LIGHT = "_light"

AgreementSource = Literal["validation", "unlabelled", "training"]


class PassThroughPoint(Record):
    """One point of the load knob.

    At `load`, rows whose light score is below `pass_through` stop at the filter. With the proof's
    confidence, for this point alone, at most `max_loss` of the rows that the heavy model flags are
    among them; `lost` of the evidence's flagged rows are.
    """

    load: float
    max_loss: float
    pass_through: float
    lost: int


class Agreement(Record):
    """Rows that neither model learned from, of one source."""

    rows: int
    flagged: int


class FilterMeasurement(Record):
    """What the filter does to the holdout, whose labels had no part in choosing it.

    `stopped` of `rows` never reach the heavy model; `flagged_lost` of the `flagged` rows that it
    would flag are among them. `recall_lost` is the share of violating rows that are flagged without
    the filter and not with it, with its exact one-sided bound.
    """

    rows: int
    stopped: int
    flagged: int
    flagged_lost: int
    violating: int
    recall_lost: float
    recall_lost_upper_bound: float


class CascadeReport(Record):
    """Whether a cascade may serve, and what is promised of it.

    `pass_through` is None where the evidence cannot show the promise; `reason` then says why and
    `flagged_needed` how many rows that the heavy model flags would, none of them lost. The promise
    is that, with `confidence`, at most `max_recall_loss` of the rows that the heavy model flags at
    `threshold` stop at the filter. `share_saved` is the share of rows that stop, of those sources
    that stand for what is served.
    """

    pass_through: float | None
    reason: str | None = None
    max_recall_loss: float
    confidence: float
    threshold: float | None
    evidence: Mapping[AgreementSource, Agreement] = {}
    flagged_needed: int
    loss_upper_bound: float | None = None
    share_saved: float | None = None
    share_saved_ci: Interval | None = None
    curve: tuple[PassThroughPoint, ...] = ()
    holdout: FilterMeasurement | None = None
