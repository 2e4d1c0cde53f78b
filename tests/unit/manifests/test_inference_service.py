"""The model server's InferenceService: fields that KServe knows, arguments that the server has."""

import pytest

from tests.unit.manifests.kserve_fields import unknown_fields
from tests.unit.manifests.rendering import MANIFESTS, documents, needs_kubectl, of_kind


@needs_kubectl
def test_kserve_knows_every_field_of_the_inference_service(overlay, kserve_models):
    [service] = of_kind(overlay, "InferenceService")
    assert unknown_fields(service, "V1beta1InferenceService", kserve_models) == []


@pytest.mark.parametrize(
    ("place", "field"),
    [(("spec", "predictor"), "minReplica"), (("spec", "predictor", "containers", 0), "imagee")],
)
@needs_kubectl
def test_a_misspelt_field_of_the_inference_service_is_found(place, field, kserve_models):
    [service] = of_kind(documents(MANIFESTS / "overlays" / "kind"), "InferenceService")
    inner = service
    for key in place:
        inner = inner[key]
    inner[field] = 1
    [bad] = unknown_fields(service, "V1beta1InferenceService", kserve_models)
    assert bad.endswith(f".{field}")


@needs_kubectl
def test_the_predictor_is_started_with_arguments_that_the_server_has(overlay, monkeypatch):
    from tidegate.serving import __main__ as command

    asked = {}
    monkeypatch.setattr(command, "serve", lambda bundle, **given: asked.update(given, at=bundle))
    [service] = of_kind(overlay, "InferenceService")
    [container] = service["spec"]["predictor"]["containers"]
    assert container["command"] == ["python", "-m", command.__spec__.parent]
    assert command.main(container["args"]) == 0
    open_ports = {port["containerPort"] for port in container["ports"]}
    assert open_ports == {asked["port"], asked["grpc_port"]} - {None}
    assert (asked["host"], str(asked["at"])) == ("0.0.0.0", "/mnt/models")
    # manifests/README.md patches the bundle's place by this path.
    assert container["env"][0]["name"] == "STORAGE_URI"
    assert container["env"][0]["value"].startswith("pvc://tidegate-workspace/models/")
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].startswith("/v2/health/")


@needs_kubectl
def test_the_knative_predictor_says_nothing_that_knative_refuses_without_its_feature_flags():
    [service] = of_kind(documents(MANIFESTS / "overlays" / "knative"), "InferenceService")
    predictor = service["spec"]["predictor"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    flagged = {"securityContext", "priorityClassName", "nodeSelector", "tolerations", "affinity"}
    assert not flagged & predictor.keys()
    assert len(predictor["containers"][0]["ports"]) == 1
