"""A search as a pipeline step runs it, on a real API server, with the fake Katib's trials."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml

from tests.cluster.api_server.conftest import NAMESPACE, eventually
from tests.cluster.api_server.katib import KatibsObjects
from tests.fake_katib import FakeKatib, workspace_of
from tests.unit.manifests.foreign_pods import COLLECTOR
from tests.unit.manifests.rendering import needs_kubectl
from tidegate.cluster_api import EXPERIMENTS, Clock, ClusterApi
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.search import katib_runs
from tidegate.search.leftovers import remove_leftovers
from tidegate.search.outcome import SearchFailed

pytestmark = [needs_kubectl, pytest.mark.usefixtures("namespace", "katib_is_ours")]

STEP = "tidegate-pipeline"
WORKFLOW = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "run", "namespace": NAMESPACE},
    "spec": {"entrypoint": "none", "templates": [{"name": "none", "suspend": {}}]},
}


@pytest.fixture(scope="module")
def katib_is_ours(server):
    if "Experiment" not in server.kinds():
        pytest.skip("Katib's resources are not served there")
    from kubernetes import client

    deployments = client.AppsV1Api(server.client).list_deployment_for_all_namespaces().items
    if any(deployment.metadata.name == "katib-controller" for deployment in deployments):
        pytest.skip("a real Katib is there and would run the trials itself")


@pytest.fixture
def step(server, tmp_path, features, monkeypatch):
    """A search step: its API as its own ServiceAccount, and a Katib beside it as administrator."""
    monkeypatch.setattr("tidegate.search.trial._SHORTEST_JOB_SECONDS", 0)
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    workspace = workspace_of(tmp_path)
    objects = KatibsObjects(server, NAMESPACE)
    katib = FakeKatib(objects, Clock(), workspace)
    ticks = [katib.round]

    def sleep(seconds):
        for tick in ticks:
            tick()
        time.sleep(min(seconds, 0.1))

    def api():
        return ClusterApi(lambda: server.configuration_as(STEP), Clock(sleep=sleep))

    def search(**changes):
        told = {"algorithms": ["logistic"], "minutes": 3, "trials": 3, "ensemble_members": 1}
        return katib_runs.run_search(
            features,
            SearchConfig.model_validate({**told, "backend": "katib", **changes}),
            tmp_path / "out",
            cluster=ClusterConfig(),
            workspace=workspace,
            api=api(),
            clock=Clock(sleep=sleep),
        )

    def left():
        # What an Experiment owns goes after it, by Kubernetes' own collector.
        return [
            d["metadata"]["name"] for kind in ("experiments", "trials") for d in objects.of(kind)
        ]

    yield SimpleNamespace(
        search=search, api=api, katib=katib, objects=objects, ticks=ticks, left=left,
        workspace=workspace, features=features, out=tmp_path / "out",
    )  # fmt: skip
    for document in objects.of("experiments"):
        server.kubectl("-n", NAMESPACE, "delete", "experiment", document["metadata"]["name"])


def test_a_search_is_submitted_followed_collected_and_taken_away(step):
    result = step.search(algorithms=["logistic", "xgboost"], trials=5, parallel=2)
    assert [trial.status for trial in result.trials] == ["succeeded"] * 5
    assert sorted(trial.algorithm for trial in result.trials) == ["logistic"] * 3 + ["xgboost"] * 2
    assert eventually(lambda: not step.left())
    assert list((step.workspace / "search").glob("*")) == []


def test_a_step_that_was_killed_adopts_its_running_experiment(step, monkeypatch, capsys):
    class Killed(BaseException):
        pass

    def kill():
        if len(step.objects.of("trials")) >= 2:
            raise Killed

    step.ticks.append(kill)
    with monkeypatch.context() as patched:
        patched.setattr(katib_runs._KatibSearch, "_take_away", lambda *_: None)
        with pytest.raises(Killed):
            step.search(trials=5)
    step.ticks.remove(kill)
    (running,) = step.objects.of("experiments")
    capsys.readouterr()
    result = step.search(trials=5)
    assert len(result.trials) == 5
    assert f"going on with the Experiment {running['metadata']['name']}" in capsys.readouterr().out
    assert eventually(lambda: not step.left())


def test_an_experiment_that_somebody_deletes_ends_the_search(step, server):
    def delete():
        for document in step.objects.of("experiments"):
            server.kubectl("-n", NAMESPACE, "delete", "experiment", document["metadata"]["name"])

    step.ticks.append(delete)
    with pytest.raises(SearchFailed, match="was deleted while it ran"):
        step.search()


SEARCH = """
import sys
from pathlib import Path
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.search.katib_runs import run_search
features, workspace, out = map(Path, sys.argv[1:])
search = SearchConfig(algorithms=("xgboost",), minutes=3, backend="katib")
run_search(features, search, out, cluster=ClusterConfig(), workspace=workspace)
"""


def kubeconfig_as(server, account, path):
    """Write a kubeconfig that holds a ServiceAccount's token."""
    document = yaml.safe_load(
        server.kubectl("config", "view", "--minify", "--flatten", "--raw", "-o", "yaml")
    )
    document["users"][0]["user"] = {"token": server.token(account)}
    path.write_text(yaml.safe_dump(document))
    return path


