"""The kustomize tree: what it renders, and that an API server and Pod Security would take it.

After a change that is meant, write the rendered overlays anew and read their difference:
``UPDATE_GOLDEN=1 python -m pytest tests/unit/manifests/test_overlays.py``.
"""

import os
import shutil

import pytest
import yaml

from tests.unit.manifests.pod_security import restricted_violations
from tests.unit.manifests.rendering import (
    GUEST,
    MANIFESTS,
    OVERLAYS,
    ROOT,
    documents,
    keyed,
    needs_kubectl,
    of_kind,
    rendered,
)

GOLDEN = ROOT / "tests" / "golden" / "manifests"
COMPONENTS = sorted(folder.name for folder in (MANIFESTS / "components").iterdir())
KUBERNETES = "1.36"
IMAGES = {"tidegate/cpu", "tidegate/gpu", "tidegate/serving", "tidegate/monitor"}
#: Kinds of operators: Kubernetes' own schemas do not have them.
CUSTOM = {"InferenceService", "PodMonitor", "Profile"}


def pod_specs(found):
    """Yield every pod template that we write, with its name."""
    for document in found:
        name = f"{document['kind']}/{document['metadata']['name']}"
        spec = document.get("spec", {})
        if document["kind"] == "InferenceService":
            yield name, spec["predictor"]
        elif document["kind"] == "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]["spec"]
        elif "template" in spec:
            yield name, spec["template"]["spec"]


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_renders_as_agreed(name):
    text = rendered(MANIFESTS / "overlays" / name)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    agreed = list(yaml.safe_load_all(golden.read_text(encoding="utf-8")))
    assert keyed(yaml.safe_load_all(text)) == keyed(agreed)


@needs_kubectl
@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_can_be_added_to_the_base_alone(name, tmp_path):
    tree = shutil.copytree(MANIFESTS, tmp_path / "manifests")
    store = tree / "components" / "object-store"
    shutil.copy(store / "keys.env.example", store / "keys.env")
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [manifests/base]\ncomponents: [manifests/components/{name}]\n"
    )
    base, both = keyed(documents(MANIFESTS / "base")), keyed(documents(tmp_path))
    assert base != both
    assert base.keys() <= both.keys() or name == "pipelines-single-user"


@needs_kubectl
def test_kubernetes_takes_every_core_resource(overlay):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    core = [document for document in overlay if document["kind"] not in CUSTOM]
    assert len(core) >= 15
    for document in core:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.fixture(scope="module", params=[name for name in OVERLAYS if name != GUEST])
def own_namespace(request):
    return documents(MANIFESTS / "overlays" / request.param)


@needs_kubectl
def test_everything_is_in_the_one_namespace_and_that_enforces_restricted(own_namespace):
    [namespace] = of_kind(own_namespace, "Namespace")
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
    assert labels["katib.kubeflow.org/metrics-collector-injection"] == "enabled"
    cluster_wide = {"Namespace", "PriorityClass", "Profile"}
    for document in own_namespace:
        kind = document["kind"]
        outside = kind in cluster_wide or kind.startswith("MutatingAdmission")
        expected = None if outside else namespace["metadata"]["name"]
        assert document["metadata"].get("namespace") == expected, kind


@needs_kubectl
def test_every_pod_that_we_write_is_admitted_and_runs_one_of_our_images(overlay):
    specs = dict(pod_specs(overlay))
    assert specs
    for name, spec in specs.items():
        assert restricted_violations(spec) == [], name
        calls_the_api = spec["serviceAccountName"] in ("tidegate-release", "tidegate-trigger")
        assert spec["automountServiceAccountToken"] is calls_the_api
        for container in spec["containers"] + spec.get("initContainers", []):
            image, _, tag = container["image"].partition(":")
            assert image in IMAGES
            assert tag == "0.1.0"
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


@needs_kubectl
def test_serving_the_drift_check_and_the_trigger_wait_for_the_first_release(overlay):
    [service], jobs = of_kind(overlay, "InferenceService"), of_kind(overlay, "CronJob")
    assert service["metadata"]["annotations"]["serving.kserve.io/stop"] == "true"
    assert {job["metadata"]["name"] for job in jobs} == {"tidegate-drift-check", "tidegate-trigger"}
    assert all(job["spec"]["suspend"] for job in jobs)


@needs_kubectl
def test_all_traffic_is_denied_but_for_what_a_policy_opens_by_name(own_namespace):
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind(own_namespace, "NetworkPolicy")}
    deny = policies.pop("default-deny")
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        for direction, peers in (("Ingress", "from"), ("Egress", "to")):
            rules = spec.get(direction.lower(), [])
            assert bool(rules) == (direction in spec["policyTypes"]), name
            # A rule without peers or ports would open everything.
            assert all(rule[peers] and rule["ports"] for rule in rules), name
        assert spec["podSelector"] or name == "dns"


@needs_kubectl
def test_beside_a_single_user_pipelines_nothing_binds_the_pods_of_others():
    guest = documents(MANIFESTS / "overlays" / GUEST)
    kinds = {document["kind"] for document in guest}
    assert not kinds & {"Namespace", "ResourceQuota", "LimitRange", "NetworkPolicy"}
    assert not any(kind.startswith("MutatingAdmission") for kind in kinds)
    places = {document["metadata"].get("namespace") for document in guest}
    assert places == {"kubeflow", None}
    for binding in of_kind(guest, "RoleBinding"):
        assert [subject["namespace"] for subject in binding["subjects"]] == ["kubeflow"]


@needs_kubectl
def test_the_quota_leaves_gpus_to_overlays_with_the_gpu_component():
    def gpus(name):
        [quota] = of_kind(documents(MANIFESTS / "overlays" / name), "ResourceQuota")
        return quota["spec"]["hard"]["requests.nvidia.com/gpu"]

    assert (gpus("kind"), gpus("knative"), gpus("shared")) == ("0", "0", "4")


@needs_kubectl
def test_the_object_store_secret_is_made_of_a_file_that_git_does_not_keep(tmp_path):
    committed = MANIFESTS / "components" / "object-store"
    assert (committed / ".gitignore").read_text() == "keys.env\n"
    example = (committed / "keys.env.example").read_text().splitlines()
    assert all(line.endswith("=") for line in example)
    folder = shutil.copytree(committed, tmp_path / "store")
    (folder / "keys.env").write_text("\n".join(f"{line}x" for line in example))
    [secret] = documents(folder)
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
    assert secret["data"] == dict.fromkeys(keys, "eA==")
