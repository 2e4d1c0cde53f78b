"""Pods that others make in our namespace, as they make them.

Read from the sources of Katib 0.19 (`suggestion/composer`), Kubeflow Pipelines 2.17
(`argocompiler/security_context.go`, its settings of Argo's executor) and Argo 4.0
(`controller/workflowpod.go`).
"""

from tests.unit.manifests.pod_security import GOOD

_IMAGE = "registry.example/it:1"
#: What Kubeflow Pipelines has Argo say of its own containers.
_EXECUTOR = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_USERS = {name: _EXECUTOR[name] for name in _EXECUTOR if not name.startswith("runAs")}
_LAUNCHER = {**_USERS, "runAsNonRoot": True}

SUGGESTION = {
    "metadata": {
        "labels": {
            "katib.kubeflow.org/deployment": "comments-multivariate-tpe",
            "katib.kubeflow.org/experiment": "comments",
            "katib.kubeflow.org/suggestion": "comments",
        }
    },
    "spec": {
        # As the API server leaves one of a Deployment.
        "securityContext": {},
        "containers": [
            {"name": "suggestion", "image": _IMAGE, "ports": [{"containerPort": 6789}]},
            {"name": "early-stopping", "image": _IMAGE, "ports": [{"containerPort": 6788}]},
        ],
    },
}
#: Katib's webhook adds this container to a trial's pod.
COLLECTOR = {"name": "metrics-logger-and-collector", "image": _IMAGE}
TRIAL = {
    "metadata": {"labels": {"katib.kubeflow.org/trial": "comments-1"}},
    "spec": {
        **GOOD,
        "containers": [{**GOOD["containers"][0], "image": _IMAGE}, COLLECTOR],
    },
}
STEP = {
    "metadata": {"labels": {"pipelines.kubeflow.org/v2_component": "true"}},
    "spec": {
        "restartPolicy": "Never",
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [
            {"name": "init", "image": _IMAGE, "securityContext": _EXECUTOR},
            {"name": "kfp-launcher", "image": _IMAGE, "securityContext": _LAUNCHER},
        ],
        "containers": [
            {"name": "wait", "image": _IMAGE, "securityContext": _EXECUTOR},
            {"name": "main", "image": _IMAGE, "securityContext": _USERS},
        ],
    },
}
