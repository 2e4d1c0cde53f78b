"""How a step is placed on a cluster: what it asks for, where it goes, what its pod is given."""

from typing import Any, NamedTuple

from kfp import dsl, kubernetes

#: Where the workspace claim is mounted in every step on a cluster.
WORKSPACE = "/workspace"
_USER = 10001

# Keys of the object-store secret, which are also the variables that S3 clients read; only a store
# that is not Amazon's needs the last one.
_SECRET_KEYS, _OPTIONAL_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_ENDPOINT_URL",)

# Thirty seconds outlast a node that goes away.
_RETRIES, _FIRST_WAIT, _LONGEST_WAIT = 2, "30s", "600s"

_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "0",
    "GX_ANALYTICS_ENABLED": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}


class Room(NamedTuple):
    """What a step asks of a node and which nodes it may go to: parameters of the pipeline."""

    cpu: Any
    memory: Any
    node_selector: Any
    tolerations: Any
    node_affinity: Any


def put(
    task: dsl.PipelineTask,
    room: Room,
    *,
    workspace_claim: Any,
    object_store_secret: str | None,
    repeatable: bool,
) -> None:
    """Place a step, and give its pod the workspace, its labels, its user and its environment.

    Parameters
    ----------
    task : PipelineTask
        The step; changed.
    room : Room
        Memory is a hard limit.
    workspace_claim : str or pipeline parameter
        Mounted at `WORKSPACE`.
    object_store_secret : str or None
        Secret whose keys are environment variables there.
    repeatable : bool
        A step may be repeated when it writes only artifacts of its own, or its state last; not
        one that moves a pointer that others read.
    """
    task.register_pipeline_channels([room.cpu, room.memory])
    task.set_cpu_request(room.cpu).set_cpu_limit(room.cpu)
    task.set_memory_request(room.memory).set_memory_limit(room.memory)
    kubernetes.add_node_selector_json(task, room.node_selector)
    kubernetes.add_toleration_json(task, room.tolerations)
    kubernetes.add_node_affinity_json(task, room.node_affinity)
    kubernetes.mount_pvc(task, pvc_name=workspace_claim, mount_path=WORKSPACE)
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "tidegate")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", "step")
    kubernetes.set_security_context(
        task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True
    )
    for name, value in _ENVIRONMENT.items():
        task.set_env_variable(name, value)
    if object_store_secret is not None:
        for keys, optional in ((_SECRET_KEYS, False), (_OPTIONAL_KEYS, True)):
            kubernetes.use_secret_as_env(
                task, object_store_secret, {key: key for key in keys}, optional=optional
            )
    if repeatable:
        task.set_retry(
            _RETRIES,
            backoff_duration=_FIRST_WAIT,
            backoff_factor=2.0,
            backoff_max_duration=_LONGEST_WAIT,
        )
