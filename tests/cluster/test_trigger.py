"""`tidegate trigger` where retrains run on Kubeflow Pipelines and its memory is a ConfigMap."""

import json
from pathlib import Path

import pytest
import yaml

from pipelines import remedies
from tests.cluster.fake_kfp import Fault as KfpFault
from tests.cluster.fake_kfp import only
from tests.fake_kubernetes import FakeKubernetes, Fault
from tests.toy_bundle import write_toy_bundle
from tests.unit.test_watch import COLUMNS, posts
from tidegate import cluster_api
from tidegate.config import RunConfig
from tidegate.evaluation.prior_shift import estimate_prior_shift
from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle, with_decision_rule
from tidegate.records import ReleaseState, Signal, TriggerState
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_table

CRON_JOB = Path(__file__).parents[2] / "manifests" / "components" / "trigger" / "cron-job.yaml"
DONE = dict.fromkeys(
    ("plan", "ingest", "validate", "featurize", "search", "assemble", "evaluate", "report"),
    "SUCCEEDED",
)
PROMOTED = ("SUCCEEDED", {**DONE, "promoted": "SUCCEEDED", "release": "SUCCEEDED"})
HELD = ("SUCCEEDED", {**DONE, "condition-2": "SKIPPED"})
RUNNING = ("RUNNING", {"plan": "RUNNING"})
DATA = {
    "source": "s3://bucket/posts.parquet",
    "text": "body",
    "label": "violating",
    "time": "created_at",
}


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    with FakeKubernetes() as server:
        monkeypatch.setattr(cluster_api, "load_configuration", lambda *_: server.configuration())
        monkeypatch.chdir(tmp_path)
        yield server


@pytest.fixture
def trigger(kubernetes, tidegate, config, tmp_path):
    path = config(data=DATA, rollout={"model_store": "/workspace/models"})

    def run(*words):
        return tidegate("trigger", path, *words)

    run.refused = lambda *words: tidegate.refused("trigger", path, *words)
    return run


def remembered(kubernetes):
    return TriggerState.model_validate_json(only(kubernetes.of("configmaps"))["data"]["state"])


def noticed(folder, *causes):
    signals = [
        Signal(model="posts", window=f"2026-01-{day:02}", cause=cause, says="it moved")
        for day, cause in enumerate(causes, 1)
    ]
    path = folder / "signals.json"
    path.write_text(json.dumps([signal.model_dump(mode="json") for signal in signals]))
    return path


def test_a_retrain_starts_a_run_under_the_requests_name_and_is_followed_by_later_calls(
    kfp, kubernetes, trigger, tmp_path
):
    kfp.story = [RUNNING, PROMOTED]
    code, said, _ = trigger("--retrain", "light", "--why", "new slang")
    assert code == 0
    run = only(kfp.runs)
    assert f"{run['display_name']} runs; the next call sees how it ended" in said
    given = RunConfig.model_validate_json(run["runtime_config"]["parameters"]["config"])
    assert given.search.refresh
    assert (given.data.mix.recent_days, given.data.mix.memory_share) == (28, 0.5)
    assert only(kubernetes.of("configmaps"))["metadata"]["name"] == "moderation-trigger"
    assert remembered(kubernetes).running.name == run["display_name"]

    code, said, _ = trigger("--signals", noticed(tmp_path, "covariate_shift"))
    assert "still runs; 1 signal waits" in said
    assert len(kfp.runs) == 1

    trigger()
    state = remembered(kubernetes)
    assert state.running is None
    assert state.waiting == (), "what was noticed about the old model went with it"
    _, said, _ = trigger("--log")
    assert [line.split("  ")[2] for line in said.splitlines()] == [
        "light_refresh for hand: new slang",
        f"ended: decision promote; {kfp.address}/#/runs/details/{run['run_id']}",
    ]


