"""RunConfig: the one YAML file, short by default, every knob below it."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tidegate.errors import BadInput


def _as_tuple(value: object) -> object:
    """Let ``text: body`` stand for ``text: [body]``."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
LabelValue = bool | int | float | str
Share = Annotated[float, Field(gt=0, lt=1)]

#: Column names that the scored tables use themselves; a group column cannot have one of them.
RESERVED_COLUMNS = frozenset({"id", "time", "label", "weight", "score"})


class Section(BaseModel):
    """A frozen part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitRule(Section):
    """How rows are divided into train, validation and holdout."""

    by: Literal["time", "group", "random"] = "random"
    validation: Share = 0.15
    holdout: Share = 0.15
    group: str | None = Field(None, description="column whose values stay together (by: group)")
    seed: int = 0
    deduplicate: bool = Field(
        True, description="drop holdout and validation rows whose text stands in training"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SplitRule":
        if self.validation + self.holdout >= 1:
            raise ValueError(
                "validation + holdout must be below 1, "
                f"got {self.validation} + {self.holdout}; write 0.15 and 0.15"
            )
        if (self.by == "group") != (self.group is not None):
            raise ValueError("by: group and group: COLUMN go together; write both or neither")
        return self


class PublishedSplit(Section):
    """A column that already says train, validation or test for every row."""

    column: str
    deduplicate: bool = False


def _as_split(value: object) -> object:
    """Let ``split: column_name`` stand for a published split."""
    return {"column": value} if isinstance(value, str) else value


class DataConfig(Section):
    """Where the rows are and what their columns mean."""

    source: Names = Field(description="path or fsspec URI: Parquet, CSV or JSONL; or a list")
    id: str | None = None
    text: Names = ()
    label: str
    violating: tuple[LabelValue, ...] | None = Field(
        None, description="label values that count as 1; needed unless the label is 0/1"
    )
    time: str | None = None
    groups: Names = ()
    ignore: Names = ()
    columns: Literal["auto"] | Names = Field(
        "auto", description="numeric and categorical feature columns; auto finds them by type"
    )
    use_groups_as_features: bool = False
    split: Annotated[SplitRule | PublishedSplit, BeforeValidator(_as_split)] = SplitRule()
    label_source: str | None = None
    label_weights: Mapping[str, Annotated[float, Field(ge=0)]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if isinstance(self.split, SplitRule) and self.split.by == "time" and self.time is None:
            raise ValueError("split.by is time but data.time is not set; name the time column")
        reserved = sorted(RESERVED_COLUMNS.intersection(self.groups))
        if reserved:
            raise ValueError(f"groups cannot be named {reserved[0]!r}; rename that column")
        if self.label_weights and self.label_source is None:
            raise ValueError("label_weights needs label_source; name the column of label sources")
        return self


class ValidationConfig(Section):
    """What the data gate demands, beyond what it derives from the data section."""

    reference: str | None = Field(None, description="a run directory whose snapshot is the norm")
    prevalence_range: tuple[float, float] | None = Field(
        None, description="refuse the data when the violating share lies outside"
    )
    prevalence_tolerance: Annotated[float, Field(gt=0, le=1)] = 0.1
    max_null_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    max_text_length: Annotated[int, Field(gt=0)] = 1_000_000
    max_duplicate_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_unseen_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="warn when more values than this were not seen in the norm"
    )
    max_length_ratio: Annotated[float, Field(gt=1)] = Field(
        2.0, description="warn when texts are this many times longer or shorter than the norm"
    )
    min_rows: Annotated[int, Field(ge=1)] = Field(10, description="fewest rows a split may have")


class CostConfig(Section):
    """What mistakes cost, all in one unit of money."""

    wrong_removal: Annotated[float, Field(ge=0)]
    missed_violation: Annotated[float, Field(gt=0)]
    appeal: Annotated[float, Field(ge=0)] = 0.0
    appeal_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="how many wrong removals are appealed"
    )
    review_minute: Annotated[float, Field(ge=0)] = 0.0
    review_minutes: Annotated[float, Field(ge=0)] = Field(
        1.0, description="minutes that a review or an appeal takes"
    )

    @property
    def wrong_flag(self) -> float:
        """What one wrongly removed post costs, its appeal and the appeal's review included."""
        heard = self.appeal + self.review_minutes * self.review_minute
        return self.wrong_removal + self.appeal_share * heard


