"""`tidegate submit` against a Kubeflow Pipelines API that behaves, and one that does not."""

import json
import signal
import threading
import time

import pytest

from pipelines.kfp_connection import TOKEN_VARIABLE
from tests.cluster.fake_kfp import Fault, only
from tidegate.config import RunConfig

STEPS = ("plan", "ingest", "validate", "featurize", "search", "assemble", "evaluate", "report")
DONE = dict.fromkeys(STEPS, "SUCCEEDED")


def test_the_first_submission_makes_pipeline_version_experiment_and_run(kfp, tidegate, config):
    code, said, _ = tidegate("submit", config())
    assert code == 0
    assert only(kfp.pipelines)["display_name"] == "tidegate-retrain"
    version = only(kfp.versions)["name"]
    assert version.startswith("sha256-")
    assert f"version {version} (new)" in said
    assert only(kfp.experiments)["display_name"] == "posts"
    run = only(kfp.runs)
    assert run["display_name"].startswith("posts-")
    assert run["service_account"] == "tidegate-pipeline"
    assert f"{kfp.address}/#/runs/details/{run['run_id']}" in said


def test_the_second_submission_reuses_what_is_there(kfp, tidegate, config):
    tidegate("submit", config())
    code, said, _ = tidegate("submit", config())
    assert code == 0
    assert "(as before)" in said
    assert [len(items) for items in (kfp.pipelines, kfp.versions, kfp.experiments)] == [1, 1, 1]
    assert len({run["display_name"] for run in kfp.runs}) == 2


def test_another_image_is_another_version_of_the_same_pipeline(kfp, tidegate, config):
    for digit in "123":
        tidegate("submit", config(cluster={"image": f"r/cpu@sha256:{digit * 64}"}))
    assert len(kfp.pipelines) == 1
    assert len({version["name"] for version in kfp.versions}) == 3
    # The server's pages hold two: the third is found on the second page.
    _, said, _ = tidegate("submit", config(cluster={"image": f"r/cpu@sha256:{'3' * 64}"}))
    assert "(as before)" in said


def test_where_steps_run_and_what_they_ask_for_are_parameters_of_the_run(kfp, tidegate, config):
    toleration = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    cluster = {
        "gpu_image": "r/gpu@sha256:" + "1" * 64,
        "workspace_claim": "posts-workspace",
        "search_step": {"cpu": 8, "memory_gib": 32, "gpus": 1},
        "pools": {
            "cpu": {"node_selector": {"pool": "cheap"}},
            "gpu": {"node_selector": {"gpu": "a100"}, "tolerations": [toleration]},
        },
    }
    code, _, said = tidegate("submit", config(cluster=cluster), "--set", "cluster.cpu=3")
    assert code == 0, said
    given = only(kfp.runs)["runtime_config"]["parameters"]
    assert (given["cpu"], given["memory"], given["workspace_claim"]) == (
        *("3", "4Gi"),
        "posts-workspace",
    )
    assert (given["search_cpu"], given["search_memory"], given["search_gpus"]) == ("8", "32Gi", "1")
    assert given["node_selector"] == {"pool": "cheap"}
    assert given["search_node_selector"] == {"gpu": "a100"}
    assert given["search_tolerations"] == [{**toleration, "operator": "Exists"}]
    assert RunConfig.model_validate_json(given["config"]).cluster.cpu == 3
    images = {
        name: executor["container"]["image"]
        for name, executor in only(kfp.versions)["pipeline_spec"]["deploymentSpec"][
            "executors"
        ].items()
    }
    assert [name for name, image in images.items() if "gpu" in image] == ["exec-search"]


def test_many_users_mode_names_the_namespace(kfp, tidegate, config):
    kfp.multi_user = True
    assert tidegate("submit", config(cluster={"namespace": "team-a"}))[0] == 0
    assert only(kfp.experiments)["namespace"] == "team-a"