def test_what_waited_for_a_run_that_was_held_is_one_request_after_it(
    kfp, kubernetes, trigger, tmp_path
):
    kfp.story = [HELD]
    trigger("--retrain", "full")
    given = only(kfp.runs)["runtime_config"]["parameters"]["config"]
    assert not RunConfig.model_validate_json(given).search.refresh
    kfp.story = [RUNNING]
    signals = noticed(tmp_path, *["covariate_shift"] * 9)
    trigger("--signals", signals)
    kfp.runs[0]["looks"], kfp.story = 0, [HELD]
    trigger()
    assert len(remembered(kubernetes).waiting) == 9, "cooling down"
    assert "decision not to promote" in remembered(kubernetes).log[-1].says


@pytest.mark.parametrize("before", [True, False], ids=["before the run", "after the run"])
def test_a_trigger_that_was_killed_while_it_launched_launches_once(
    kfp, kubernetes, trigger, monkeypatch, before
):
    launch = remedies.OnCluster.retrain

    def killed(place, request):
        if not before:
            launch(place, request)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(remedies.OnCluster, "retrain", killed)
        code, _, _ = trigger("--retrain", "light")
    assert code != 0
    name = remembered(kubernetes).running.name
    kfp.story = [RUNNING]
    trigger()
    trigger()
    assert only(kfp.runs)["display_name"] == name


def test_a_start_whose_answer_was_lost_is_one_run(kfp, kubernetes, trigger):
    kfp.faults.append(KfpFault("POST", "^/runs$", after=True))
    assert trigger("--retrain", "light")[0] == 0
    assert len(kfp.runs) == 1


def test_a_storm_of_alarms_is_one_run(kfp, kubernetes, trigger, tmp_path):
    kfp.story = [RUNNING]
    signals = [
        Signal(model="posts", window=str(number), cause="covariate_shift", says="it moved")
        for number in range(10_000)
    ]
    path = tmp_path / "signals.json"
    path.write_text(json.dumps([signal.model_dump(mode="json") for signal in signals]))
    for _ in range(3):
        assert trigger("--signals", path)[0] == 0
    assert len(kfp.runs) == 1
    size = len(only(kubernetes.of("configmaps"))["data"]["state"])
    assert size < 200 * 1024, "a ConfigMap holds 1 MiB"


def test_a_run_that_failed_ends_the_request_and_says_where_to_look(kfp, kubernetes, trigger):
    kfp.story = [("FAILED", {"search": ("FAILED", "no space")})]
    trigger("--retrain", "light")
    code, _, _ = trigger()
    assert code == 0
    assert remembered(kubernetes).running is None
    assert "the run failed" in remembered(kubernetes).log[-1].says


def test_a_run_that_takes_too_long_is_terminated_and_told(kfp, kubernetes, tidegate, config):
    path = config(
        data=DATA,
        rollout={"model_store": "/workspace/models"},
        monitor={"trigger": {"longest_run_hours": 1e-9}},
    )
    kfp.story = [RUNNING]
    tidegate("trigger", path, "--retrain", "light")
    run = only(kfp.runs)
    code, _, _ = tidegate("trigger", path)
    assert code == 0
    assert kfp.terminated == [run["run_id"]]
    state = remembered(kubernetes)
    assert state.running is None
    assert "its run was terminated" in state.log[-1].says
    tidegate("trigger", path, "--retrain", "full")
    assert len(kfp.runs) == 2


def test_a_rival_that_writes_in_between_is_read_again(kfp, kubernetes, trigger):
    trigger("--retrain", "light")
    kubernetes.faults.append(Fault("PUT", "configmaps", 409, times=2))
    kfp.story = [PROMOTED]
    assert trigger()[0] == 0
    assert remembered(kubernetes).running is None
    kubernetes.faults.append(Fault("PUT", "configmaps", 409, times=999))
    assert "was changed 20 times" in trigger.refused("--retrain", "full")
    assert len(kfp.runs) == 1


def test_rights_that_are_missing_are_said_in_one_line(kubernetes, trigger):
    kubernetes.forbidden = ("configmaps",)
    assert "apply Tidegate's Roles" in trigger.refused("--status")


