"""The release controller's rights, as doctor asks for them and as the manifests grant them."""

from pathlib import Path

import pytest
import yaml

from tests.unit.doctor.clusters import config, one, whole
from tidegate.doctor.cluster import check_cluster
from tidegate.doctor.rights import release_rights

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
MODES = ("Standard", "Knative")


def install(cluster, mode="Standard", name="moderation"):
    whole(cluster)
    path = "/apis/serving.kserve.io/v1beta1/namespaces/tidegate/inferenceservices"
    annotations = {"serving.kserve.io/deploymentMode": mode}
    cluster.documents[f"{path}/{name}"] = {"metadata": {"annotations": annotations}}


@pytest.mark.parametrize("mode", MODES)
def test_what_doctor_asks_for_is_what_the_release_roles_grant(mode):
    files = (
        MANIFESTS / "components" / "release-controller" / "role.yaml",
        MANIFESTS / "components" / f"kserve-{mode.lower()}" / "release-role.yaml",
    )
    granted = {
        (group, resource, name, verb)
        for path in files
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if document["kind"] == "Role"
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }
    rights = release_rights("moderation", mode)
    assert {(r.group, r.resource, r.only, verb) for r in rights for verb in r.verbs} == granted


@pytest.mark.parametrize(("mode", "total"), [("Standard", 12), ("Knative", 12)])
def test_they_are_asked_in_the_name_of_the_controllers_account(cluster, mode, total):
    install(cluster, mode)
    finding = one(check_cluster(), "release rights")
    assert (finding.status, finding.what) == (
        "ok",
        f"tidegate-release has {total} of the {total} it needs",
    )
    asked = [who for _, path, who in cluster.requests if path.endswith("subjectaccessreviews")]
    assert asked.count("system:serviceaccount:tidegate:tidegate-release") == total


def test_a_step_that_is_the_controller_is_asked_for_itself(cluster):
    install(cluster)
    cluster.denied = {("patch", "inferenceservices"), ("create", "events")}
    found = check_cluster(config(rollout={"controller": "step"}))
    denied = [f for f in found if f.name == "release rights" and f.status == "problem"]
    assert [f.what for f in denied] == [
        "tidegate-pipeline may not patch inferenceservices.serving.kserve.io/moderation "
        "(tidegate.rollout.kserve_backend)",
        "tidegate-pipeline may not create events (tidegate.rollout.release_objects)",
    ]
    assert all("components/release-step" in f.mend for f in denied)


def test_where_nothing_is_to_be_released_nothing_is_asked(cluster):
    whole(cluster)
    assert "release rights" not in {f.name for f in check_cluster()}
    install(cluster)
    found = check_cluster(config(rollout={"controller": "none"}))
    assert "release rights" not in {f.name for f in found}
