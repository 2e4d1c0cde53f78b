"""What becomes of a search whose trials, Experiments or volume misbehave."""

import pytest

from tidegate.cluster_api import load_configuration
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.errors import BadInput
from tidegate.records import TrialResult
from tidegate.search import katib_runs
from tidegate.search.katib_runs import run_search
from tidegate.search.outcome import SearchFailed


def test_the_benchmark_alone_needs_no_experiment(cluster):
    result = cluster.search(trials=1)
    assert (len(result.trials), result.best, result.stopped_by) == (1, 0, "trials")
    assert not [request for request in cluster.kubernetes.requests if request[0] == "POST"]


def test_an_experiment_deleted_under_us_ends_the_search_and_the_others(cluster):
    def delete():
        for key in [key for key in cluster.kubernetes.objects if "xgboost" in key[3]]:
            if key in cluster.kubernetes.objects:
                cluster.kubernetes.remove(key)

    cluster.clock.ticks.append(delete)
    with pytest.raises(SearchFailed, match=r"xgboost-.* was deleted while it ran"):
        cluster.search(algorithms=["logistic", "xgboost"], trials=9)
    assert cluster.nothing_left()
    assert not (cluster.out / "search.json").exists()


def test_an_experiment_that_fails_is_told_in_katibs_words(cluster, capsys):
    def fail():
        for experiment in cluster.kubernetes.of("experiments"):
            failed = {"type": "Failed", "status": "True", "message": "no suggestion service"}
            experiment["status"]["conditions"].append(failed)

    cluster.clock.ticks.append(fail)
    with pytest.raises(SearchFailed, match="no trial succeeded; no suggestion service"):
        cluster.search(algorithms=["xgboost"])
    assert "failed: no suggestion service" in capsys.readouterr().out
    assert cluster.nothing_left()


def test_a_benchmark_that_fails_ends_the_search(cluster, monkeypatch):
    failed = TrialResult(
        number=0, algorithm="logistic", params={}, status="failed", seconds=1, error="no rows"
    )
    monkeypatch.setattr(katib_runs.start_trial, "collect", lambda self: failed)
    with pytest.raises(SearchFailed, match="the benchmark model failed: no rows"):
        cluster.search()
    assert cluster.nothing_left()


def test_a_trial_whose_pod_failed_has_katibs_word_for_it(cluster):
    cluster.katib.fates["xgboost"] = "failed"
    result = cluster.search(algorithms=["logistic", "xgboost"], trials=4)
    failed = [trial for trial in result.trials if trial.algorithm == "xgboost"]
    assert [trial.error for trial in failed] == ["Trial has Failed"] * 2
    assert "max_depth" in failed[0].params


def test_a_good_model_counts_although_katib_lost_its_metrics(cluster):
    cluster.katib.fates["logistic"] = "lost"
    assert [trial.status for trial in cluster.search().trials] == ["succeeded"] * 3


def test_trials_that_write_to_another_disk_are_told_so(cluster):
    cluster.katib.fates["xgboost"] = "elsewhere"
    with pytest.raises(SearchFailed, match="is the workspace one and the same volume"):
        cluster.search(algorithms=["xgboost"], trials=1)


def test_hyperbands_short_trials_leave_no_model_and_its_long_one_wins(cluster):
    katib = cluster.katib
    suggest, rung = katib._suggest, []

    def bracket(parameter):
        if parameter["name"] != "reports":
            return suggest(parameter)
        rung.append(parameter)
        return parameter["feasibleSpace"]["max"] if len(rung) == 4 else "1"

    katib._suggest = bracket
    result = cluster.search(algorithms=["xgboost"], trials=4, parallel=3, strategy="hyperband")
    statuses = [trial.status for trial in result.trials[1:]]
    assert sorted(statuses) == ["early_stopped"] * 3 + ["succeeded"]
    assert result.trials[result.best].status == "succeeded"


def test_without_the_workspace_the_search_is_refused(cluster, features, tmp_path):
    with pytest.raises(BadInput, match="mount the claim tidegate-workspace there"):
        run_search(
            features,
            SearchConfig(),
            tmp_path,
            cluster=ClusterConfig(),
            workspace=tmp_path / "nowhere",
        )


def test_without_a_cluster_the_search_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/nowhere")
    with pytest.raises(BadInput, match="neither a service account nor a kubeconfig"):
        load_configuration()


WAITING = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "tidegate/cpu:0.1.0"'}
UNSCHEDULED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"containerStatuses": [{"state": {"waiting": WAITING}}]}, "ImagePullBackOff: Back-off"),
        ({"conditions": [UNSCHEDULED]}, "Unschedulable: 0/3 nodes are available"),
    ],
)
def test_trials_that_cannot_start_say_why(cluster, capsys, status, told):
    cluster.katib.fates["xgboost"] = "pending"

    def pod_of_the_trial():
        for trial in cluster.kubernetes.of("trials"):
            metadata = {**trial["metadata"], "name": "pod", "namespace": "tidegate"}
            metadata.pop("uid", None)
            pod = {"metadata": metadata, "status": {"phase": "Pending", **status}}
            if not cluster.kubernetes.of("pods"):
                owner = {"kind": "Trial", "uid": trial["metadata"]["uid"]}
                pod["metadata"]["ownerReferences"] = [owner]
                cluster.kubernetes.put("pods", pod, group="")

    cluster.clock.ticks.append(pod_of_the_trial)
    with pytest.raises(BadInput, match=f"no trial .*; their pods could not start: {told}"):
        cluster.search(algorithms=["xgboost"], trials=1)
    assert capsys.readouterr().out.count(f"a trial waits: {told}") == 1
    assert cluster.nothing_left()
