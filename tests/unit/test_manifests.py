"""The kustomize tree: what it renders, and that an API server and Pod Security would take it.

After a change that is meant, write the rendered overlays anew and read their difference:
``UPDATE_GOLDEN=1 python -m pytest tests/unit/test_manifests.py``.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
GOLDEN = ROOT / "tests" / "golden" / "manifests"
OVERLAYS = sorted(folder.name for folder in (MANIFESTS / "overlays").iterdir())
#: It goes into KFP's own namespace, which is not ours to restrict.
GUEST = "kind-single-user"
COMPONENTS = sorted(folder.name for folder in (MANIFESTS / "components").iterdir())
KUBERNETES = "1.36"
IMAGES = {"tidegate/cpu", "tidegate/gpu", "tidegate/serving", "tidegate/monitor"}
#: Kinds of operators: Kubernetes' own schemas do not have them.
CUSTOM = {"InferenceService", "PodMonitor", "Profile"}

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")


def rendered(folder):
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def documents(folder):
    return list(yaml.safe_load_all(rendered(folder)))


def keyed(found):
    return {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in found}


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request):
    return documents(MANIFESTS / "overlays" / request.param)


def of_kind(found, kind):
    return [document for document in found if document["kind"] == kind]


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


_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def restricted_violations(spec):
    """Return what the Pod Security level ``restricted`` refuses in a pod spec.

    Follows https://kubernetes.io/docs/concepts/security/pod-security-standards/, Linux pods.
    """
    pod = spec.get("securityContext") or {}
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for volume in spec.get("volumes", []):
        found += [f"volume type {kind}" for kind in volume.keys() - {"name"} - _VOLUMES]
    found += ["sysctls"] if pod.get("sysctls") else []
    kinds = ("containers", "initContainers", "ephemeralContainers")
    for container in [c for kind in kinds for c in spec.get(kind, [])]:
        own = container.get("securityContext") or {}
        name = container["name"]

        def effective(key, own=own):
            return own.get(key, pod.get(key))

        capabilities = own.get("capabilities") or {}
        profile = (effective("seccompProfile") or {}).get("type")
        rules = {
            "privileged": not own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": "ALL" in capabilities.get("drop", []),
            "capabilities.add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": effective("runAsNonRoot") is True,
            "runAsUser": effective("runAsUser") != 0,
            "seccompProfile": profile in {"RuntimeDefault", "Localhost"},
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "seLinuxOptions": not {"user", "role"} & (effective("seLinuxOptions") or {}).keys(),
        }
        found += [f"{name}: {rule}" for rule, kept in rules.items() if not kept]
    return found


GOOD = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


def changed(**container):
    [good] = GOOD["containers"]
    return {**GOOD, "containers": [{**good, **container}]}


@pytest.mark.parametrize(
    "spec",
    [
        {**GOOD, "securityContext": {}},
        {**GOOD, "securityContext": {"runAsNonRoot": True}},
        {**GOOD, "securityContext": {**GOOD["securityContext"], "runAsUser": 0}},
        {**GOOD, "hostNetwork": True},
        {**GOOD, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        {**GOOD, "initContainers": [{"name": "bare"}]},
        changed(securityContext={"allowPrivilegeEscalation": False}),
        changed(securityContext={"capabilities": {"drop": ["ALL"]}}),
        changed(ports=[{"containerPort": 1, "hostPort": 1}]),
    ],
)
def test_the_check_of_pod_security_finds_what_restricted_refuses(spec):
    assert restricted_violations(GOOD) == []
    assert restricted_violations(spec)


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


def unknown_fields(value, kind, models, path=""):
    """Return the paths that a generated model of a Kubernetes API does not have."""
    if value is None:
        return []
    if inner := re.fullmatch(r"(?:list\[|dict\(str, )(.+)[\])]", kind):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [bad for k, v in items for bad in unknown_fields(v, inner[1], models, f"{path}.{k}")]
    model = next((getattr(module, kind) for module in models if hasattr(module, kind)), None)
    if model is None:
        assert not kind.startswith("V1"), f"no model {kind}"
        return []
    types = {model.attribute_map[field]: kind for field, kind in model.openapi_types.items()}
    bad = [f"{path}.{key}" for key in value.keys() - types.keys()]
    for key in value.keys() & types.keys():
        bad += unknown_fields(value[key], types[key], models, f"{path}.{key}")
    return bad


@pytest.fixture
def kserve_models(monkeypatch):
    # KServe reads the command line of whoever imports it.
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    return [importlib.import_module("kserve.models"), importlib.import_module("kubernetes.client")]


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
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"] + spec.get("initContainers", []):
            image, _, tag = container["image"].partition(":")
            assert image in IMAGES
            assert tag == "0.1.0"
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


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
def test_serving_and_the_drift_check_wait_for_the_first_release(overlay):
    [service], [check] = of_kind(overlay, "InferenceService"), of_kind(overlay, "CronJob")
    assert service["metadata"]["annotations"]["serving.kserve.io/stop"] == "true"
    assert check["spec"]["suspend"] is True


@needs_kubectl
def test_the_knative_predictor_says_nothing_that_knative_refuses_without_its_feature_flags():
    [service] = of_kind(documents(MANIFESTS / "overlays" / "knative"), "InferenceService")
    predictor = service["spec"]["predictor"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    flagged = {"securityContext", "priorityClassName", "nodeSelector", "tolerations", "affinity"}
    assert not flagged & predictor.keys()
    assert len(predictor["containers"][0]["ports"]) == 1


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


def as_plain_cel(expression):
    """Write the messages of admission policies as maps, which any CEL evaluator knows."""
    plain = re.sub(r"\b(?:JSONPatch|Object(?:\.\w+)*)\{", "{", expression)
    return re.sub(r"([{,]\s*)(\w+):", r'\1"\2":', plain)


def with_defaults(pod):
    """Return a pod as the admission policy leaves it."""
    cel = pytest.importorskip("cel")
    policy = MANIFESTS / "components" / "restricted-defaults" / "policy.yaml"
    mutations = next(yaml.safe_load_all(policy.read_text()))["spec"]["mutations"]
    pod = yaml.safe_load(yaml.safe_dump(pod))
    for mutation in mutations:
        expression = as_plain_cel(mutation["jsonPatch"]["expression"])
        for patch in cel.evaluate(expression, {"object": pod}):
            assert patch["op"] == "add"
            *parents, last = patch["path"].strip("/").split("/")
            target = pod
            for key in parents:
                target = target[int(key)] if isinstance(target, list) else target[key]
            assert last not in target
            target[last] = patch["value"]
    return pod


SUGGESTION = {
    "metadata": {"labels": {"katib.kubeflow.org/suggestion": "comments"}},
    "spec": {
        "securityContext": {},
        "containers": [{"name": "suggestion"}, {"name": "early-stopping"}],
    },
}
TRIAL = {
    "metadata": {"labels": {"katib.kubeflow.org/trial": "comments-1"}},
    "spec": {
        **GOOD,
        "containers": [*GOOD["containers"], {"name": "metrics-logger-and-collector"}],
    },
}
STEP = {
    "metadata": {},
    "spec": {**GOOD, "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
}


@pytest.mark.parametrize(
    "pod", [SUGGESTION, TRIAL, STEP, {"metadata": {}, "spec": SUGGESTION["spec"]}]
)
def test_pods_of_katib_and_of_pipelines_are_admitted_with_the_defaults_and_not_without(pod):
    assert restricted_violations(pod["spec"])
    assert restricted_violations(with_defaults(pod)["spec"]) == []


def test_only_katibs_own_pods_are_told_a_user():
    assert with_defaults(SUGGESTION)["spec"]["securityContext"]["runAsUser"] == 10001
    assert "runAsUser" not in with_defaults(STEP)["spec"]["securityContext"]


@pytest.mark.parametrize(
    "spec",
    [
        changed(securityContext={"privileged": True}),
        {**GOOD, "securityContext": {**GOOD["securityContext"], "runAsUser": 0}},
        {**GOOD, "securityContext": {**GOOD["securityContext"], "runAsNonRoot": False}},
        {**GOOD, "hostNetwork": True},
    ],
)
def test_what_a_pod_says_for_itself_is_left_to_pod_security(spec):
    assert with_defaults({"metadata": {}, "spec": spec})["spec"] == spec
    assert restricted_violations(spec)
