"""Every right on the Kubernetes API that Tidegate's own code or its steps' engine uses."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Right:
    """What a ServiceAccount must be allowed to do in its namespace, and for which code.

    Parameters
    ----------
    group : str
        API group; empty for the core one.
    resource : str
        Plural name, with ``/SUBRESOURCE`` where one is meant.
    verbs : tuple of str
        As a Role lists them.
    used_by : str
        The code that needs it.
    backend : str or None
        The ``search.backend`` that needs it; None when every run does.
    only : str
        The one object that it is about, ``{service}`` for the InferenceService's name; empty for
        all.
    mode : str or None
        KServe's deployment mode in which it is needed; None in both.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    used_by: str
    backend: Literal["katib"] | None = None
    only: str = ""
    mode: Literal["Standard", "Knative"] | None = None

    def of(self, service: str) -> "Right":
        """Return the right for an InferenceService of that name."""
        return replace(self, only=self.only.format(service=service))

    @property
    def name(self) -> str:
        """The resource as kubectl writes it."""
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{kind}/{self.only}" if self.only else kind


#: Rights of the ServiceAccount that pipeline steps run as (``cluster.service_account``).
PIPELINE_RIGHTS = (
    Right("argoproj.io", "workflowtaskresults", ("create", "patch"), "Argo's executor"),
    Right("", "pods", ("get", "list"), "the KFP launcher, tidegate.cluster_api"),
    Right("", "configmaps", ("get",), "the KFP launcher", only="kfp-launcher"),
    Right("", "secrets", ("get",), "the KFP launcher", only="mlpipeline-minio-artifact"),
    Right(
        "kubeflow.org",
        "experiments",
        ("create", "get", "list", "delete"),
        "tidegate.search.katib_runs, tidegate.search.leftovers",
        "katib",
    ),
    Right("kubeflow.org", "trials", ("list",), "tidegate.search.katib_runs", "katib"),
    Right("argoproj.io", "workflows", ("get",), "tidegate.cluster_api", "katib"),
)

_STATE = "tidegate.rollout.release_objects"
_BACKEND = "tidegate.rollout.kserve_backend"

#: Rights of the ServiceAccount of the release controller.
RELEASE_RIGHTS = (
    Right("serving.kserve.io", "inferenceservices", ("get", "patch"), _BACKEND, only="{service}"),
    Right("", "configmaps", ("get", "update"), _STATE, only="{service}-release"),
    Right("coordination.k8s.io", "leases", ("get", "update"), _STATE, only="{service}-release"),
    Right("", "configmaps", ("create",), _STATE),
    Right("", "events", ("create",), _STATE),
    Right("coordination.k8s.io", "leases", ("create",), _STATE),
    Right("", "pods", ("list",), _BACKEND),
    Right("apps", "deployments", ("get",), _BACKEND, mode="Standard"),
    Right(
        "gateway.networking.k8s.io",
        "httproutes",
        ("get",),
        _BACKEND,
        only="{service}",
        mode="Standard",
    ),
    Right(
        "serving.knative.dev",
        "services",
        ("get",),
        _BACKEND,
        only="{service}-predictor",
        mode="Knative",
    ),
    Right("serving.knative.dev", "revisions", ("get",), _BACKEND, mode="Knative"),
)

#: Rights of the trigger's ServiceAccount; a multi-user Kubeflow Pipelines asks for the last ones.
TRIGGER_RIGHTS = (
    Right(
        "",
        "configmaps",
        ("get", "update"),
        "tidegate.monitoring.trigger_store",
        only="{service}-trigger",
    ),
    Right("", "configmaps", ("get", "update"), _STATE, only="{service}-release"),
    Right("", "configmaps", ("create",), f"tidegate.monitoring.trigger_store, {_STATE}"),
    Right("serving.kserve.io", "inferenceservices", ("get",), _BACKEND, only="{service}"),
    *(
        Right("pipelines.kubeflow.org", kind, ("get", "list", "create", *more), "pipelines.kfp_api")
        for kind, more in (("pipelines", ()), ("experiments", ()), ("runs", ("terminate",)))
    ),
)
