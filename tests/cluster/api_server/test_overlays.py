"""The overlays as they are, and what comes into their namespace, before a real API server."""

import pytest
import yaml

from pipelines.compile import compile_pipeline, pipeline_resources
from tests.cluster.api_server.conftest import NAMESPACE, eventually
from tests.unit.manifests.foreign_pods import STEP, SUGGESTION
from tests.unit.manifests.pod_security import GOOD, changed
from tests.unit.manifests.rendering import MANIFESTS, OVERLAYS, needs_kubectl
from tidegate.config import ClusterConfig

pytestmark = needs_kubectl


@pytest.fixture
def kubeflow(server):
    """Kubeflow's own namespace, made where it is not there."""
    there = {space.metadata.name for space in server.core.list_namespace().items}
    if "kubeflow" not in there:
        server.kubectl("create", "namespace", "kubeflow")
    yield
    if "kubeflow" not in there:
        server.kubectl("delete", "namespace", "kubeflow")


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.usefixtures("kubeflow")
def test_an_overlay_is_taken_plainly_and_by_the_server_and_then_nothing_changes(
    server, installable, name
):
    folder = installable(name)
    with server.installed(folder):
        server.kubectl("apply", "--server-side", "-k", folder)
        told = server.kubectl("diff", "-k", folder)
        assert told == ""


def pods(server, **labels):
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    return server.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items


def deployment(pod):
    labels = pod["metadata"]["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "foreign", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": pod},
    }


def as_pod(name, foreign):
    metadata = {**foreign["metadata"], "name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", **foreign, "metadata": metadata}


def test_a_suggestion_of_katibs_making_gets_its_pod(server, namespace):
    server.kubectl("create", "-f", "-", given=[deployment(SUGGESTION)])
    label = {"katib.kubeflow.org/suggestion": "comments"}
    (pod,) = eventually(lambda: pods(server, **label))
    assert pod.spec.security_context.run_as_non_root is True
    assert pod.spec.security_context.run_as_user == 10001
    assert pod.spec.security_context.fs_group == 10001
    assert pod.spec.security_context.seccomp_profile.type == "RuntimeDefault"
    for container in pod.spec.containers:
        assert container.security_context.allow_privilege_escalation is False
        assert container.security_context.capabilities.drop == ["ALL"]
        # The quota takes no pod that asks for nothing.
        assert container.resources.requests == {"cpu": "50m", "memory": "128Mi"}
    server.kubectl("-n", NAMESPACE, "delete", "deployment", "foreign")


def test_a_step_of_kubeflow_pipelines_making_is_admitted(server, namespace):
    server.kubectl("create", "-f", "-", given=[as_pod("step", STEP)])
    step = server.core.read_namespaced_pod("step", NAMESPACE)
    assert step.spec.security_context.run_as_non_root is True
    # The image's own user runs it.
    assert step.spec.security_context.run_as_user is None
    assert step.spec.containers[1].security_context.run_as_non_root is None


def image(spec):
    return {**spec, "containers": [{**c, "image": "it:1"} for c in spec["containers"]]}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {**GOOD, "hostNetwork": True},
            'violates PodSecurity "restricted:latest": host namespaces',
        ),
        (changed(securityContext={"privileged": True}), "privileged"),
        (
            {**GOOD, "securityContext": {**GOOD["securityContext"], "runAsUser": 0}},
            "runAsUser=0",
        ),
        (changed(resources={"limits": {"nvidia.com/gpu": "1"}}), "exceeded quota: tidegate"),
    ],
)
def test_what_breaks_the_namespaces_rules_is_refused(server, namespace, spec, told):
    pod = as_pod("bad", {"metadata": {}, "spec": image(spec)})
    assert told in server.refusal("create", "-f", "-", given=[pod])


def test_the_drift_checks_job_gets_its_pod(server, namespace):
    job = ("create", "job", "drift", "--from=cronjob/tidegate-drift-check")
    server.kubectl("-n", NAMESPACE, *job)
    (pod,) = eventually(lambda: pods(server, **{"job-name": "drift"}))
    assert pod.spec.priority == 10000
    assert not [volume for volume in pod.spec.volumes if volume.projected]


def test_the_compiled_pipeline_is_taken_as_resources(server, namespace):
    if not {"Pipeline", "PipelineVersion"} <= server.kinds():
        pytest.skip("Pipeline and PipelineVersion are not served there")
    text = compile_pipeline("retrain", ClusterConfig(image="r.example/cpu@sha256:" + "0" * 64))
    resources = pipeline_resources(text, NAMESPACE)
    for told in ("created", "unchanged"):
        lines = server.kubectl("apply", "-f", "-", given=resources).splitlines()
        assert [line.rpartition(" ")[2] for line in lines] == [told] * 2


@pytest.mark.parametrize("path", sorted((MANIFESTS.parent / "tests" / "golden").glob("*.yaml")))
def test_the_golden_objects_are_taken(server, namespace, path):
    documents = list(yaml.safe_load_all(path.read_text()))
    missing = {document["kind"] for document in documents} - server.kinds()
    if missing:
        pytest.skip(f"not served there: {', '.join(sorted(missing))}")
    server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", path)
