"""A release as the controller's own ServiceAccount steps it, on a real API server.

The definitions of KServe and the Gateway API are real, and Kubernetes' own controllers make the
pods of Deployments; the test plays KServe, the gateway and the kubelet.
"""

import time
from datetime import UTC, datetime, timedelta

import pytest
from kubernetes import client

from tests.cluster.api_server.conftest import NAMESPACE, eventually
from tests.cluster.kserve.conftest import CONFIG, KEPT, NEW, OLD, state
from tests.unit.manifests.rendering import needs_kubectl
from tidegate.cluster_api import INFERENCE_SERVICES, ClusterApi, ClusterError, Resource
from tidegate.errors import Conflict
from tidegate.records import ReleaseEvent, Traffic
from tidegate.rollout.inference_service import build_inference_service, build_spec, deployment_name
from tidegate.rollout.kserve_backend import KServeBackend
from tidegate.rollout.kserve_status import serving_deployments
from tidegate.rollout.kserve_traffic import differences

ACCOUNT = "tidegate-release"
CANARY = Traffic(baseline=OLD, candidate=NEW, candidate_percent=25)
KSERVE = {"group": "serving.kserve.io", "version": "v1beta1", "plural": "inferenceservices"}
ROUTES = {"group": "gateway.networking.k8s.io", "version": "v1", "plural": "httproutes"}

pytestmark = [needs_kubectl, pytest.mark.usefixtures("namespace")]


