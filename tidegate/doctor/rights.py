"""Every right on the Kubernetes API that Tidegate's own code or its steps' engine uses."""

from dataclasses import dataclass
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
        The one object that it is about; empty for all.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    used_by: str
    backend: Literal["katib"] | None = None
    only: str = ""

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


def release_rights(service: str, mode: Literal["Standard", "Knative"]) -> tuple[Right, ...]:
    """Return the rights of whoever steps the releases of one InferenceService.

    Parameters
    ----------
    service : str
        ``cluster.service.name``.
    mode : {"Standard", "Knative"}
        In which KServe runs it.
    """
    kept = f"{service}-release"
    backend, objects = "tidegate.rollout.kserve_backend", "tidegate.rollout.release_objects"
    general = (
        Right("serving.kserve.io", "inferenceservices", ("get", "patch"), backend, only=service),
        Right("", "configmaps", ("get", "update"), objects, only=kept),
        Right("", "configmaps", ("create",), objects),
        Right("coordination.k8s.io", "leases", ("get", "update"), objects, only=kept),
        Right("coordination.k8s.io", "leases", ("create",), objects),
        Right("", "events", ("create",), objects),
        Right("", "pods", ("list",), backend),
    )
    if mode == "Standard":
        routes = "gateway.networking.k8s.io"
        return (
            *general,
            Right("apps", "deployments", ("get",), backend),
            Right(routes, "httproutes", ("get",), backend, only=service),
        )
    knative = "serving.knative.dev"
    return (
        *general,
        Right(knative, "services", ("get",), backend, only=f"{service}-predictor"),
        Right(knative, "revisions", ("get",), backend),
    )
