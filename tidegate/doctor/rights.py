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
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    used_by: str
    backend: Literal["katib", "trainer"] | None = None

    @property
    def name(self) -> str:
        """The resource as kubectl writes it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


#: Rights of the ServiceAccount that pipeline steps run as (``cluster.service_account``).
PIPELINE_RIGHTS = (
    Right(
        "argoproj.io",
        "workflowtaskresults",
        ("create", "patch"),
        "Argo's executor beside every step",
    ),
    Right("", "configmaps", ("get",), "the KFP launcher: kfp-launcher"),
    Right(
        "kubeflow.org",
        "experiments",
        ("create", "get", "list", "watch", "patch", "delete"),
        "tidegate.search.katib",
        "katib",
    ),
    Right("kubeflow.org", "trials", ("get", "list", "watch"), "tidegate.search.katib", "katib"),
    Right(
        "trainer.kubeflow.org",
        "trainjobs",
        ("create", "get", "list", "watch", "delete"),
        "tidegate.search.trainer",
        "trainer",
    ),
)