class KServe:
    """Makes what KServe, the gateway and the kubelet would make of the InferenceService."""

    def __init__(self, server):
        self.server = server
        self.apps = client.AppsV1Api(server.client)

    def service(self):
        return self.server.custom.get_namespaced_custom_object(
            **KSERVE, namespace=NAMESPACE, name="moderation"
        )

    def round(self):
        service = self.service()
        spec = service["spec"]
        names = serving_deployments(service)
        predictors = [spec["predictor"], *(e["predictor"] for e in spec.get("canary", []))]
        for name, predictor in zip(names, predictors, strict=True):
            self._deployment(name, predictor)
        for found in self.apps.list_namespaced_deployment(NAMESPACE).items:
            if found.metadata.name not in names and found.metadata.name.startswith("moderation"):
                self.apps.delete_namespaced_deployment(found.metadata.name, NAMESPACE)
        for pod in self.server.core.list_namespaced_pod(NAMESPACE).items:
            self._start(pod.metadata.name)
        shares = [e["trafficPercent"] for e in spec.get("canary", [])]
        self._route(dict(zip(names, [100 - sum(shares), *shares], strict=True)))

    def _start(self, pod):
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        try:
            self.server.core.patch_namespaced_pod_status(pod, NAMESPACE, {"status": ready})
        except client.ApiException as error:
            if error.status != 404:  # it ended meanwhile
                raise

    def _deployment(self, name, predictor):
        labels = {"app": f"isvc.{name}", "serving.kserve.io/inferenceservice": "moderation"}
        pod = {k: predictor[k] for k in ("containers", "securityContext", "volumes")}
        body = {
            "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        try:
            self.apps.create_namespaced_deployment(NAMESPACE, body)
        except client.ApiException as error:
            if error.status != 409:
                raise
            self.apps.patch_namespaced_deployment(name, NAMESPACE, body)

    def _route(self, weights):
        backends = [{"name": n, "port": 80, "weight": w} for n, w in weights.items()]
        body = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "moderation"},
            "spec": {"rules": [{"backendRefs": backends}]},
        }
        at = {**ROUTES, "namespace": NAMESPACE}
        try:
            made = self.server.custom.create_namespaced_custom_object(**at, body=body)
        except client.ApiException as error:
            if error.status != 409:
                raise
            made = self.server.custom.patch_namespaced_custom_object(
                **at, name="moderation", body=body
            )
        accepted = {
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "observedGeneration": made["metadata"]["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        parent = {
            "controllerName": "example.com/gateway",
            "parentRef": {"name": "gateway"},
            "conditions": [accepted],
        }
        self.server.custom.patch_namespaced_custom_object_status(
            **at, name="moderation", body={"status": {"parents": [parent]}}
        )


@pytest.fixture
def kserve(server, namespace):
    if not {"InferenceService", "HTTPRoute"} <= server.kinds():
        pytest.skip("KServe's resources or the Gateway API's are not served there")
    listed = client.AppsV1Api(server.client).list_deployment_for_all_namespaces().items
    if any(d.metadata.name == "kserve-controller-manager" for d in listed):
        pytest.skip("a real KServe is there and would make the pods itself")
    return KServe(server)


@pytest.fixture
def backend(server, kserve):
    yield KServeBackend(CONFIG, api=ClusterApi(lambda: server.configuration_as(ACCOUNT)))
    for kind in ("configmap", "lease", "events"):
        which = ["--all"] if kind == "events" else ["moderation-release"]
        server.kubectl("-n", NAMESPACE, "delete", kind, *which, "--ignore-not-found")


def in_force(backend, kserve, traffic):
    """Tell a traffic and return what is observed once it is in force."""

    def look():
        backend.route(traffic)
        kserve.round()
        observed = backend.observe()
        return observed if observed.settled else None

    return eventually(look, 60) or backend.observe()


def install(server):
    """Put the InferenceService of the configuration in place of the manifest's."""
    service = build_inference_service(CONFIG, Traffic(baseline=OLD), "Standard")
    server.kubectl("replace", "--validate=strict", "-f", "-", given=[service])


def test_a_release_goes_up_and_back_with_the_rights_of_its_account(server, backend, kserve):
    install(server)
    assert not backend.observe().settled
    for traffic in (
        Traffic(baseline=OLD),
        Traffic(baseline=OLD, candidate=NEW),
        CANARY,
        Traffic(baseline=OLD),
        CANARY.model_copy(update={"candidate_percent": 100}),
        Traffic(baseline=NEW),
        Traffic(baseline=KEPT),
    ):
        observed = in_force(backend, kserve, traffic)
        assert (observed.traffic, observed.settled) == (traffic, True), observed.notes
    slot = kserve.service()["spec"]["predictor"]["name"]
    [deployment] = [
        d.metadata.name
        for d in kserve.apps.list_namespaced_deployment(NAMESPACE).items
        if d.metadata.name.startswith("moderation")
    ]
    assert deployment == deployment_name("moderation", slot)


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_the_server_keeps_every_field_that_is_submitted(server, kserve, mode):
    service = build_inference_service(CONFIG, CANARY, mode)
    service["metadata"]["name"] = f"kept-{mode.lower()}"
    server.kubectl("create", "--validate=strict", "-f", "-", given=[service])
    try:
        found = ClusterApi(lambda: server.client.configuration).get(
            INFERENCE_SERVICES, NAMESPACE, service["metadata"]["name"]
        )
        assert differences(build_spec(CONFIG, CANARY, mode), found["spec"]) == []
    finally:
        server.kubectl("-n", NAMESPACE, "delete", "inferenceservice", service["metadata"]["name"])


def test_the_state_is_replaced_only_over_what_was_read(server, backend):
    first = backend.write_state(state(), revision=None)
    second = backend.write_state(state(step=2), revision=first)
    for revision in (first, None):
        with pytest.raises(Conflict):
            backend.write_state(state(step=3), revision=revision)
    assert backend.read_state() == (state(step=2), second)


def test_the_lease_is_one_holders_until_it_runs_out(backend):
    now = datetime.now(UTC).replace(microsecond=0)
    assert backend.hold_lease("a", now, seconds=15)
    assert not backend.hold_lease("b", now + timedelta(seconds=14), seconds=15)
    assert backend.hold_lease("b", now + timedelta(seconds=15), seconds=15)
    backend.let_go_of_lease("b")
    assert backend.hold_lease("a", now + timedelta(seconds=16), seconds=15)


def test_an_event_told_twice_is_one_of_the_inference_service(server, backend):
    event = ReleaseEvent(
        at=datetime.now(UTC).isoformat(), actor="controller", kind="paused", release="comments",
        candidate=NEW, percent=5, says="too few requests",
    )  # fmt: skip
    backend.record(event)
    backend.record(event)
    [found] = [
        e for e in server.core.list_namespaced_event(NAMESPACE).items
        if e.involved_object.name == "moderation"
    ]  # fmt: skip
    assert (found.reason, found.type) == ("ReleasePaused", "Warning")


def test_the_controller_may_do_no_more_than_that(server, kserve):
    api = ClusterApi(lambda: server.configuration_as(ACCOUNT))
    service = kserve.service()
    for refused in (
        lambda: api.delete(INFERENCE_SERVICES, NAMESPACE, "moderation"),
        lambda: api.create(INFERENCE_SERVICES, NAMESPACE, {**service, "metadata": {"name": "x"}}),
        lambda: api.find(Resource("", "v1", "secrets"), NAMESPACE, ""),
        lambda: api.get(Resource("", "v1", "configmaps"), NAMESPACE, "kfp-launcher"),
        lambda: api.merge(Resource("apps", "v1", "deployments"), NAMESPACE, ACCOUNT, {}),
    ):
        with pytest.raises(ClusterError) as error:
            refused()
        assert error.value.status == 403


def test_a_write_is_seen_in_seconds(server, backend, kserve):
    install(server)
    in_force(backend, kserve, CANARY)
    began = time.monotonic()
    backend.put_back(OLD, by="ada", reason="appeals", at=datetime.now(UTC))
    observed = in_force(backend, kserve, Traffic(baseline=OLD))
    assert (observed.traffic, observed.settled) == (Traffic(baseline=OLD), True), observed.notes
    assert time.monotonic() - began < 60
