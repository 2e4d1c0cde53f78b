"""Thresholds, and what is promised of them."""

from typing import Literal

from tidegate.records.record import Interval, Record

#: What the folds' scores of training rows are used for when a threshold is chosen.
TrainingEvidence = Literal["validation", "start", "combined"]


Objective = Literal["max_recall", "max_precision", "max_fpr", "min_cost"]


class Threshold(Record):
    """A cut on the score and what is promised of it.

    `evidence` says what showed it, and `effective_rows` how many independent flagged rows that is
    worth. For another objective than `max_recall`, `min_precision` is 0 and `promised` is the
    recall, the false-positive rate, or the cost a post of doing nothing, that `promised_bound`
    keeps to with `confidence`.
    """

    value: float
    min_precision: float
    confidence: float
    precision: float
    precision_lower_bound: float
    recall: float
    flagged: int
    evidence: TrainingEvidence = "validation"
    effective_rows: float | None = None
    objective: Objective = "max_recall"
    promised: float | None = None
    promised_bound: float | None = None


class OperatingPoint(Record):
    """The best point that the data reach when the promise cannot be made.

    `rows_needed` is how many labelled rows in all would show it, where there are `rows` now; None
    where the sample never reaches it.
    """

    threshold: float
    precision: float
    precision_lower_bound: float
    recall: float
    flagged: int
    rows: int | None = None
    rows_needed: int | None = None


class ReviewBand(Record):
    """Posts between `threshold` and `act_threshold` go to people.

    `recall_with_review` counts the violating posts acted on and those that reviewers see.
    """

    threshold: float
    act_threshold: float | None
    reviews_per_day: float
    reviews_per_day_upper_bound: float
    capacity: float
    confidence: float
    precision: float
    recall_with_review: float


class ClassThreshold(Record):
    """The threshold of one class or task on its own probability, and what it does on the holdout.

    `n` counts its validation rows; `risk` is its share of one minus the policy's confidence. A
    threshold whose promise the holdout shows to be broken is `refuted` and not served.
    """

    name: str
    n: int
    risk: float
    threshold: Threshold | None
    best_reachable: OperatingPoint | None
    flagged: int | None = None
    precision: float | None = None
    precision_lower_bound: float | None = None
    recall: float | None = None
    recall_ci: Interval | None = None
    refuted: bool = False


class SegmentThreshold(Record):
    """One segment's threshold; `risk` is its share of one minus the policy's confidence."""

    segment: str
    rows: int
    violating: int
    risk: float
    threshold: Threshold | None
    best_reachable: OperatingPoint | None
