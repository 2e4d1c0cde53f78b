"""What is installed on the cluster: Kubeflow's parts, KServe and what they lean on."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from tidegate.config import ClusterConfig, RunConfig
from tidegate.doctor.api import REQUEST_SECONDS, Api, Forbidden
from tidegate.doctor.findings import Finding, ok, problem, unknown, warning

#: The oldest Kubernetes whose Pod Security admission is final.
_OLDEST_KUBERNETES = Version("1.25")
#: What Tidegate's clients and models of these are made for; see requirements/main.in.
_BUILT_FOR = {"pipelines": "2.17", "katib": "0.19", "kserve": "0.21"}
_STANDARD, _KNATIVE = {"Standard", "RawDeployment"}, {"Knative", "Serverless"}


@dataclass(frozen=True)
class Cluster:
    """What every check reads from.

    `groups` holds the versions of every API group that is served.
    """

    api: Api
    config: RunConfig | None
    groups: Mapping[str, tuple[str, ...]]

    def serves(self, group: str, version: str, resource: str) -> bool:
        """Say whether one resource of one version is served."""
        if version not in self.groups.get(group, ()):
            return False
        found = self.api.get(f"/apis/{group}/{version}") or {}
        return any(entry["name"] == resource for entry in found.get("resources", ()))


def served_groups(api: Api) -> dict[str, tuple[str, ...]]:
    """Return the API groups of the server, each with its versions."""
    listed = api.get("/apis") or {}
    return {
        group["name"]: tuple(version["version"] for version in group["versions"])
        for group in listed.get("groups", ())
    }


def check_server(api: Api) -> Iterator[Finding]:
    """Reach the API server and read its version."""
    found = api.get("/version") or {}
    told = str(found.get("gitVersion", "of unknown version"))
    version = _version(told)
    if version is not None and version < _OLDEST_KUBERNETES:
        mend = f"use Kubernetes {_OLDEST_KUBERNETES} or later: Pod Security admission is needed"
        yield problem("kubernetes", f"{told} at {api.address}", mend)
    else:
        yield ok("kubernetes", f"{told} at {api.address}")


def check_pipelines(cluster: Cluster) -> Iterator[Finding]:
    """Find Kubeflow Pipelines, its engine and its API."""
    name = "pipelines"
    missing = [
        resource
        for group, version, resource in (
            ("kubeflow.org", "v1beta1", "scheduledworkflows"),
            ("argoproj.io", "v1alpha1", "workflows"),
        )
        if not cluster.serves(group, version, resource)
    ]
    if missing:
        yield problem(
            name,
            f"Kubeflow Pipelines is not installed: {' and '.join(missing)} not served",
            f"install Kubeflow Pipelines {_BUILT_FOR[name]}; docs/cluster.md says how",
        )
    else:
        native = "pipelines.kubeflow.org" in cluster.groups
        stored = "Pipeline resources served" if native else "no Pipeline resources (database mode)"
        yield _installed(cluster, name, "ml-pipeline", ("kubeflow",), stored)
    yield _pipelines_api(cluster)


def _pipelines_api(cluster: Cluster) -> Finding:
    import urllib3

    endpoint = cluster.config.cluster.endpoint if cluster.config else None
    endpoint = endpoint or os.environ.get("KF_PIPELINES_ENDPOINT")
    name = "pipelines API"
    if endpoint is None:
        return unknown(
            name,
            "not asked: cluster.endpoint is not set",
            "write cluster.endpoint, for example http://localhost:8080 with "
            "`kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80`",
        )
    parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    # An address may carry a password, which is not to be shown.
    shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
    address = f"{parts.geturl().rstrip('/')}/apis/v2beta1/healthz"
    try:
        answer = urllib3.request(
            "GET", address, timeout=REQUEST_SECONDS, retries=False, redirect=False
        )
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        return problem(name, f"no answer from {shown}", "check cluster.endpoint, or port-forward")
    if answer.status in {301, 302, 303, 307, 401, 403}:
        return unknown(
            name,
            f"{shown} wants a login (status {answer.status}); doctor has none",
            "nothing, if `tidegate submit` works with your login",
        )
    try:
        health = json.loads(answer.data)
    except ValueError:
        health = None
    if answer.status != 200 or not isinstance(health, dict):
        what = f"{shown} does not answer as the Pipelines API (status {answer.status})"
        return problem(
            name, what, "check cluster.endpoint: it is the API's address, without a page"
        )
    if health.get("multi_user"):
        return ok(name, f"{shown}, multi-user")
    return _single_user(cluster, f"{shown}, single-user")


def _single_user(cluster: Cluster, told: str) -> Finding:
    """Hold the namespace against that of Kubeflow Pipelines, where a single user's runs go."""
    place = (cluster.config.cluster if cluster.config else ClusterConfig()).namespace
    if cluster.api.get(f"/apis/apps/v1/namespaces/{place}/deployments/ml-pipeline") is not None:
        return ok("pipelines API", told)
    return problem(
        "pipelines API",
        f"{told}: it runs everything in its own namespace, and cluster.namespace is {place}",
        f"use Kubeflow in multi-user mode with {place} as a Profile, or install "
        "manifests/overlays/kind-single-user and write cluster.namespace: kubeflow",
    )


