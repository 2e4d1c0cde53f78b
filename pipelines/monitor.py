"""The monitor as a pipeline that recurs: one step over the payload log."""

from typing import Any

from kfp import dsl

from components.monitor import monitor
from pipelines.placement import WORKSPACE, Room, put

PIPELINE = "tidegate-monitor"
_DESCRIPTION = "The payload log to a diagnosis."


def build_monitor(
    image: str, *, object_store_secret: str | None = None
) -> dsl.base_component.BaseComponent:
    """Return the pipeline, for a cluster; see `tidegate.monitoring.recurring`.

    Parameters
    ----------
    image : str
        Image that has Tidegate installed, pinned by digest.
    object_store_secret : str, optional
        Name of the Kubernetes secret whose keys the step gets as environment.
    """

    @dsl.pipeline(name=PIPELINE, description=_DESCRIPTION)
    def watch(
        config: str,
        workspace: str = WORKSPACE,
        workspace_claim: str = "tidegate-workspace",
        cpu: str = "2",
        memory: str = "4Gi",
        node_selector: dict[str, Any] = {},  # noqa: B006
        tolerations: list[Any] = [],  # noqa: B006
        node_affinity: dict[str, Any] = {},  # noqa: B006
    ) -> None:
        task = monitor(config=config, workspace=workspace).set_container_image(image)
        put(
            task,
            Room(cpu, memory, node_selector, tolerations, node_affinity),
            workspace_claim=workspace_claim,
            object_store_secret=object_store_secret,
            repeatable=True,
        )
        # Never from the cache: the log goes on behind the same address.
        task.set_caching_options(False)

    return watch
