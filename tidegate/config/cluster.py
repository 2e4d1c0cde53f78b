"""The cluster section: where the pipeline runs on Kubernetes."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tidegate.config.section import Section


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