def test_wait_follows_the_steps_as_a_local_run_does(kfp, tidegate, config):
    kfp.story = [
        ("PENDING", {}),
        ("RUNNING", {"plan": "RUNNING"}),
        ("RUNNING", {"plan": "SUCCEEDED", "ingest": "CACHED", "validate": "RUNNING"}),
        (
            "SUCCEEDED",
            {**DONE, "ingest": "CACHED", "promoted": "SUCCEEDED", "release": "SUCCEEDED"},
        ),
    ]
    code, said, _ = tidegate("submit", config(), "--wait", "--fail-on-hold")
    assert code == 0
    shown = [tuple(line.split()[:2]) for line in said.splitlines() if line.split()[0] in STEPS]
    assert shown[:3] == [("plan", "done"), ("ingest", "cached"), ("validate", "done")]
    assert "decision  promote" in said


@pytest.mark.parametrize(("words", "expected"), [((), 0), (("--fail-on-hold",), 3)])
def test_a_hold_is_a_result_unless_it_shall_fail(kfp, tidegate, config, words, expected):
    kfp.story = [("SUCCEEDED", {**DONE, "condition-2": "SKIPPED"})]
    code, said, _ = tidegate("submit", config(), "--wait", *words)
    assert code == expected
    assert "not promoted" in said


def test_a_run_that_does_not_tell_its_decision_counts_as_no_promotion(kfp, tidegate, config):
    kfp.story = [("SUCCEEDED", DONE)]
    code, said, _ = tidegate("submit", config(), "--wait", "--fail-on-hold")
    assert code == 3
    assert "not told" in said


def test_a_failed_step_is_named_with_its_words_and_where_its_log_is(kfp, tidegate, config):
    kfp.story = [("FAILED", {"plan": "SUCCEEDED", "ingest": ("FAILED", "exit code 137")})]
    code, said, error = tidegate("submit", config(), "--wait")
    assert code == 1
    assert "step ingest failed: exit code 137" in error
    assert "#/runs/details/" in error
    assert "ingest     failed" in said


def test_a_cancelled_run_is_a_failure_too(kfp, tidegate, config):
    kfp.story = [("CANCELED", {"plan": "CANCELED"})]
    code, _, error = tidegate("submit", config(), "--wait")
    assert code == 1
    assert "cancelled" in error


def test_who_stops_following_does_not_stop_the_run(kfp, tidegate, config):
    # A shell gives what it runs in the background an interrupt that is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    kfp.story = [("RUNNING", {"plan": "RUNNING"})]

    def interrupt():
        while "GET /runs/run-3" not in kfp.requests:
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        code, _, error = tidegate("submit", config(), "--wait")
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    assert code == 130
    assert "the run goes on" in error


# --- refused before anything is sent -----------------------------------------------------------


def test_an_image_that_a_tag_names_is_refused_unless_allowed(kfp, tidegate, config):
    tagged = config(cluster={"image": "tidegate/cpu:0.1.0"})
    said = tidegate.refused("submit", tagged)
    assert "cluster.image: " in said
    assert "tidegate/cpu:0.1.0" in said
    assert kfp.requests == []
    assert tidegate("submit", tagged, "--allow-unpinned")[0] == 0


@pytest.mark.parametrize(
    "source",
    [
        "posts.parquet",
        "/data/posts.parquet",
        "file:///data/posts.parquet",
        "memory://posts.parquet",
    ],
)
def test_data_that_lies_on_this_machine_is_refused(kfp, tidegate, config, source):
    data = {"source": source, "text": "body", "label": "violating"}
    said = tidegate.refused("submit", config(data=data))
    assert "data.source" in said
    assert "s3://" in said
    assert kfp.requests == []


