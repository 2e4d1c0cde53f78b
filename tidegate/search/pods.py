"""The pod of a trial: where it may run, what it gets, what it may not do."""

from collections.abc import Mapping
from typing import Any

from kubeflow_katib_api import models as katib

from tidegate.config import ClusterConfig, Pool
from tidegate.models.interface import Algorithm

CONTAINER = "trial"
WORKSPACE = "/workspace"
SERVICE_ACCOUNT = "tidegate-trial"
#: The user of our images; one and the same, so that a step reads what its trials wrote.
_USER = 10001


def labels(algorithm: Algorithm, search_id: str) -> dict[str, str]:
    """Return what marks everything of one algorithm's search on the cluster."""
    return {
        "app.kubernetes.io/part-of": "tidegate",
        "app.kubernetes.io/component": "trial",
        "tidegate/algorithm": algorithm.name,
        "tidegate/search": search_id,
    }


def pool_of(algorithm: Algorithm, cluster: ClusterConfig) -> Pool:
    """Return the node pool of an algorithm's trials: ``gpu`` when they ask for one."""
    return cluster.pools.get("gpu" if algorithm.resources.gpus else "cpu", Pool())


def trial_pod(
    algorithm: Algorithm, cluster: ClusterConfig, command: list[str], marks: Mapping[str, str]
) -> Any:
    """Return the template of a pod that the Pod Security level ``restricted`` admits.

    Parameters
    ----------
    command : list of str
        Words of the trial's command line.
    marks : mapping
        From `labels`.
    """
    pool = pool_of(algorithm, cluster)
    return katib.IoK8sApiCoreV1PodTemplateSpec(
        metadata=katib.IoK8sApimachineryPkgApisMetaV1ObjectMeta(
            # A mesh's sidecar would outlive the trial and the Job would never complete.
            labels={**marks, "sidecar.istio.io/inject": "false"}
        ),
        spec=katib.IoK8sApiCoreV1PodSpec(
            restart_policy="Never",
            service_account_name=SERVICE_ACCOUNT,
            automount_service_account_token=False,
            # A trial that is told to go has nothing to save.
            termination_grace_period_seconds=5,
            node_selector=dict(pool.node_selector) or None,
            tolerations=[
                katib.IoK8sApiCoreV1Toleration(**toleration.model_dump(exclude_none=True))
                for toleration in pool.tolerations
            ]
            or None,
            priority_class_name=pool.priority_class,
            security_context=katib.IoK8sApiCoreV1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=_USER,
                run_as_group=_USER,
                fs_group=_USER,
                seccomp_profile=katib.IoK8sApiCoreV1SeccompProfile(type="RuntimeDefault"),
            ),
            containers=[_container(algorithm, cluster, pool, command)],
            volumes=[
                katib.IoK8sApiCoreV1Volume(
                    name="workspace",
                    persistent_volume_claim=katib.IoK8sApiCoreV1PersistentVolumeClaimVolumeSource(
                        claim_name=cluster.workspace_claim
                    ),
                ),
                katib.IoK8sApiCoreV1Volume(
                    name="scratch", empty_dir=katib.IoK8sApiCoreV1EmptyDirVolumeSource()
                ),
            ],
        ),
    )


def _container(algorithm: Algorithm, cluster: ClusterConfig, pool: Pool, command: list[str]) -> Any:
    quantities = _quantities(algorithm, pool)
    environment = {
        "OMP_NUM_THREADS": str(algorithm.resources.cpu),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "PYTHONUNBUFFERED": "1",
        # The root file system is read-only and some libraries want a home to write to.
        "HOME": "/tmp",
    }
    secret = cluster.object_store_secret
    return katib.IoK8sApiCoreV1Container(
        name=CONTAINER,
        image=cluster.gpu_image if algorithm.resources.gpus else cluster.image,
        command=command,
        env=[
            katib.IoK8sApiCoreV1EnvVar(name=name, value=value)
            for name, value in environment.items()
        ],
        env_from=[
            katib.IoK8sApiCoreV1EnvFromSource(
                secret_ref=katib.IoK8sApiCoreV1SecretEnvSource(name=secret)
            )
        ]
        if secret
        else None,
        resources=katib.IoK8sApiCoreV1ResourceRequirements(requests=quantities, limits=quantities),
        security_context=katib.IoK8sApiCoreV1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=katib.IoK8sApiCoreV1Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[
            katib.IoK8sApiCoreV1VolumeMount(name="workspace", mount_path=WORKSPACE),
            katib.IoK8sApiCoreV1VolumeMount(name="scratch", mount_path="/tmp"),
        ],
    )


def _quantities(algorithm: Algorithm, pool: Pool) -> dict[str, Any]:
    resources = algorithm.resources
    amounts = {"cpu": str(resources.cpu), "memory": f"{round(resources.memory_gib * 1024)}Mi"}
    if resources.gpus:
        amounts[pool.gpu_resource] = str(resources.gpus)
    return {
        name: katib.IoK8sApimachineryPkgApiResourceQuantity(amount)
        for name, amount in amounts.items()
    }
