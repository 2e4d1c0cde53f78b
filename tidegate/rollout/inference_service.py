"""The InferenceService that a release steps, built and never submitted here.

In Standard mode the candidate is an entry of ``spec.canary`` with its own Deployment, and KServe
weighs an HTTPRoute between the two. In Knative mode the candidate is the predictor itself and
``canaryTrafficPercent`` its share; the rest stays with the revision that was last rolled out. Each
mode ignores the other one's field without a word.

References
----------
KServe, ``pkg/apis/serving/v1beta1/inference_service.go`` and
``pkg/controller/v1beta1/inferenceservice/components/predictor.go``, 0.20 and later.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from tidegate.config import PayloadLogConfig, RunConfig, ServiceConfig, ServingConfig
from tidegate.records import Traffic

Mode = Literal["Standard", "Knative"]
Document = dict[str, Any]

#: Stands for the bundle's version in a manifest that is installed before the first release.
PLACEHOLDER = "VERSION"
STOP = "serving.kserve.io/stop"
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
CONTAINER = "kserve-container"
#: Service of the log receiver in manifests/components/log-receiver.
RECEIVER = "tidegate-log-receiver"

# A Deployment is named after its slot and not after its version: the candidate's slot becomes the
# predictor's own when it is promoted, and no pod restarts.
_SLOTS = ("blue", "green")
_HTTP_PORT, _GRPC_PORT = 8080, 8081
_USER = 10001
_AUTOSCALING = ("maxReplicas", "scaleMetric", "scaleTarget")
_SERVER = ("python", "-m", "tidegate.serving")


def build_inference_service(
    config: RunConfig,
    traffic: Traffic,
    mode: Mode,
    *,
    slot: str | None = None,
    candidate_slot: str | None = None,
    stopped: bool = False,
) -> Document:
    """Return the whole InferenceService for who must get requests.

    Parameters
    ----------
    config : RunConfig
        Its name is the model's in the store; `cluster.service` and `serving` say how it runs.
    traffic : Traffic
        Versions by their bundles' digests. A candidate in Knative mode needs a baseline that was
        rolled out before: KServe gives everything to the candidate where there is none.
    mode : {"Standard", "Knative"}
        See `tidegate.rollout.kserve_status.detect_mode`.
    slot, candidate_slot : str, optional
        Names of the two Deployments in Standard mode.
    stopped : bool
        Whether it is installed without pods, before there is a model.
    """
    service = config.cluster.service
    annotations = {STOP: "true"} if stopped else {}
    spec = build_spec(config, traffic, mode, slot=slot, candidate_slot=candidate_slot)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": service.name,
            "namespace": config.cluster.namespace,
            "annotations": {**annotations, DEPLOYMENT_MODE: mode},
        },
        "spec": without_nulls(spec),
    }


def build_spec(
    config: RunConfig,
    traffic: Traffic,
    mode: Mode,
    *,
    slot: str | None = None,
    candidate_slot: str | None = None,
) -> Document:
    """Return the spec as a merge patch: what must not be there is None (RFC 7386)."""
    if mode == "Knative":
        predictor = build_predictor(config, traffic.candidate or traffic.baseline, mode)
        percent = None if traffic.candidate is None else traffic.candidate_percent
        return {"predictor": {**predictor, "canaryTrafficPercent": percent}, "canary": None}
    predictor = {
        **build_predictor(config, traffic.baseline, mode),
        "name": slot,
        "canaryTrafficPercent": None,
    }
    if traffic.candidate is None:
        return {"predictor": predictor, "canary": None}
    canary = build_predictor(config, traffic.candidate, mode)
    for name in _AUTOSCALING:  # KServe's webhook refuses them on a canary
        del canary[name]
    canary["name"] = candidate_slot or other_slot(slot)
    canary["minReplicas"] = _canary_replicas(config.cluster.service, traffic.candidate_percent)
    entry = {"predictor": without_nulls(canary), "trafficPercent": traffic.candidate_percent}
    return {"predictor": predictor, "canary": [entry]}


def build_predictor(config: RunConfig, version: str, mode: Mode) -> Document:
    """Return the predictor that serves one version; what it must not have is None."""
    service = config.cluster.service
    scaling = (
        {"scaleMetric": "cpu", "scaleTarget": 70}
        if mode == "Standard"
        else {"scaleMetric": "concurrency", "scaleTarget": 4, "containerConcurrency": 8}
    )
    return {
        "minReplicas": service.min_replicas,
        "maxReplicas": service.max_replicas,
        **scaling,
        # The server itself gives up first: so long for the body, and again for the answer.
        "timeout": math.ceil(2 * config.serving.timeout_seconds),
        "labels": {
            "app.kubernetes.io/part-of": "tidegate",
            "app.kubernetes.io/component": "serving",
        },
        "serviceAccountName": "tidegate-serving",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "logger": _logger(config),
        **(_standard_pod() if mode == "Standard" else {}),
        "containers": [_container(config, version, mode)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }


def bundle_uri(config: RunConfig, version: str) -> str:
    """Return where KServe finds a version's bundle; see `tidegate.rollout.model_store`."""
    return f"{_versions_uri(config)}{version}"


