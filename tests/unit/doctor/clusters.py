"""Clusters to examine, a bare Kubernetes and one that has everything, and what was found."""

import json

from tidegate.config import RunConfig


def config(**sections):
    data = {"source": "c.parquet", "text": "body", "label": "y"}
    return RunConfig.model_validate({"name": "posts", "data": data, **sections})


def statuses(findings):
    return {finding.name: finding.status for finding in findings}


def one(findings, name):
    found = [finding for finding in findings if finding.name == name]
    assert len(found) == 1, findings
    return found[0]


def serve_group(cluster, group, version, *resources):
    groups = cluster.documents.setdefault("/apis", {"groups": []})["groups"]
    groups.append({"name": group, "versions": [{"version": version}]})
    cluster.documents[f"/apis/{group}/{version}"] = {
        "resources": [{"name": name} for name in resources]
    }


def deploy(cluster, namespace, name, image):
    cluster.documents[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"] = {
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}}
    }


def set_kserve(cluster, mode, *, gateway):
    cluster.documents["/api/v1/namespaces/kserve/configmaps/inferenceservice-config"] = {
        "data": {
            "deploy": json.dumps({"defaultDeploymentMode": mode}),
            "ingress": json.dumps({"enableGatewayApi": gateway}),
        }
    }


def bare(cluster):
    """Make it a Kubernetes with nothing on it."""
    cluster.documents["/version"] = {"gitVersion": "v1.36.0"}
    cluster.documents["/apis"] = {"groups": []}
    cluster.documents["/api/v1/nodes"] = {"items": [node("n1")]}


def whole(cluster):
    """Make it a Kubernetes with all that Tidegate can use."""
    bare(cluster)
    serve_group(cluster, "kubeflow.org", "v1beta1", "experiments", "trials", "scheduledworkflows")
    serve_group(cluster, "argoproj.io", "v1alpha1", "workflows")
    serve_group(cluster, "trainer.kubeflow.org", "v1alpha1", "trainjobs")
    serve_group(cluster, "serving.kserve.io", "v1beta1", "inferenceservices")
    serve_group(cluster, "gateway.networking.k8s.io", "v1", "httproutes")
    serve_group(cluster, "monitoring.coreos.com", "v1", "servicemonitors")
    deploy(cluster, "kubeflow", "ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.17.0")
    deploy(cluster, "kubeflow", "katib-controller", "ghcr.io/kubeflow/katib-controller:v0.19.0")
    deploy(cluster, "kserve", "kserve-controller-manager", "kserve/kserve-controller:v0.21.0")
    set_kserve(cluster, "Standard", gateway=True)
    home = "/api/v1/namespaces/tidegate"
    cluster.documents[home] = {
        "metadata": {
            "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "katib.kubeflow.org/metrics-collector-injection": "enabled",
            }
        }
    }
    policy = "mutatingadmissionpolicies/tidegate-restricted-defaults"
    cluster.documents[f"/apis/admissionregistration.k8s.io/v1/{policy}"] = {"metadata": {}}
    for account in ("tidegate-pipeline", "tidegate-trial"):
        cluster.documents[f"{home}/serviceaccounts/{account}"] = {"metadata": {}}
    cluster.documents[f"{home}/persistentvolumeclaims/tidegate-workspace"] = {
        "status": {"phase": "Bound"},
        "spec": {"accessModes": ["ReadWriteMany"]},
    }
    cluster.documents["/apis/storage.k8s.io/v1/storageclasses"] = {
        "items": [
            {
                "metadata": {
                    "name": "fast",
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                }
            }
        ]
    }


def node(name, *, labels=None, taints=(), gpus=0):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"cpu": "8", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}},
    }
