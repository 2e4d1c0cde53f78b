"""What scores mean, and how many posts violate."""

from collections.abc import Mapping
from typing import Literal

from tidegate.records.record import Interval, Record


class CalibrationMap(Record):
    """A rising map of scores to probabilities.

    ``platt`` and ``beta``: sigmoid(a log s - b log(1 - s) + c) with `coefficients` (a, b, c);
    ``isotonic`` and ``venn_abers``: straight lines between `knots` and their `values`.
    """

    method: Literal["identity", "platt", "beta", "isotonic", "venn_abers"]
    coefficients: tuple[float, ...] = ()
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


class ReliabilityBin(Record):
    """Neighbouring scores: their mean, and the share of violating rows among them."""

    rows: int
    score: float
    violating: float
    violating_ci: Interval


class CalibrationReport(Record):
    """Whether scores are probabilities, on the holdout, as they are and as the map makes them.

    `log_losses` are cross-validated on validation, where the map was chosen and fitted.
    """

    log_losses: Mapping[str, float]
    map: CalibrationMap
    curve: tuple[ReliabilityBin, ...]
    error: float
    error_ci: Interval
    mapped_error: float
    mapped_error_ci: Interval
    rows: int


class ScoreShift(Record):
    """The share of rows that a client's threshold flags on each model's own scale."""

    score: float
    flagged_by_reference: float
    flagged_unmapped: float


class ReferenceMapping(Record):
    """The model's scores on the scale of the model in service.

    Straight lines between `knots` and `values`. `distance` is the largest difference between the
    shares that one threshold flags on the two unmapped scales.
    """

    reference: str
    knots: tuple[float, ...]
    values: tuple[float, ...]
    distance: float
    shifts: tuple[ScoreShift, ...]


class PrevalenceEstimate(Record):
    """The share of violating posts in production, from a labelled sample of `labelled` posts.

    `classical` and its interval use labels alone, `prevalence` the scores of all posts as well
    where `method` says so.
    """

    prevalence: float
    interval: Interval
    classical: float
    classical_ci: Interval
    method: Literal["horvitz_thompson", "prediction_powered"]
    labelled: int
    population: int
    confidence: float
