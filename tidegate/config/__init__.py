"""RunConfig: the one YAML file, a module a section."""

from tidegate.config.cluster import ClusterConfig, Pool, StepResources, Toleration
from tidegate.config.data import (
    RESERVED_COLUMNS,
    DataConfig,
    LabelValue,
    PublishedSplit,
    SplitRule,
    ValidationConfig,
)
from tidegate.config.features import CleaningConfig, FeatureConfig
from tidegate.config.policy import CostConfig, PolicyConfig
from tidegate.config.release import MonitorConfig, RolloutConfig
from tidegate.config.run import RunConfig, load_config
from tidegate.config.search import SearchConfig
from tidegate.config.section import Section

__all__ = [
    "RESERVED_COLUMNS",
    "CleaningConfig",
    "ClusterConfig",
    "CostConfig",
    "DataConfig",
    "FeatureConfig",
    "LabelValue",
    "MonitorConfig",
    "PolicyConfig",
    "Pool",
    "PublishedSplit",
    "RolloutConfig",
    "RunConfig",
    "SearchConfig",
    "Section",
    "SplitRule",
    "StepResources",
    "Toleration",
    "ValidationConfig",
    "load_config",
]
