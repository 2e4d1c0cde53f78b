"""Trials and what a search found."""

from collections.abc import Mapping
from typing import Literal

from tidegate.records.record import Record

Params = Mapping[str, bool | int | float | str]


class CurvePoint(Record):
    """What a trial reported after one step (boosting rounds, epochs or solver passes)."""

    step: int
    train_log_loss: float
    validation_log_loss: float
    validation_average_precision: float


class Quantization(Record):
    """What int8 weights cost a trained model, and whether it serves with them.

    `average_precision_lost` is on the validation rows, negative where int8 ranks better; the
    weights were kept if it was at most `max_loss`. Bytes are those of the graphs.
    """

    kept: bool
    average_precision_lost: float
    max_loss: float
    float_bytes: int
    int8_bytes: int


class TrialResult(Record):
    """One trial, as Katib and the local search both tell it.

    `verdict` is what the learning curve says (`tidegate.search.curve`); `serving_ms` the median
    milliseconds of scoring one row, features included.
    """

    number: int
    algorithm: str
    params: Params
    status: Literal["succeeded", "early_stopped", "failed", "out_of_time", "out_of_memory"]
    average_precision: float | None = None
    log_loss: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    seconds: float
    error: str | None = None
    verdict: Literal["underfit", "fits", "overfit", "unknown"] = "unknown"
    serving_ms: float | None = None
    quantization: Quantization | None = None


class SearchResult(Record):
    """Every trial, the winner and the benchmark model."""

    trials: tuple[TrialResult, ...]
    best: int
    benchmark: int
    seconds: float
    stopped_by: Literal["trials", "minutes"]
