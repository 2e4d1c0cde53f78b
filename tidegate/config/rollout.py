"""The rollout section: how a promoted candidate reaches traffic, and what stops it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tidegate.config.section import Names, Section, Share


class OpsConfig(Section):
    """What the serving itself must keep to: errors, latency, saturation."""

    prometheus: str | None = Field(None, description="address of the Prometheus that is asked")
    queries: Mapping[Literal["requests", "errors", "latency_buckets", "saturation"], str] = Field(
        {}, description="PromQL with {model}, {version} and {seconds}; the built-in ones without"
    )
    max_error_share: Share = Field(0.01, description="share of failed requests that is bearable")
    max_p99_ms: Annotated[float, Field(gt=0)] = 200.0
    max_p99_ratio: Annotated[float, Field(gt=1)] = Field(
        2.0, description="how many times the baseline's p99 the candidate's may be"
    )
    max_saturation: Share = Field(0.9, description="share of memory or of the request limit in use")
    leak_horizon_seconds: Annotated[float, Field(gt=0)] = Field(
        86_400.0, description="growth that would pass max_saturation within this is a leak"
    )
    max_restarts: Annotated[int, Field(ge=0)] = Field(
        2, description="restarts of the candidate within a step that are not yet a crash loop"
    )
    timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        5.0, description="for one answer of Prometheus"
    )
    required: bool = Field(True, description="pause while the metrics cannot be read")


class QualityConfig(Section):
    """What the candidate's decisions must keep to while it takes traffic."""

    golden_rows: str | None = Field(
        None, description="labelled rows that are sent through the live endpoint at every step"
    )
    labels: str | None = Field(
        None,
        description="table of row_id, label, source and time that other systems append to",
    )
    max_flip_share: Share = Field(0.1, description="share of replayed rows decided otherwise")
    max_group_flip_share: Share = Field(0.2, description="the same, within one group or segment")
    max_score_shift: Share | None = Field(
        None, description="how far the mean score may move [only reported]"
    )
    max_appeal_rise: Share = Field(
        0.02, description="further share of flagged rows whose appeal may be upheld"
    )
    max_precision_loss: Share = Field(0.03, description="precision the candidate may lose")
    max_recall_loss: Share = Field(0.03, description="golden-set recall the candidate may lose")
    min_shadow_rows: Annotated[int, Field(ge=1)] = Field(
        200, description="replayed rows below which the shadow step is inconclusive"
    )
    replay_rows: Annotated[int, Field(ge=1)] = Field(
        500, description="most logged rows that one analysis replays"
    )
    replay_rows_per_second: Annotated[float, Field(gt=0)] = Field(
        50.0, description="how fast they are sent, to each version"
    )


class ExperimentConfig(Section):
    """An A/B experiment between two versions after the canary."""

    metric: str = Field(description="column of the outcomes, for example review_precision")
    kind: Literal["share", "mean"] = "share"
    smallest_effect: Annotated[float, Field(gt=0)]
    pre_period: str | None = Field(None, description="column with the metric before (CUPED)")
    max_days: Annotated[int, Field(ge=1)] = 28
    power: Share = 0.8
    unit: str = Field("unit_id", description="column of who is assigned, for example the account")
    version: str = Field("model_version", description="column of the version that decided, if kept")
    candidate_share: Share = Field(0.5, description="share of units that the candidate gets")
    better: Literal["higher", "lower"] = "higher"
    false_verdict_share: Share = Field(
        0.05, description="how often equal versions may be told apart, however often it is read"
    )
    false_mismatch_share: Share = Field(
        0.001, description="how often a fair split may be called broken, however often it is read"
    )
    min_units: Annotated[int, Field(ge=30)] = Field(
        200, description="units a version below which nothing is decided"
    )


class RolloutConfig(Section):
    """How a promoted candidate reaches traffic."""

    approval: Literal["auto", "manual"] = "auto"
    approvers: Mapping[str, str] = Field(
        {}, description="name to ed25519 public key (base64) of those who may approve"
    )
    model_store: str | None = Field(
        None, description="folder of released bundles [.tidegate/models beside the run]"
    )
    controller: Literal["deployment", "step", "none"] = Field(
        "deployment",
        description="who steps a release that a pipeline on a cluster begins: the Deployment, the "
        "pipeline's own step, or nobody: what is promoted is in service at once",
    )
    steps: tuple[Annotated[int, Field(ge=0, le=100)], ...] = Field(
        (0, 5, 25, 50, 100), description="percent of traffic; 0 is shadow"
    )
    step_seconds: Annotated[float, Field(gt=0)] = Field(
        900.0, description="how long a step lasts at least"
    )
    interval_seconds: Annotated[float, Field(gt=0)] = Field(
        60.0, description="how often a step is analysed"
    )
    min_requests: Annotated[int, Field(ge=0)] = Field(
        200, description="requests the candidate must have answered before a step ends"
    )
    max_pause_seconds: Annotated[float, Field(gt=0)] = Field(
        86_400.0, description="an inconclusive step that lasts longer is rolled back"
    )
    max_unready_seconds: Annotated[float, Field(gt=0)] = Field(
        600.0, description="a candidate that does not answer for longer is rolled back"
    )
    max_outages: Annotated[int, Field(ge=0)] = Field(
        2, description="times a candidate may stop answering before it is rolled back"
    )
    kept_versions: Annotated[int, Field(ge=2)] = 5
    false_rollback_share: Share = Field(
        0.01, description="how often a release of an equal model may be rolled back, in all"
    )
    doubt_share: Share = Field(
        0.1, description="how often one test of an equal model may cause a pause"
    )
    ops: OpsConfig = OpsConfig()
    quality: QualityConfig = QualityConfig()
    experiment: ExperimentConfig | None = None
    group_columns: Names = Field((), description="columns that flips are counted by")

    @model_validator(mode="after")
    def _consistent(self) -> "RolloutConfig":
        if not self.steps or list(self.steps) != sorted(set(self.steps)) or self.steps[-1] != 100:
            raise ValueError(
                f"steps must rise and end at 100, got {list(self.steps)}; write [0, 5, 25, 50, 100]"
            )
        return self