def version_of(config: RunConfig, containers: list[Document]) -> str | None:
    """Return the version that a pod's containers serve; None for what is not in our store."""
    for container in containers:
        for variable in container.get("env") or []:
            uri = str(variable.get("value") or "")
            if variable["name"] == "STORAGE_URI" and uri.startswith(_versions_uri(config)):
                return uri.removeprefix(_versions_uri(config))
    return None


def other_slot(slot: str | None) -> str:
    """Return the slot of a candidate beside a predictor in `slot`; None is one without a name."""
    return _SLOTS[1] if slot == _SLOTS[0] else _SLOTS[0]


def deployment_name(service: str, slot: str | None) -> str:
    """Return how KServe names the Deployment and the Service of a slot."""
    return f"{service}-{slot}-predictor" if slot else f"{service}-predictor"


def without_nulls(value: Any) -> Any:
    """Return a JSON value without the fields that are None: what one creates has no such field."""
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _versions_uri(config: RunConfig) -> str:
    models = config.cluster.service.models or f"pvc://{config.cluster.workspace_claim}/models"
    return f"{models.rstrip('/')}/{config.name}/versions/"


def _canary_replicas(service: ServiceConfig, percent: int) -> int:
    # KServe would start no pod at all for a dark launch, and does not scale a canary by load.
    return max(1, math.ceil(service.min_replicas * percent / 100))


def _logger(config: RunConfig) -> Document | None:
    address = config.cluster.service.payload_receiver
    if address == "component":
        address = f"http://{RECEIVER}.{config.cluster.namespace}.svc.cluster.local/"
    return None if address is None else {"mode": "all", "url": address}


def _standard_pod() -> Document:
    """Return what Knative's webhook refuses without feature flags, and Standard mode can have."""
    return {
        "priorityClassName": "tidegate-serving",
        # The server finishes what is running for 20 seconds before it leaves.
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _container(config: RunConfig, version: str, mode: Mode) -> Document:
    service, standard = config.cluster.service, mode == "Standard"
    ports = [{"name": "http1", "containerPort": _HTTP_PORT, "protocol": "TCP"}]
    if standard:
        ports.append({"name": "h2c", "containerPort": _GRPC_PORT, "protocol": "TCP"})
    arguments = ["--host", "0.0.0.0", "--port", str(_HTTP_PORT)]
    arguments += ["--grpc-port", str(_GRPC_PORT) if standard else "none"]
    arguments += ["--bundle", "/mnt/models", *_settings(_served_by(config))]
    locked = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    pod = {key: _standard_pod()["securityContext"][key] for key in _CONTAINER_LEVEL}
    return {
        "name": CONTAINER,
        "image": service.image,
        "command": list(_SERVER),
        "args": arguments,
        "env": [
            # KServe mounts this folder of the store, read-only, at /mnt/models.
            {"name": "STORAGE_URI", "value": bundle_uri(config, version)},
            {"name": "OMP_NUM_THREADS", "value": "1"},
        ],
        **({"envFrom": [{"secretRef": {"name": service.secret}}]} if service.secret else {}),
        "ports": ports,
        "readinessProbe": _probe("ready", standard, periodSeconds=5, timeoutSeconds=3),
        "livenessProbe": _probe(
            "live",
            standard,
            initialDelaySeconds=30,
            periodSeconds=10,
            timeoutSeconds=5,
            failureThreshold=6,
        ),
        "resources": {
            "requests": {"cpu": _cpu(service.cpu), "memory": _memory(service.memory_gib)},
            "limits": {"memory": _memory(service.memory_limit_gib)},
        },
        "securityContext": locked if standard else {**pod, **locked},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


_CONTAINER_LEVEL = ("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile")


def _served_by(config: RunConfig) -> ServingConfig:
    """Return the server's section; what a receiver keeps, the server does not keep again."""
    if config.cluster.service.payload_receiver is None:
        return config.serving
    return config.serving.model_copy(update={"payload_log": PayloadLogConfig()})


def _settings(serving: ServingConfig) -> list[str]:
    """Return the server's settings where they are not its defaults."""
    if serving == ServingConfig():
        return []
    return ["--settings", serving.model_dump_json(exclude_defaults=True)]


def _probe(health: str, standard: bool, **timing: int) -> Document:
    # Knative fills the port in and takes only its own.
    port = {"port": _HTTP_PORT} if standard else {}
    return {"httpGet": {"path": f"/v2/health/{health}", **port}, **timing}


def _cpu(cores: float) -> str:
    return str(round(cores)) if cores == round(cores) else f"{round(cores * 1000)}m"


def _memory(gib: float) -> str:
    return f"{round(gib)}Gi" if gib == round(gib) else f"{round(gib * 1024)}Mi"
