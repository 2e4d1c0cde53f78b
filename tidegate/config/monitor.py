"""The monitor section: how the world is watched after a release, and what is done about it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tidegate.config.section import Section, Share

#: What a trigger may ask for, from the least to the most.
Remedy = Literal["nothing", "threshold_update", "light_refresh", "full_retrain", "page"]


#: A family of tests of a window, in the order in which a report lists them.
TestFamily = Literal[
    "kolmogorov_smirnov_per_component",
    "score",
    "uncertainty",
    "number",
    "category",
    "missing",
    "maximum_mean_discrepancy",
    "classifier",
    "outlier",
    "spot_the_diff",
]
_FAMILIES: tuple[TestFamily, ...] = (
    "kolmogorov_smirnov_per_component",
    "score",
    "uncertainty",
    "number",
    "category",
    "missing",
    "maximum_mean_discrepancy",
    "classifier",
    "outlier",
)
OnlineDetector = Literal["mmd", "cvm", "fet"]


class TriggerConfig(Section):
    """What drift, time, labels and people set off, and how often."""

    schedule_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="a refresh when nothing else asked for one so long"
    )
    new_labels: Annotated[int, Field(ge=1)] | None = Field(
        None, description="labels since the last training that ask for a refresh"
    )
    cooldown_hours: Annotated[float, Field(ge=0)] = Field(
        24.0, description="rest after a request, people's and pages excepted"
    )
    refresh_rest_hours: Annotated[float, Field(ge=0)] = Field(
        0.0, description="rest between a retrain and a light refresh; new thresholds do not wait"
    )
    renew_threshold: Share | None = Field(
        None,
        description="ask for the next window's threshold at the end of each one in which it would "
        "flag so much more or less, as a share; policy.confidence is then of each window's own "
        "precision",
    )
    max_per_day: Annotated[int, Field(ge=1)] = 3
    full_after_refreshes: Annotated[int, Field(ge=1)] = Field(
        4, description="light refreshes in a row after which the next one searches anew"
    )
    page_after: Annotated[int, Field(ge=1)] = Field(
        2, description="retrains in a row for one cause that did not end it"
    )
    longest_run_hours: Annotated[float, Field(gt=0)] = Field(
        24.0, description="a request that has not ended by then no longer holds others up"
    )
    webhook: str | None = Field(None, description="address that pages are posted to")
    memory_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of a retrain's rows that come from the past"
    )
    memory_strata: tuple[str, ...] = Field(
        (), description="columns of whose values the past keeps some rows each"
    )
    recent_days: Annotated[float, Field(gt=0)] = 28.0


class OnlineConfig(Section):
    """Detectors that read the log's rows one by one, between the ends of windows."""

    detectors: tuple[OnlineDetector, ...] = Field(
        ("mmd", "cvm", "fet"),
        description="mmd: all components together; cvm: the score and each number; fet: the "
        "shares of flagged rows and of rows with a missing cell; none turns them off",
    )
    expected_run_rows: Annotated[float, Field(ge=100)] = Field(
        20_000.0,
        description="mean number of rows read from one false alarm to the next, of all detectors",
    )
    rows_per_hour: Annotated[int, Field(ge=1)] = Field(
        10, description="most rows read of an hour, evenly chosen: 20,000 rows are then 83 days"
    )
    window_rows: tuple[Annotated[int, Field(ge=5)], ...] = Field(
        (25, 100), description="latest rows looked at: few see a jump, many a small move"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "OnlineConfig":
        if list(self.window_rows) != sorted(set(self.window_rows)) or not self.window_rows:
            raise ValueError(
                f"window_rows must rise, got {list(self.window_rows)}; write [25, 100]"
            )
        if len(set(self.detectors)) < len(self.detectors):
            raise ValueError("detectors has one twice; write [mmd, cvm, fet]")
        return self


class MonitorConfig(Section):
    """How windows are tested, and how often an alarm may be false."""

    engine: Literal["alibi", "open"] = Field(
        "alibi", description="open: scipy and scikit-learn alone, whose licences permit production"
    )
    window_days: Annotated[float, Field(gt=0)] = 1.0
    scales: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 7), description="how many of the latest windows are tested together"
    )
    false_alarms_per_year: Annotated[float, Field(gt=0)] = Field(
        1.0, description="expected number of windows a year that are called drifted and are not"
    )
    families: Annotated[tuple[TestFamily, ...], Field(min_length=1)] = Field(
        _FAMILIES, description="tests of a window, which share its level; spot_the_diff is extra"
    )
    outlier_quantile: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.99, description="of the reference's rows; one beyond it is far out, or unsure"
    )
    max_rows: Annotated[int, Field(ge=50)] = Field(
        500, description="rows a side that the quadratic tests see"
    )
    permutations: Annotated[int, Field(ge=20)] = 100
    min_rows: Annotated[int, Field(ge=2)] = Field(
        20, description="a window or reference of fewer rows is not tested"
    )
    moved_features: Annotated[int, Field(ge=1)] = Field(
        5, description="how many of the features that moved most are named"
    )
    labels: str | None = Field(
        None, description="table of row_id and label that a recurring monitor reads, path or URI"
    )
    late_hours: Annotated[float, Field(ge=0)] = Field(
        6.0, description="how long after its end a window still takes rows in"
    )
    p_value: Share = Field(0.01, description="level of one check of a table by hand")
    confidence: Share = Field(0.95, description="of intervals and of verdicts on labelled rows")
    mix_explains: Share = Field(
        0.5,
        description="a change is called prior shift when a new share of violating posts takes "
        "away so much of the scores' distance from the reference",
    )
    mix_explains_inputs: Share = Field(
        0.1,
        description="the same of the inputs that moved: posts change in ways, too, that the "
        "model takes no notice of",
    )
    examples: Annotated[int, Field(ge=0)] = Field(
        5, description="rows that are named as examples of a change"
    )
    label_days: Annotated[float, Field(gt=0)] = Field(
        28.0, description="rows so recent that their labels, however late, say what quality is"
    )
    seasonal: bool = Field(
        True, description="compare with reference rows of the same weekdays and hours, if there are"
    )
    segment: str | None = Field(
        None, description="categorical input each of whose values is also checked by itself"
    )
    watched_rows: Annotated[int, Field(ge=1000)] = Field(
        100_000, description="rows of a check; of more a sample is checked"
    )
    seed: int = 0
    online: OnlineConfig = OnlineConfig()
    trigger: TriggerConfig = TriggerConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "MonitorConfig":
        if list(self.scales) != sorted(set(self.scales)) or not self.scales:
            raise ValueError(f"scales must rise, got {list(self.scales)}; write [1, 7]")
        return self
