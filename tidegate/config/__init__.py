"""RunConfig: the one YAML file, a module a section."""

from tidegate.config.cluster import ClusterConfig, Pool, ServiceConfig, StepResources, Toleration
from tidegate.config.data import (
    RESERVED_COLUMNS,
    DataConfig,
    LabelValue,
    MixConfig,
    PublishedSplit,
    SplitRule,
    ValidationConfig,
)
from tidegate.config.features import CleaningConfig, FeatureConfig
from tidegate.config.monitor import (
    MonitorConfig,
    OnlineConfig,
    OnlineDetector,
    Remedy,
    TestFamily,
    TriggerConfig,
)
from tidegate.config.policy import CascadeConfig, CostConfig, Mitigation, PolicyConfig
from tidegate.config.report import ReportConfig
from tidegate.config.rollout import ExperimentConfig, OpsConfig, QualityConfig, RolloutConfig
from tidegate.config.run import RunConfig, load_config
from tidegate.config.search import QuantizeConfig, SearchConfig
from tidegate.config.section import Section
from tidegate.config.serving import ExplorationConfig, PayloadLogConfig, ServingConfig

__all__ = [
    "RESERVED_COLUMNS",
    "CascadeConfig",
    "CleaningConfig",
    "ClusterConfig",
    "CostConfig",
    "DataConfig",
    "ExperimentConfig",
    "ExplorationConfig",
    "FeatureConfig",
    "LabelValue",
    "Mitigation",
    "MixConfig",
    "MonitorConfig",
    "OnlineConfig",
    "OnlineDetector",
    "OpsConfig",
    "PayloadLogConfig",
    "PolicyConfig",
    "Pool",
    "PublishedSplit",
    "QualityConfig",
    "QuantizeConfig",
    "Remedy",
    "ReportConfig",
    "RolloutConfig",
    "RunConfig",
    "SearchConfig",
    "Section",
    "ServiceConfig",
    "ServingConfig",
    "SplitRule",
    "StepResources",
    "TestFamily",
    "Toleration",
    "TriggerConfig",
    "ValidationConfig",
    "load_config",
]
