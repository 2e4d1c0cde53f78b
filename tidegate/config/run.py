"""RunConfig: the one YAML file, short by default, every knob below it."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from tidegate.config.cluster import ClusterConfig
from tidegate.config.data import DataConfig, PublishedSplit, SplitRule, ValidationConfig
from tidegate.config.features import FeatureConfig
from tidegate.config.monitor import MonitorConfig
from tidegate.config.policy import PolicyConfig
from tidegate.config.report import ReportConfig
from tidegate.config.rollout import RolloutConfig
from tidegate.config.search import SearchConfig
from tidegate.config.section import Section
from tidegate.config.serving import ServingConfig
from tidegate.errors import BadInput

#: How much of the search's minutes embeddings may cost, at the pace of two cores
#: (docs/features.md).
_EMBEDDING_SHARE, _EMBEDDED_ROWS_PER_SECOND = 0.2, 400


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
    report: ReportConfig = ReportConfig()
    serving: ServingConfig = ServingConfig()
    rollout: RolloutConfig = RolloutConfig()
    monitor: MonitorConfig = MonitorConfig()
    cluster: ClusterConfig = ClusterConfig()
    baseline: str | None = Field(None, description="run directory or bundle to compare with")

    @property
    def features_in_time(self) -> FeatureConfig:
        """The features section with as many embedded rows as the search's minutes are worth."""
        if self.features.max_embedded_rows is not None:
            return self.features
        seconds = 60 * self.search.minutes * _EMBEDDING_SHARE
        most = int(seconds * _EMBEDDED_ROWS_PER_SECOND)
        return self.features.model_copy(update={"max_embedded_rows": most})

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        by_time = isinstance(self.data.split, SplitRule) and self.data.split.by == "time"
        if by_time and self.policy.training_evidence == "combined":
            raise ValueError(
                "policy.training_evidence is combined, but a split by time makes training rows "
                "another population than validation rows; write start"
            )
        if self.monitor.trigger.renew_threshold is not None and (
            self.policy.objective != "max_recall" or self.policy.segments is not None
        ):
            raise ValueError(
                "monitor.trigger.renew_threshold renews one threshold that keeps a precision, and "
                "policy.objective or policy.segments sets another kind; leave it out"
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

    def maybe_not_auto(uri: str | None) -> str | None:
        return uri if uri == "auto" else maybe(uri)

    return config.model_copy(
        update={
            "data": config.data.model_copy(
                update={
                    "source": tuple(absolute(uri) for uri in config.data.source),
                    "golden_set": maybe(config.data.golden_set),
                    "unlabelled": tuple(absolute(uri) for uri in config.data.unlabelled),
                    "functional_tests": tuple(
                        suite if suite == "builtin" else absolute(suite)
                        for suite in config.data.functional_tests
                    ),
                }
            ),
            "validation": config.validation.model_copy(
                update={"reference": maybe(config.validation.reference)}
            ),
            "search": config.search.model_copy(
                update={
                    "encoder": maybe(config.search.encoder),
                    "warm_start": maybe_not_auto(config.search.warm_start),
                }
            ),
            "serving": config.serving.model_copy(
                update={
                    "payload_log": config.serving.payload_log.model_copy(
                        update={"uri": maybe(config.serving.payload_log.uri)}
                    )
                }
            ),
            "monitor": config.monitor.model_copy(update={"labels": maybe(config.monitor.labels)}),
            "rollout": config.rollout.model_copy(
                update={
                    "model_store": maybe(config.rollout.model_store),
                    "quality": config.rollout.quality.model_copy(
                        update={"golden_rows": maybe(config.rollout.quality.golden_rows)}
                    ),
                }
            ),
            "baseline": maybe(config.baseline),
        }
    )
