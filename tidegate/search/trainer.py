"""A trial as a TrainJob of Kubeflow Trainer: several nodes that train one model together.

Katib gives way to Trainer in time; this is the shape that a trial of a net has there. The document
is Trainer's ``trainer.kubeflow.org/v1alpha1``.
"""

import re
from dataclasses import dataclass
from typing import Any

from tidegate import store
from tidegate.config import ClusterConfig
from tidegate.models.interface import Algorithm
from tidegate.records import Params
from tidegate.search.katib import Owner
from tidegate.search.pods import WORKSPACE, labels, trial_pod
from tidegate.search.space import word

#: The runtime that Trainer installs for PyTorch; it starts one ``torchrun`` a node.
_RUNTIME = "torch-distributed"
#: What that runtime calls its replicated job and its container.
_NODE = "node"
_SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
#: What a runtime patch may say of a pod; the rest is the runtime's.
_PATCHABLE = (
    "nodeSelector",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
)


@dataclass(frozen=True)
class TrainJobPlan:
    """What one trial's TrainJob is built from.

    Parameters
    ----------
    search_id : str
        Marks everything of one search; a label's value.
    params : mapping
        A point of the algorithm's search space.
    nodes : int
        How many pods train together, each with the algorithm's resources.
    minutes : float
        After which Trainer ends the job.
    features, out : str
        Folders inside the workspace: the feature set, and where the trial leaves its model.
    """

    search_id: str
    algorithm: Algorithm
    params: Params
    seed: int
    nodes: int
    minutes: float
    cluster: ClusterConfig
    features: str
    out: str
    owner: Owner | None = None


def build_train_job(plan: TrainJobPlan) -> dict[str, Any]:
    """Return the TrainJob of one trial; the same plan has the same name."""
    marks = labels(plan.algorithm, plan.search_id)
    pod = trial_pod(plan.algorithm, plan.cluster, _command(plan), marks).to_dict()
    container = pod["spec"]["containers"][0]
    patch = {
        "metadata": pod["metadata"],
        "spec": {
            **{name: pod["spec"][name] for name in _PATCHABLE if name in pod["spec"]},
            "containers": [
                {
                    "name": _NODE,
                    "securityContext": container["securityContext"],
                    "volumeMounts": container["volumeMounts"],
                }
            ],
        },
    }
    spec = {
        "activeDeadlineSeconds": max(1, round(plan.minutes * 60)),
        "runtimeRef": {
            "apiGroup": "trainer.kubeflow.org",
            "kind": "ClusterTrainingRuntime",
            "name": _RUNTIME,
        },
        "trainer": {
            "image": container["image"],
            "command": container["command"],
            "env": [*container["env"], *_secret_env(plan.cluster.object_store_secret)],
            "numNodes": plan.nodes,
            # One process a GPU, as torchrun has it.
            "numProcPerNode": max(1, plan.algorithm.resources.gpus),
            "resourcesPerNode": container["resources"],
        },
        "runtimePatches": [
            {
                "manager": "tidegate/search",
                "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [_job(patch)]}}},
            }
        ],
    }
    metadata: dict[str, Any] = {
        "name": _name(plan, store.digest_json(spec)),
        "namespace": plan.cluster.namespace,
        "labels": marks,
    }
    if plan.owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": plan.owner.api_version,
                "kind": plan.owner.kind,
                "name": plan.owner.name,
                "uid": plan.owner.uid,
            }
        ]
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": metadata,
        "spec": spec,
    }


def _job(pod_patch: dict[str, Any]) -> dict[str, Any]:
    return {"name": _NODE, "template": {"spec": {"template": pod_patch}}}


def _name(plan: TrainJobPlan, digest: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", plan.algorithm.name.lower()).strip("-")
    return f"tidegate-{name[:14].rstrip('-')}-{digest[:12]}"


def _secret_env(secret: str | None) -> list[dict[str, Any]]:
    # A TrainJob takes single variables, never all of a secret at once.
    if secret is None:
        return []
    return [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for key in _SECRET_KEYS
    ]


def _command(plan: TrainJobPlan) -> list[str]:
    return [
        *("torchrun", "-m", "tidegate.search.trial"),
        *("--features", f"{WORKSPACE}/{plan.features}"),
        *("--algorithm", plan.algorithm.name),
        *("--seed", str(plan.seed)),
        *("--threads", str(plan.algorithm.resources.cpu)),
        *("--out", f"{WORKSPACE}/{plan.out}"),
        *(f"{name}={word(value)}" for name, value in plan.params.items()),
    ]
