"""Whether production moved away from training."""

from collections.abc import Mapping
from typing import Literal

from tidegate.records.record import Interval, Record
from tidegate.records.serving import LogReading
from tidegate.records.threshold import OperatingPoint, Threshold

#: What the name of a watched column begins with says what it holds (`tidegate.models.watched`).
COMPONENT_PREFIX, NUMBER_PREFIX, CATEGORY_PREFIX = "component_", "number_", "category_"
SCORE = "score"
#: Hours from a post to its label; a table of these alone is watched, see `label_delay`.
LABEL_DELAY = "label_delay"


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


#: What has changed, as far as a window tells.
ChangeKind = Literal[
    "none", "covariate_shift", "prior_shift", "concept_drift", "quality_loss", "unclear"
]


class ExpectedQuality(Record):
    """Precision and recall without labels, from what scores meant in the reference.

    They hold if `assumption` does; the intervals are of the reference's rows alone.
    """

    assumption: str
    flagged: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None


class LabelledQuality(Record):
    """What labelled rows say; intervals that hold however often they are read.

    `residuals` are means of label less score, flagged rows apart from the others, and
    `expected` what the reference makes of them if the change were of that kind.
    """

    rows: int
    flagged: int
    precision: float | None
    precision_interval: Interval | None
    residuals: Mapping[str, Interval]
    expected: Mapping[str, Mapping[str, Interval]]
    error: float


class NextWindow(Record):
    """The threshold at which the next window's own precision likely keeps the floor.

    `flagged` and `flagged_in_service` count rows of the window that was seen: by this threshold,
    and by the one in service.
    """

    threshold: float
    precision: float
    precision_lower_bound: float
    recall: float
    flagged: int
    flagged_in_service: int


class Diagnosis(Record):
    """What kind of change a window shows, and why.

    `mix_explains` and `mix_explains_inputs` are the shares of the scores' and of the moved
    inputs' distance from the reference that a new share of violating posts takes away.
    """

    kind: ChangeKind
    says: str
    evidence: tuple[str, ...]
    moved_features: tuple[str, ...] = ()
    example_ids: tuple[str, ...] = ()
    prior: PriorShift | None = None
    mix_explains: float | None = None
    mix_explains_inputs: float | None = None
    expected: ExpectedQuality | None = None
    labelled: LabelledQuality | None = None
    offer: ThresholdOffer | None = None
    next_window: NextWindow | None = None


class LabelDelay(Record):
    """Hours from posts to the labels that came in a window, against those of the weeks before."""

    test: DriftTest
    labels: int
    reference_labels: int
    median_hours: float
    reference_median_hours: float


class LeftOut(Record):
    """Rows and labels that a check could not use, counted; the log still holds them."""

    other_version_rows: int = 0
    unscored_rows: int = 0
    unreadable_cells_rows: int = 0
    unknown_labels: int = 0
    repeated_labels: int = 0
    unreadable_labels: int = 0


class WindowCheck(Record):
    """One check at the end of a window, over the latest `scale` windows.

    `status` says whether rows could be tested: of a `short` or `empty` window nothing is said,
    an `untestable` one holds no usable rows although the log does. `norm` says which rows of the
    reference it was compared with.
    """

    model: str
    bundle_version: str
    since: str
    until: str
    scale: int
    segment: str | None = None
    status: Literal["tested", "empty", "short", "untestable"]
    says: str
    rows: int
    norm: str | None = None
    reading: LogReading | None = None
    left_out: LeftOut = LeftOut()
    report: DriftReport | None = None
    diagnosis: Diagnosis | None = None
    label_delay: LabelDelay | None = None


class OnlineStream(Record):
    """What one online detector follows, where it alarms, and the rows since it began anew."""

    detector: Literal["mmd", "cvm", "fet"]
    feature: str
    threshold: float
    run_rows: float
    rows: int = 0


class OnlineAlarm(Record):
    """An online detector's alarm at a row; `rows` were read since its last one."""

    detector: Literal["mmd", "cvm", "fet"]
    feature: str
    at: str
    rows: int
    statistic: float
    threshold: float


class OnlineState(Record):
    """What the online detectors remember: up to where they have read, and the latest rows.

    `latest` holds what they see of these rows, see `tidegate.monitoring.online`.
    """

    bundle_version: str
    settings_digest: str
    read_until: str
    rows: int
    streams: tuple[OnlineStream, ...]
    latest: Mapping[str, tuple[tuple[float, ...], ...]]
    alarms: tuple[OnlineAlarm, ...] = ()


class OnlineReading(Record):
    """What the online detectors read in one call, and their alarms."""

    read_until: str | None
    rows: int
    expected_run_rows: float
    says: str
    alarms: tuple[OnlineAlarm, ...] = ()


class MonitorState(Record):
    """What a monitor remembers between calls: the end of the last window done, and its checks."""

    bundle_version: str
    window_days: float
    begun_at: str
    done_until: str
    history: tuple[WindowCheck, ...] = ()


class MonitorReport(Record):
    """``drift.json`` of a monitor over a log: this call's checks, and what is not due yet."""

    model: str
    bundle_version: str
    checked_at: str
    done_until: str | None
    says: str
    checks: tuple[WindowCheck, ...]
    online: OnlineReading | None = None