def check_katib(cluster: Cluster) -> Iterator[Finding]:
    """Find Katib; a run needs it when its search says so."""
    if cluster.serves("kubeflow.org", "v1beta1", "experiments"):
        yield _installed(cluster, "katib", "katib-controller", ("kubeflow",), "Experiments v1beta1")
        return
    what = "Katib is not installed: experiments not served"
    mend = f"install Katib {_BUILT_FOR['katib']}, or write search.backend: local"
    backend = cluster.config.search.backend if cluster.config else None
    if backend is None:
        yield warning("katib", what, f"{mend}; only search.backend: katib needs it")
    elif backend == "local":
        yield ok("katib", f"not installed; search.backend is {backend}")
    else:
        yield problem("katib", f"{what}, and search.backend is {backend}", mend)


def check_trainer(cluster: Cluster) -> Iterator[Finding]:
    """Find Kubeflow Trainer, which no search needs yet."""
    versions = cluster.groups.get("trainer.kubeflow.org", ())
    yield ok("trainer", f"TrainJobs {', '.join(versions)}" if versions else "not installed")


def check_kserve(cluster: Cluster) -> Iterator[Finding]:
    """Find KServe and tell which deployment mode is in force."""
    if "v1beta1" not in cluster.groups.get("serving.kserve.io", ()):
        yield warning(
            "kserve",
            "KServe is not installed: InferenceServices not served",
            f"install KServe {_BUILT_FOR['kserve']}; without it runs work and nothing is served",
        )
        return
    places = ("kserve", "kubeflow")
    yield _installed(
        cluster, "kserve", "kserve-controller-manager", places, "InferenceServices v1beta1"
    )
    yield from _kserve_mode(cluster, places)


def _kserve_mode(cluster: Cluster, places: tuple[str, ...]) -> Iterator[Finding]:
    name = "kserve mode"
    found = _first(
        cluster.api,
        [f"/api/v1/namespaces/{ns}/configmaps/inferenceservice-config" for ns in places],
    )
    if found is None:
        what = f"no ConfigMap inferenceservice-config in {' or '.join(places)}"
        yield unknown(name, what, "ask who runs KServe for deploy.defaultDeploymentMode")
        return
    deploy = json.loads(found["data"].get("deploy") or "{}")
    ingress = json.loads(found["data"].get("ingress") or "{}")
    mode = deploy.get("defaultDeploymentMode")
    if mode in _KNATIVE:
        if "serving.knative.dev" in cluster.groups:
            yield ok(name, f"{mode}: a release steps by canaryTrafficPercent")
        else:
            what = f"{mode} is the default, and Knative Serving is not installed"
            mend = "set deploy.defaultDeploymentMode to Standard, or install Knative Serving"
            yield problem(name, what, mend)
    elif mode not in _STANDARD:
        yield problem(name, f"{mode!r} is no mode", "set it to Standard or Knative")
    elif "gateway.networking.k8s.io" not in cluster.groups:
        what = f"{mode}; without the Gateway API there is no canary"
        yield warning(name, what, "install the Gateway API and an implementation of it")
    elif not ingress.get("enableGatewayApi"):
        what = f"{mode}, but ingress.enableGatewayApi is off: canary weights have no effect"
        yield warning(name, what, "set enableGatewayApi to true in inferenceservice-config")
    else:
        yield ok(name, f"{mode} over the Gateway API: a release steps by spec.canary")


def check_gateway(cluster: Cluster) -> Iterator[Finding]:
    """Find the Gateway API."""
    versions = cluster.groups.get("gateway.networking.k8s.io", ())
    if "v1" in versions:
        yield ok("gateway API", ", ".join(versions))
    else:
        what = "HTTPRoute v1 is not served"
        mend = "install the Gateway API's standard channel; KServe in Knative mode does without"
        yield warning("gateway API", what, mend)


def check_prometheus(cluster: Cluster) -> Iterator[Finding]:
    """Find the Prometheus operator."""
    if cluster.serves("monitoring.coreos.com", "v1", "servicemonitors"):
        yield ok("prometheus", "ServiceMonitors v1")
    else:
        what = "no Prometheus operator: ServiceMonitors not served"
        mend = "install it, or leave the monitoring component out and scrape /metrics yourself"
        yield warning("prometheus", what, mend)


def _installed(
    cluster: Cluster, name: str, deployment: str, places: tuple[str, ...], what: str
) -> Finding:
    """Tell the version by the image of the controller's Deployment."""
    paths = [f"/apis/apps/v1/namespaces/{ns}/deployments/{deployment}" for ns in places]
    try:
        found = _first(cluster.api, paths)
    except Forbidden as error:
        return ok(name, f"{what}; version unknown: may not {error.asked}")
    if found is None:
        return ok(name, f"{what}; version unknown: no {deployment} in {' or '.join(places)}")
    image = str(found["spec"]["template"]["spec"]["containers"][0]["image"])
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    version = _version(tag)
    if version is None:
        return ok(name, f"{what}; version unknown: image {image}")
    if version < Version(_BUILT_FOR[name]):
        return warning(
            name,
            f"{version}; {what}",
            f"upgrade to {_BUILT_FOR[name]}, which Tidegate is built for, or test with care",
        )
    return ok(name, f"{version}; {what}")


def _first(api: Api, paths: list[str]) -> Mapping[str, Any] | None:
    """Return the first that is there; a place that may not be read counts when nothing is."""
    refused: Forbidden | None = None
    for path in paths:
        try:
            found = api.get(path)
        except Forbidden as error:
            refused = refused or error
        else:
            if found is not None:
                return found
    if refused is not None:
        raise refused
    return None


def _version(text: str) -> Version | None:
    try:
        # Clouds append their own: v1.33.4-gke.1036000.
        return Version(text.partition("-")[0])
    except InvalidVersion:
        return None