def test_sigterm_takes_the_experiment_away_before_the_step_ends(step, server, tmp_path):
    kubeconfig = kubeconfig_as(server, STEP, tmp_path / "kubeconfig")
    process = subprocess.Popen(
        [sys.executable, "-c", SEARCH, step.features, step.workspace, step.out],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert eventually(lambda: step.objects.of("experiments"), 60)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert step.objects.of("experiments") == []
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said


@pytest.fixture
def run_of_argo(server, monkeypatch):
    """A Workflow, and the pod of a step that it owns."""
    if "Workflow" not in server.kinds():
        pytest.skip("Argo's resources are not served there")
    made = server.custom.create_namespaced_custom_object(
        "argoproj.io", "v1alpha1", NAMESPACE, "workflows", WORKFLOW
    )
    owner = {key: made[key] for key in ("apiVersion", "kind")}
    owner |= {key: made["metadata"][key] for key in ("name", "uid")}
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": "it:1", "securityContext": secure}
    pod = {
        "metadata": {"name": "run-step", "ownerReferences": [owner]},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    server.core.create_namespaced_pod(NAMESPACE, pod)
    monkeypatch.setenv("KFP_POD_NAME", "run-step")
    yield owner
    server.kubectl("-n", NAMESPACE, "delete", "workflow", "run", "--ignore-not-found")


def test_an_experiment_goes_with_the_run_that_owns_it(step, server, run_of_argo, monkeypatch):
    def end_the_run():
        if step.objects.of("trials"):
            (experiment,) = step.objects.of("experiments")
            owners.extend(experiment["metadata"]["ownerReferences"])
            raise KeyboardInterrupt

    owners = []
    step.ticks.append(end_the_run)
    with monkeypatch.context() as patched:
        patched.setattr(katib_runs._KatibSearch, "_take_away", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            step.search()
    assert owners == [run_of_argo]
    assert len(step.left()) >= 2
    # Its owner is there and its minutes are not over: it is no leftover.
    now = datetime.now(UTC)
    assert remove_leftovers(step.api(), NAMESPACE, step.workspace, now=now) == []
    server.kubectl("-n", NAMESPACE, "delete", "workflow", "run")
    assert eventually(lambda: not step.left())


def test_the_janitor_removes_what_nobody_waits_for(step, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(katib_runs._KatibSearch, "_take_away", lambda *_: None)
        step.search()
    (old,) = step.objects.of("experiments")
    later = datetime.now(UTC) + timedelta(hours=2)
    gone = remove_leftovers(step.api(), NAMESPACE, step.workspace, now=later)
    assert gone == [old["metadata"]["name"]]
    assert eventually(lambda: not step.left())


def test_a_trials_job_gets_its_pod_in_the_restricted_namespace(step, server, monkeypatch):
    jobs = []

    def start_as_katib():
        for experiment in step.objects.of("experiments"):
            job = experiment["spec"]["trialTemplate"]["trialSpec"]
            name = experiment["metadata"]["name"] + "-trial"
            job = {**job, "metadata": {"name": name, "namespace": NAMESPACE}}
            job["spec"]["template"]["spec"]["containers"].append(COLLECTOR)
            jobs.append(job)
        raise KeyboardInterrupt

    step.ticks[:] = [start_as_katib]
    with pytest.raises(KeyboardInterrupt):
        step.search()
    (job,) = jobs
    server.kubectl("create", "--validate=strict", "-f", "-", given=[job])
    selector = f"job-name={job['metadata']['name']}"
    (pod,) = eventually(
        lambda: server.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
    )
    assert pod.spec.service_account_name == "tidegate-trial"
    assert not [volume for volume in pod.spec.volumes if volume.projected]
    assert pod.spec.containers[1].security_context.allow_privilege_escalation is False
    server.kubectl("-n", NAMESPACE, "delete", "job", job["metadata"]["name"])
    assert step.api().get(EXPERIMENTS, NAMESPACE, "any") is None