class PolicyConfig(Section):
    """What the policy team demands of a model before it may act on posts."""

    objective: Literal["max_recall", "max_precision", "max_fpr", "min_cost"] = Field(
        "max_recall", description="what is best among the thresholds that keep the promise"
    )

    min_precision: Annotated[float, Field(gt=0, le=1)] = 0.90
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    max_fpr_gap: Annotated[float, Field(gt=0, le=1)] = 0.05
    min_group_rows: Annotated[int, Field(ge=1)] = 50
    prevalence: Share | None = None
    insufficient_fairness: Literal["block", "allow"] = Field(
        "block", description="may a model be promoted whose fairness the data cannot settle?"
    )
    min_recall: Share | None = Field(None, description="promised by objective: max_precision")
    max_fpr: Share | None = Field(None, description="promised by objective: max_fpr")
    costs: CostConfig | None = Field(None, description="weighed by objective: min_cost")
    posts_per_day: Annotated[float, Field(gt=0)] | None = None
    review_capacity: Annotated[float, Field(gt=0)] | None = Field(
        None, description="posts a day that people can review between leaving and acting"
    )
    segments: str | None = Field(
        None, description="group column whose values get a threshold each, under one risk budget"
    )
    power: Share = Field(0.8, description="chance of success for which a refusal counts rows")
    training_evidence: Literal["validation", "start", "combined"] = Field(
        "start", description="what training rows scored by models of their folds may show"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "PolicyConfig":
        needs = {"max_precision": "min_recall", "max_fpr": "max_fpr", "min_cost": "costs"}
        key = needs.get(self.objective)
        if key is not None and getattr(self, key) is None:
            raise ValueError(
                f"objective is {self.objective} but {key} is not set; write policy.{key}"
            )
        if self.review_capacity is not None and self.posts_per_day is None:
            raise ValueError("review_capacity needs posts_per_day; write how many posts come a day")
        return self


class FeatureConfig(Section):
    """How columns become features."""

    max_word_features: Annotated[int, Field(ge=1)] = 40_000
    max_char_features: Annotated[int, Field(ge=1)] = 60_000
    min_rows_with_term: Annotated[int, Field(ge=1)] = 1
    min_category_rows: Annotated[int, Field(ge=1)] = 10
    projection_components: Annotated[int, Field(ge=1)] = Field(
        16, description="dimensions of the fixed projection that the drift check compares"
    )


class SearchConfig(Section):
    """Which algorithms to try and for how long."""

    algorithms: Names = ("logistic", "xgboost")
    backend: Literal["local", "katib"] = Field(
        "local", description="where trials run: in the search step itself, or as Katib's trials"
    )
    strategy: Literal["multivariate-tpe", "random", "grid", "hyperband"] = "multivariate-tpe"
    minutes: Annotated[float, Field(gt=0)] = 10
    trials: Annotated[int, Field(ge=1)] = 40
    parallel: Annotated[int, Field(ge=1)] = 2
    seed: int = 0
    ensemble_members: Annotated[int, Field(ge=1)] = Field(
        3, description="how many trials may serve together as one model; 1 for a single one"
    )
    median_stop_min_trials: Annotated[int, Field(ge=1)] = 3
    median_stop_start_step: Annotated[int, Field(ge=1)] = 4


class RolloutConfig(Section):
    """How a promoted candidate reaches traffic."""

    approval: Literal["auto", "manual"] = "auto"
    model_store: str | None = Field(
        None, description="folder of released bundles [.tidegate/models beside the run]"
    )


class MonitorConfig(Section):
    """How the drift check reads a window."""

    p_value: Share = 0.01
    max_rows: Annotated[int, Field(ge=50)] = Field(
        1000, description="rows a side that the quadratic tests see"
    )
    permutations: Annotated[int, Field(ge=20)] = 200
    min_rows: Annotated[int, Field(ge=2)] = Field(
        20, description="a window or reference of fewer rows is not tested"
    )
    moved_features: Annotated[int, Field(ge=1)] = Field(
        5, description="how many of the features that moved most are named"
    )
    seed: int = 0


class Toleration(Section):
    """A taint of a node pool that our pods put up with."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Pool(Section):
    """A node pool: where pods of a kind go, and what an hour there costs."""

    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    node_affinity: Mapping[str, Any] = Field(
        {}, description="nodeAffinity in Kubernetes' own words, for pipeline steps"
    )
    gpu_resource: str = "nvidia.com/gpu"
    priority_class: str | None = None
    spot: bool = Field(False, description="nodes may vanish: trials are tried again")
    cpu_hour_price: Annotated[float, Field(ge=0)] = 0.0
    memory_gib_hour_price: Annotated[float, Field(ge=0)] = 0.0
    gpu_hour_price: Annotated[float, Field(ge=0)] = 0.0


class StepResources(Section):
    """What a pipeline step asks of its node; with GPUs it goes to the gpu pool."""

    cpu: Annotated[int, Field(ge=1)]
    memory_gib: Annotated[int, Field(ge=1)]
    gpus: Annotated[int, Field(ge=0)] = 0


class ClusterConfig(Section):
    """Where the pipeline runs on Kubernetes."""

    namespace: str = "tidegate"
    image: str = Field(
        "tidegate/cpu:0.1.0", description="image of every step; pin it by digest on a cluster"
    )
    gpu_image: str = Field("tidegate/gpu:0.1.0", description="image of trials that ask for a GPU")
    endpoint: str | None = Field(None, description="address of the Kubeflow Pipelines API")
    service_account: str = "tidegate-pipeline"
    workspace_claim: str = "tidegate-workspace"
    object_store_secret: str | None = Field(
        None, description="secret with AWS_* keys for s3:// sources and stores"
    )
    cpu: Annotated[int, Field(ge=1)] = 2
    memory_gib: Annotated[int, Field(ge=1)] = 4
    search_step: StepResources | None = Field(
        None, description="what the search asks for when its trials run in it [cpu, memory_gib]"
    )
    currency: str = "USD"
    pools: Mapping[Literal["cpu", "gpu"], Pool] = {"cpu": Pool(), "gpu": Pool()}

    @property
    def search_resources(self) -> StepResources:
        """What the search step asks for."""
        return self.search_step or StepResources(cpu=self.cpu, memory_gib=self.memory_gib)


class RunConfig(Section):
    """Everything one retrain needs to know.

    Examples
    --------
    >>> config = RunConfig.model_validate(
    ...     {"name": "comments", "data": {"source": "c.parquet", "text": "body", "label": "y"}})
    >>> config.policy.min_precision
    0.9
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    data: DataConfig
    validation: ValidationConfig = ValidationConfig()
    policy: PolicyConfig = PolicyConfig()
    features: FeatureConfig = FeatureConfig()
    search: SearchConfig = SearchConfig()
    rollout: RolloutConfig = RolloutConfig()
    monitor: MonitorConfig = MonitorConfig()
    cluster: ClusterConfig = ClusterConfig()
    baseline: str | None = Field(None, description="run directory or bundle to compare with")

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        by_time = isinstance(self.data.split, SplitRule) and self.data.split.by == "time"
        if by_time and self.policy.training_evidence == "combined":
            raise ValueError(
                "policy.training_evidence is combined, but a split by time makes training rows "
                "another population than validation rows; write start"
            )
        return self


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file and apply ``key=value`` overrides.

    Parameters
    ----------
    path : Path
        A YAML file. Relative paths inside it are relative to its folder.
    overrides : sequence of str
        ``section.key=value``, the value in YAML, for example ``search.minutes=2``.

    Raises
    ------
    BadInput
        If the file is missing, is not YAML, or breaks a rule of the configuration.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(str(path), "no such configuration file", "check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(str(path), f"not a readable YAML file: {error}", "mend the file") from None
    if not isinstance(document, dict):
        raise BadInput(
            str(path),
            "must hold keys and values",
            "start from `tidegate init DATA`",
        )
    for override in overrides:
        _apply_override(document, override)
    try:
        config = RunConfig.model_validate(document)
    except ValidationError as error:
        raise _explained(error, path) from None
    return _with_absolute_paths(config, path.resolve().parent)


def _apply_override(document: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise BadInput("--set", f"expected key=value, got {override!r}", "write search.minutes=2")
    *sections, key = dotted.split(".")
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise BadInput("--set", f"{section!r} in {dotted!r} is not a section", "check the key")
    try:
        target[key] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise BadInput("--set", f"{text!r} is not a YAML value", "quote it") from None


def _explained(error: ValidationError, path: Path) -> BadInput:
    """Turn pydantic's first complaint into where, what and how to mend it."""
    first = error.errors()[0]
    keys = [part for part in first["loc"] if isinstance(part, str)]
    keys = [key for key in keys if key not in {"SplitRule", "PublishedSplit"} and "[" not in key]
    where = f"{path}: {'.'.join(keys)}" if keys else str(path)
    if first["type"] == "extra_forbidden":
        known = _keys_beside(keys)
        near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return BadInput(where, f"unknown key {keys[-1]!r}", mend)
    if first["type"] == "missing":
        return BadInput(where, f"required key {keys[-1]!r} is missing", "add it")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        problem, _, mend = message.partition("; ")
        return BadInput(where, problem, mend or "mend the value")
    return BadInput(where, f"{message}, got {first['input']!r}", _example(keys))


def _keys_beside(keys: Sequence[str]) -> list[str]:
    section: type[BaseModel] = RunConfig
    for key in keys[:-1]:
        annotation = section.model_fields[key].annotation if key in section.model_fields else None
        if key == "split":
            return sorted({*SplitRule.model_fields, *PublishedSplit.model_fields})
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        section = annotation
    return sorted(section.model_fields)


_EXAMPLES = {
    "min_precision": "write 0.95 for 95 %",
    "confidence": "write 0.95",
    "max_fpr_gap": "write 0.05",
    "name": "use lower-case letters, digits and hyphens, at most 40, for example comments",
    "minutes": "write a number of minutes above 0",
}


def _example(keys: Sequence[str]) -> str:
    return _EXAMPLES.get(keys[-1], "mend the value") if keys else "mend the file"


def _with_absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    """Resolve relative paths against the file's folder, so that a run can start anywhere."""

    def absolute(uri: str) -> str:
        return uri if "://" in uri else str((folder / uri).resolve())

    def maybe(uri: str | None) -> str | None:
        return None if uri is None else absolute(uri)

    return config.model_copy(
        update={
            "data": config.data.model_copy(
                update={"source": tuple(absolute(uri) for uri in config.data.source)}
            ),
            "validation": config.validation.model_copy(
                update={"reference": maybe(config.validation.reference)}
            ),
            "rollout": config.rollout.model_copy(
                update={"model_store": maybe(config.rollout.model_store)}
            ),
            "baseline": maybe(config.baseline),
        }
    )
