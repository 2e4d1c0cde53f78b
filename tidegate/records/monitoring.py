"""Whether production moved away from training."""

from tidegate.records.record import Interval, Record
from tidegate.records.threshold import OperatingPoint, Threshold


class DriftTest(Record):
    """One test of the window against the reference."""

    name: str
    features: int
    drifted: bool
    p_value: float
    threshold: float
    distance: float | None
    moved_features: tuple[str, ...] = ()


class DriftReport(Record):
    """``drift.json``: whether the window moved away from the training reference."""

    bundle_version: str
    drifted: bool
    reference_rows: int
    window_rows: int
    tests: tuple[DriftTest, ...]
    seconds: float


class PriorShift(Record):
    """A window's prevalence as its scores tell it, and whether a new prevalence explains them."""

    prevalence: float
    interval: Interval
    reference_prevalence: float
    fit_p_value: float
    explained_share: float
    rows: int
    confidence: float


class ThresholdOffer(Record):
    """A threshold for a prevalence that has moved; the promise is made at `prevalence_assumed`.

    `in_service_keeps_promise` says whether the threshold in service is at least the offered one.
    """

    prevalence: float
    prevalence_assumed: float
    in_service: float | None
    in_service_keeps_promise: bool
    offered: Threshold | None
    best_reachable: OperatingPoint | None