@pytest.mark.parametrize("source", ["/workspace/posts.parquet", "gs://bucket/posts.parquet"])
def test_data_in_the_workspace_or_an_object_store_is_taken(tidegate, config, source):
    data = {"source": source, "text": "body", "label": "violating"}
    assert tidegate("submit", config(data=data))[0] == 0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"baseline": "runs/first"}, "baseline"),
        ({"rollout": {"model_store": "/models"}}, "rollout.model_store"),
        ({"validation": {"reference": "s3://bucket/run"}}, "validation.reference"),
    ],
)
def test_folders_that_steps_read_must_be_in_the_workspace(tidegate, config, changes, key):
    assert key in tidegate.refused("submit", config(**changes))


def test_the_gpu_image_must_be_pinned_too_where_it_is_used(tidegate, config):
    cluster = {"search_step": {"cpu": 1, "memory_gib": 1, "gpus": 1}}
    assert "cluster.gpu_image: " in tidegate.refused("submit", config(cluster=cluster))


def test_a_gpu_for_a_search_step_that_only_waits_is_refused(tidegate, config):
    cluster = {"search_step": {"cpu": 1, "memory_gib": 1, "gpus": 1}}
    said = tidegate.refused("submit", config(cluster=cluster), "--set", "search.backend=katib")
    assert "cluster.search_step.gpus" in said


def test_an_address_is_needed(tidegate, config):
    said = tidegate.refused("submit", config(), endpoint="")
    assert "port-forward" in said


def test_the_address_can_stand_in_the_configuration(kfp, tidegate, config):
    assert tidegate("submit", config(cluster={"endpoint": kfp.address}), endpoint="")[0] == 0


def test_fail_on_hold_needs_wait(tidegate, config):
    assert "--wait" in tidegate.refused("submit", config(), "--fail-on-hold")


# --- faults of the server ----------------------------------------------------------------------


def test_an_address_where_nobody_answers_is_told_at_once(tidegate, config):
    said = tidegate.refused("submit", config(), endpoint="http://127.0.0.1:9")
    assert "127.0.0.1:9" in said
    assert "port-forward" in said


def test_an_address_without_a_scheme_is_refused(tidegate, config):
    assert "https://kfp.example" in tidegate.refused("submit", config(), endpoint="kfp.example")


@pytest.mark.parametrize(("status", "body"), [(200, "<html>hello</html>"), (404, "no such page")])
def test_something_else_at_the_address_is_not_taken_for_kubeflow(
    kfp, tidegate, config, status, body
):
    kfp.faults = [Fault("GET", "/healthz", status, body)]
    said = tidegate.refused("submit", config())
    assert "Kubeflow Pipelines" in said


def test_a_missing_token_is_told_and_a_given_one_is_sent_but_never_shown(
    kfp, tidegate, config, monkeypatch
):
    kfp.token = "secret-token"
    assert TOKEN_VARIABLE in tidegate.refused("submit", config())
    monkeypatch.setenv(TOKEN_VARIABLE, "wrong-token")
    said = tidegate.refused("submit", config())
    assert "not signed in" in said
    assert "wrong-token" not in said
    monkeypatch.setenv(TOKEN_VARIABLE, "secret-token\n")
    assert tidegate("submit", config())[0] == 0


def test_a_projected_token_is_read_again_for_every_call(
    kfp, tidegate, config, monkeypatch, tmp_path
):
    path = tmp_path / "token"
    path.write_text("pod-token")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(path))
    kfp.token = "pod-token"
    assert tidegate("submit", config())[0] == 0


def test_a_redirect_to_the_sign_in_page_means_not_signed_in(kfp, tidegate, config):
    kfp.faults = [Fault("GET", "/healthz", 302, "", {"Location": "/dex/auth"})]
    assert "not signed in" in tidegate.refused("submit", config())