def test_a_state_of_another_model_is_left_alone(kfp, kubernetes, tidegate, config, trigger):
    trigger("--retrain", "light")
    said = tidegate.refused("trigger", config(name="ads", data=DATA), "--retrain", "light")
    assert "belongs to 'posts', not 'ads'" in said
    assert len(kfp.runs) == 1


def test_a_threshold_update_out_of_the_workspaces_reach_is_refused_and_stays_due(
    kfp, kubernetes, trigger, tmp_path
):
    said = trigger.refused("--signals", noticed(tmp_path, "prior_shift"))
    assert "run the trigger where rollout.model_store is" in said
    assert remembered(kubernetes).running.remedy == "threshold_update"
    assert kfp.runs == []


def test_the_cron_job_acts_on_what_the_monitor_left_in_the_workspace(
    kfp, kubernetes, tidegate, config, tmp_path, monkeypatch
):
    path = config(data=DATA, rollout={"model_store": "/workspace/models"})
    home = tmp_path / "workspace" / "monitor" / "posts"
    home.mkdir(parents=True)
    noticed(home, "concept_drift")
    [job] = yaml.safe_load_all(CRON_JOB.read_text())
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    [variable] = container["env"]
    monkeypatch.setenv(variable["name"], kfp.address)
    places = {"/etc/tidegate/config.yaml": path, "/workspace": tmp_path / "workspace"}
    assert container["command"][:3] == ["python", "-m", "pipelines.cli"]
    words = [*container["command"][3:], *container["args"]]
    code, said, _ = tidegate(*(places.get(word, word) for word in words), endpoint="")
    assert code == 0
    assert "full_retrain for concept_drift" in said
    assert len(kfp.runs) == 1


def test_a_new_threshold_is_a_release_that_the_controller_steps(
    kfp, kubernetes, tidegate, config, tmp_path
):
    made = tmp_path / "made"
    made.mkdir()
    shape = {"columns": COLUMNS, "max_rows": 900, "components": 3}
    write_toy_bundle(made, train=posts(200, seed=0), norm=posts(900, seed=1), **shape)
    models = ModelStore(tmp_path / "workspace" / "models")
    with_decision_rule(
        made / "bundle", made / "served", threshold=0.4, min_precision=0.8, confidence=0.95
    )
    models.release(made / "served", run_digest="r")
    before = models.current("toy").version
    service = {"metadata": {"name": "moderation", "namespace": "tidegate"}, "spec": {}}
    service |= {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    kubernetes.put("inferenceservices", service, "serving.kserve.io")
    reference = read_table(made / "bundle" / DRIFT_REFERENCE)
    shift = estimate_prior_shift(
        reference["score"],
        reference["label"],
        load_bundle(made / "served").score(posts(800, seed=7, prevalence=0.2)[0]),
        confidence=0.95,
    )
    signal = Signal(
        model="toy",
        window="2026-01-04T00:00:00+00:00",
        cause="prior_shift",
        says="fewer violate",
        evidence={"bundle_version": before, "prior": shift.model_dump(mode="json")},
    )
    (tmp_path / "signals.json").write_text(json.dumps([signal.model_dump(mode="json")]))
    path = config(name="toy", data=DATA, policy={"min_precision": 0.8})
    words = ("trigger", path, "--workspace", tmp_path / "workspace")
    code, said, _ = tidegate(*words, "--signals", tmp_path / "signals.json")
    assert code == 0
    assert "has begun" in said
    states = {c["metadata"]["name"]: c["data"]["state"] for c in kubernetes.of("configmaps")}
    release = ReleaseState.model_validate_json(states["moderation-release"])
    assert (release.baseline, release.phase, release.step) == (before, "progressing", 0)
    assert release.candidate in models.versions("toy")
    assert models.current("toy").version == before
    assert TriggerState.model_validate_json(states["moderation-trigger"]).running is None
    assert kfp.runs == []
