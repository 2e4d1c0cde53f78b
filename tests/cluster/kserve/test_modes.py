"""Which deployment mode is in force, and when none may be assumed."""

import json

import pytest

from tests.cluster.kserve.conftest import OLD
from tests.fake_kubernetes import Fault
from tidegate.errors import BadInput
from tidegate.records import Traffic
from tidegate.rollout.kserve_traffic import detect_mode

MODE = "serving.kserve.io/deploymentMode"


def service(annotation=None, status=None):
    return {
        "metadata": {"name": "moderation", "annotations": {MODE: annotation} if annotation else {}},
        "status": {"deploymentMode": status} if status else {},
    }


@pytest.mark.parametrize(
    ("annotation", "status", "default", "mode"),
    [
        ("Standard", None, None, "Standard"),
        ("RawDeployment", None, "Knative", "Standard"),
        ("Serverless", "Knative", None, "Knative"),
        (None, "Standard", "Knative", "Standard"),
        (None, None, "Standard", "Standard"),
        (None, None, "Serverless", "Knative"),
    ],
)
def test_the_status_counts_then_the_annotation_then_kserves_default(
    annotation, status, default, mode
):
    assert detect_mode(service(annotation, status), default) == mode


@pytest.mark.parametrize(
    ("annotation", "status", "default", "says"),
    [
        (
            "Standard",
            "Knative",
            "Standard",
            "runs in Knative .* its annotation says Standard",
        ),
        ("ModelMesh", None, "Standard", "ModelMesh, in which a release cannot step"),
        (None, "ModelMesh", None, "ModelMesh, in which a release cannot step"),
        (None, None, "ModelMesh", "default mode is ModelMesh"),
        (None, None, None, "its deployment mode is not known"),
    ],
)
def test_a_mode_that_is_unknown_unsupported_or_contradictory_is_refused(
    annotation, status, default, says
):
    with pytest.raises(BadInput, match=says):
        detect_mode(service(annotation, status), default)


@pytest.fixture
def unsaid(cluster):
    made = cluster()
    del made.service()["metadata"]["annotations"][MODE]
    del made.service()["status"]["deploymentMode"]
    return made


def test_kserves_own_configuration_is_asked_when_the_service_says_nothing(unsaid):
    unsaid.kubernetes.put(
        "configmaps",
        {
            "metadata": {"name": "inferenceservice-config", "namespace": "kserve"},
            "data": {"deploy": json.dumps({"defaultDeploymentMode": "Knative"})},
        },
        "",
    )
    unsaid.backend.route(Traffic(baseline=OLD))
    assert unsaid.service()["spec"]["predictor"]["scaleMetric"] == "concurrency"


def test_a_default_that_may_not_be_read_is_not_guessed(unsaid):
    unsaid.kubernetes.faults.append(Fault("GET", "inferenceservice-config", 403, times=9))
    with pytest.raises(BadInput, match="write the annotation"):
        unsaid.backend.route(Traffic(baseline=OLD))