def test_an_account_that_may_not_is_told_what_it_may_not(kfp, tidegate, config):
    kfp.faults = [Fault("POST", "/experiments", 403)]
    said = tidegate.refused("submit", config())
    assert "may not create an experiment" in said
    assert kfp.runs == []


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/pipelines$"),
        ("POST", "/pipelines$"),
        ("POST", "/upload_version"),
        ("POST", "/experiments"),
        ("POST", "/runs"),
    ],
)
def test_a_server_that_is_busy_once_is_asked_again(kfp, tidegate, config, method, path, status):
    kfp.faults = [Fault(method, path, status)]
    assert tidegate("submit", config())[0] == 0
    assert [len(items) for items in (kfp.pipelines, kfp.versions, kfp.runs)] == [1, 1, 1]


def test_a_server_that_stays_broken_is_told_in_its_own_words(kfp, tidegate, config):
    kfp.faults = [Fault("POST", "/pipelines", 500, times=99)]
    said = tidegate.refused("submit", config())
    assert "could not create a pipeline: HTTP 500: the database is away" in said


@pytest.mark.parametrize("path", ["/pipelines$", "/upload_version", "/experiments", "/runs"])
def test_an_answer_that_is_lost_makes_nothing_twice(kfp, tidegate, config, path):
    kfp.faults = [Fault("POST", path, 502, after=True)]
    assert tidegate("submit", config())[0] == 0
    made = (kfp.pipelines, kfp.versions, kfp.experiments, kfp.runs)
    assert [len(items) for items in made] == [1, 1, 1, 1]


def test_an_answer_that_comes_too_late_makes_nothing_twice(kfp, tidegate, config):
    kfp.faults = [Fault("POST", "/runs", 200, "{}", seconds=1.0, after=True)]
    assert tidegate("submit", config(), "--timeout", "0.4")[0] == 0
    assert len(kfp.runs) == 1


def test_a_server_that_never_answers_is_told_with_the_time_it_had(kfp, tidegate, config):
    kfp.faults = [Fault("GET", "/pipelines", 200, "{}", seconds=0.6, times=99)]
    said = tidegate.refused("submit", config(), "--timeout", "0.2")
    assert "no answer in 0.2 s" in said


def test_somebody_who_makes_the_pipeline_at_the_same_time_is_no_fault(kfp, tidegate, config):
    theirs = {"display_name": "tidegate-retrain", "pipeline_id": "theirs"}
    kfp.faults = [Fault("POST", "/pipelines$", 409, json.dumps({"message": "exists"}))]
    create, kfp.answer = kfp.answer, None

    def meanwhile(method, path, query, body):
        if f"POST {path}" == "POST /pipelines" or len(kfp.requests) > 2:
            kfp.pipelines = kfp.pipelines or [theirs]
        return create(method, path, query, body)

    kfp.answer = meanwhile
    assert tidegate("submit", config())[0] == 0
    assert kfp.pipelines == [theirs]


def test_a_refusal_of_the_server_comes_through_in_its_words(kfp, tidegate, config):
    body = json.dumps({"message": "Invalid input error: quota\nstack trace"})
    kfp.faults = [Fault("POST", "/runs", 400, body)]
    said = tidegate.refused("submit", config())
    assert "refused to start a run: Invalid input error: quota;" in said


def test_a_server_that_stumbles_while_the_run_goes_on_is_outlasted(kfp, tidegate, config):
    kfp.story = [("RUNNING", {"plan": "RUNNING"}), ("SUCCEEDED", {**DONE, "promoted": "SUCCEEDED"})]
    kfp.faults = [Fault("GET", "/runs/", 503, times=2)]
    assert tidegate("submit", config(), "--wait")[0] == 0


def test_a_token_that_expires_while_waiting_says_that_the_run_goes_on(kfp, tidegate, config):
    kfp.story = [("RUNNING", {"plan": "RUNNING"})]
    kfp.faults = [Fault("GET", "/runs/", 401)]
    said = tidegate.refused("submit", config(), "--wait")
    assert "the run goes on: http" in said
    assert len(kfp.runs) == 1
