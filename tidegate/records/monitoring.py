"""Whether production moved away from training."""

from tidegate.records.record import Interval, Record
from tidegate.records.threshold import OperatingPoint, Threshold

#: What the name of a watched column begins with says what it holds (`tidegate.models.watched`).
COMPONENT_PREFIX, NUMBER_PREFIX, CATEGORY_PREFIX = "component_", "number_", "category_"
SCORE = "score"


class DriftTest(Record):
    """One test of the window against the reference, by itself or over several features.

    `features` counts what was tested; `distance` is the test's own, of the feature that moved
    most; `moved_features` are those that moved, farthest first.
    """

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
    engine: str = "alibi"
    level: float | None = None


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
