"""The cluster section: where the pipeline runs on Kubernetes."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

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


class ServiceConfig(Section):
    """The InferenceService that releases step."""

    name: str = "moderation"
    image: str = Field(
        "tidegate/serving:0.1.0", description="image of the model server; pin it by digest"
    )
    models: str | None = Field(
        None,
        description="address of the model store for KServe [pvc://WORKSPACE_CLAIM/models]",
    )
    min_replicas: Annotated[int, Field(ge=1)] = 2
    max_replicas: Annotated[int, Field(ge=1)] = 6
    cpu: Annotated[float, Field(gt=0)] = 1.0
    memory_gib: Annotated[float, Field(gt=0)] = 1.0
    memory_limit_gib: Annotated[float, Field(gt=0)] = 2.0
    payload_receiver: str | None = Field(
        None,
        description="address that KServe's logger posts requests and responses to, or component: "
        "that of manifests/components/log-receiver; the server then keeps no log of its own",
    )
    secret: str | None = Field(
        None, description="secret whose keys the model server gets as environment variables"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ServiceConfig":
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas must be at least min_replicas, got {self.max_replicas} and "
                f"{self.min_replicas}; write max_replicas: {self.min_replicas}"
            )
        address = self.payload_receiver
        if address not in (None, "component") and not str(address).startswith("http"):
            raise ValueError(
                f"payload_receiver must be an http address or component, got {address}; write "
                "payload_receiver: component"
            )
        if self.memory_limit_gib < self.memory_gib:
            raise ValueError(
                f"memory_limit_gib must be at least memory_gib, got {self.memory_limit_gib} and "
                f"{self.memory_gib}; write memory_limit_gib: {self.memory_gib}"
            )
        return self


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
    service: ServiceConfig = ServiceConfig()
    currency: str = "USD"
    pools: Mapping[Literal["cpu", "gpu"], Pool] = {"cpu": Pool(), "gpu": Pool()}

    @property
    def search_resources(self) -> StepResources:
        """What the search step asks for."""
        return self.search_step or StepResources(cpu=self.cpu, memory_gib=self.memory_gib)
