"""A search on a cluster that misbehaves: it recovers or says why, and leaves nothing behind."""

import itertools
import json
import os
import signal
from types import SimpleNamespace

import pytest

from tests.fake_kubernetes import (
    FakeClock,
    FakeKatib,
    FakeKubernetes,
    Fault,
    workspace_of,
)
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.errors import BadInput
from tidegate.models.catalogue import algorithm
from tidegate.records import TrialResult
from tidegate.search import katib_runs
from tidegate.search.cluster_api import EXPERIMENTS, ClusterApi, ClusterError, load_configuration
from tidegate.search.katib_runs import run_search
from tidegate.search.leftovers import remove_leftovers
from tidegate.search.local import SearchFailed
from tidegate.search.trial import run_trial

BUSY = [429, 500, 503, "reset"]


class BenchmarkHere:
    """The benchmark's process, without the process."""

    def __init__(self, order, preload):
        self.order = order

    def collect(self):
        order = self.order
        return run_trial(
            order.features_folder,
            algorithm(order.algorithm),
            order.params,
            seed=order.seed,
            threads=1,
            out=order.out,
            report=lambda point: None,
        )

    def end(self):
        pass


@pytest.fixture
def cluster(tmp_path, features, monkeypatch):
    monkeypatch.setattr("tidegate.search.trial._SHORTEST_JOB_SECONDS", 0)
    monkeypatch.setattr(katib_runs, "start_trial", BenchmarkHere)
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    clock, workspace = FakeClock(), workspace_of(tmp_path)
    with FakeKubernetes(clock) as kubernetes:
        katib = FakeKatib(kubernetes, clock, workspace)
        clock.ticks.append(katib.round)

        def search(**changes):
            told = {"algorithms": ["logistic"], "minutes": 5, "trials": 3, "backend": "katib"}
            return run_search(
                features,
                SearchConfig.model_validate({**told, "ensemble_members": 1, **changes}),
                tmp_path / "out",
                cluster=ClusterConfig(),
                workspace=workspace,
                api=api(),
                clock=clock,
            )

        def api():
            tokens = itertools.chain(["valid"], itertools.repeat("fresh"))
            return ClusterApi(lambda: kubernetes.configuration(next(tokens)), clock)

        yield SimpleNamespace(
            search=search,
            api=api,
            clock=clock,
            katib=katib,
            kubernetes=kubernetes,
            workspace=workspace,
            out=tmp_path / "out",
        )


def nothing_left(cluster):
    return not cluster.kubernetes.objects and not list((cluster.workspace / "search").glob("*"))


@pytest.mark.parametrize("status", BUSY)
@pytest.mark.parametrize(("method", "path"), [("GET", "/trials"), ("DELETE", "/experiments/")])
def test_a_busy_server_is_asked_again(cluster, status, method, path):
    cluster.kubernetes.faults = [Fault(method, path, status, times=3)]
    assert len(cluster.search().trials) == 3
    assert cluster.kubernetes.faults[0].times == 0
    assert nothing_left(cluster)


def test_the_server_says_how_long_to_wait(cluster):
    cluster.kubernetes.faults = [Fault("GET", "/trials", 429, headers={"Retry-After": "7"})]
    cluster.search()
    assert 7.0 in cluster.clock.slept


def test_pauses_grow_and_stay_below_half_a_minute(cluster):
    cluster.kubernetes.faults = [Fault("GET", "/trials", 503, times=9)]
    cluster.clock.ticks.clear()
    cluster.search()
    pauses = [seconds for seconds in cluster.clock.slept if seconds != 5.0][:9]
    assert max(pauses) <= 30
    assert pauses[7] > 4 * pauses[0]


@pytest.mark.parametrize("status", BUSY)
def test_a_creation_whose_answer_was_lost_is_not_made_twice(cluster, status, capsys):
    cluster.kubernetes.faults = [Fault("POST", "/experiments", status, after=True)]
    assert len(cluster.search().trials) == 3
    assert "going on with the Experiment tidegate-logistic-" in capsys.readouterr().out
    assert nothing_left(cluster)


def test_a_server_that_stays_away_ends_the_search_and_what_is_left_is_named(cluster, capsys):
    cluster.kubernetes.faults = [
        Fault("GET", "/trials", 503, times=10_000),
        Fault("DELETE", "/experiments/", 503, times=10_000),
    ]
    with pytest.raises(ClusterError, match=r"does not serve GET .*/trials: 503.*control plane"):
        cluster.search(minutes=60)
    assert 270 < cluster.clock.seconds < 400
    assert "the Experiment tidegate-logistic-" in capsys.readouterr().out
    # Its folder stays for the step that goes on with it.
    assert list((cluster.workspace / "search").glob("*"))


def test_an_expired_token_is_read_anew(cluster):
    cluster.clock.ticks.append(lambda: cluster.kubernetes.tokens.__init__({"fresh"}))
    assert len(cluster.search().trials) == 3
    assert nothing_left(cluster)


def test_a_token_that_is_refused_twice_ends_the_search(cluster):
    cluster.kubernetes.tokens = set()
    with pytest.raises(ClusterError, match=r"401 Unauthorized; .*ServiceAccount"):
        cluster.search()


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "apply Tidegate's Roles"), (404, r"install Katib \(experiments.kubeflow.org\)")],
)
def test_a_refused_creation_says_what_to_do_and_takes_the_first_away(cluster, status, message):
    # The second of two: the first one is running by then.
    created = []

    def answer(method, url, body, real=cluster.kubernetes.answer):
        if method == "POST":
            created.append(body["metadata"]["name"])
            if len(created) == 2:
                return status, {"kind": "Status", "message": "no"}
        return real(method, url, body)

    cluster.kubernetes.answer = answer
    with pytest.raises(ClusterError, match=message):
        cluster.search(algorithms=["logistic", "xgboost"], trials=4)
    assert len(created) == 2
    assert nothing_left(cluster)


def test_an_experiment_deleted_under_us_ends_the_search_and_the_others(cluster):
    def delete():
        for key in [key for key in cluster.kubernetes.objects if "xgboost" in key[3]]:
            if key in cluster.kubernetes.objects:
                cluster.kubernetes.remove(key)

    cluster.clock.ticks.append(delete)
    with pytest.raises(SearchFailed, match=r"xgboost-.* was deleted while it ran"):
        cluster.search(algorithms=["logistic", "xgboost"], trials=9)
    assert nothing_left(cluster)
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
    assert nothing_left(cluster)


def test_sigterm_takes_the_experiments_away(cluster):
    before = signal.getsignal(signal.SIGTERM)
    cluster.clock.ticks.append(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        cluster.search()
    assert cluster.kubernetes.requests[-1][0] == "DELETE"
    assert nothing_left(cluster)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_benchmark_that_fails_ends_the_search(cluster, monkeypatch):
    failed = TrialResult(
        number=0, algorithm="logistic", params={}, status="failed", seconds=1, error="no rows"
    )
    monkeypatch.setattr(BenchmarkHere, "collect", lambda self: failed)
    with pytest.raises(SearchFailed, match="the benchmark model failed: no rows"):
        cluster.search()
    assert nothing_left(cluster)


def test_a_step_that_was_killed_goes_on_where_it_was(cluster, monkeypatch, capsys):
    class Killed(BaseException):
        pass

    def kill():
        if cluster.clock.seconds > 14:
            raise Killed

    cluster.clock.ticks.append(kill)
    with monkeypatch.context() as patched:
        patched.setattr(katib_runs._KatibSearch, "_take_away", lambda *_: None)
        with pytest.raises(Killed):
            cluster.search(trials=9, parallel=2)
    cluster.clock.ticks.remove(kill)
    before = {trial["metadata"]["name"] for trial in cluster.kubernetes.of("trials")}
    assert len(before) == 4
    capsys.readouterr()
    result = cluster.search(trials=9, parallel=2)
    assert len(result.trials) == 9
    output = capsys.readouterr().out
    assert "going on with the Experiment" in output
    # Five minutes in all, fifteen seconds of which went before.
    assert " 285 s left)" in output
    assert nothing_left(cluster)


def test_two_runs_of_one_plan_do_not_share_an_experiment(cluster, monkeypatch):
    for run in "ab":
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": run, "uid": run}
        pod = {"metadata": {"name": f"pod-{run}", "ownerReferences": [owner]}}
        cluster.kubernetes.put("pods", {"namespace": "tidegate", **pod}, group="")
    created = {}

    def answer(method, url, body, real=cluster.kubernetes.answer):
        if method == "POST":
            created[body["metadata"]["name"]] = body["metadata"]["ownerReferences"][0]["uid"]
        return real(method, url, body)

    cluster.kubernetes.answer = answer
    for run in "ab":
        monkeypatch.setenv("KFP_POD_NAME", f"pod-{run}")
        cluster.search()
    assert sorted(created.values()) == ["a", "b"]


def test_a_pod_of_another_namespace_owns_nothing(cluster, monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", "elsewhere")
    bodies = []

    def answer(method, url, body, real=cluster.kubernetes.answer):
        bodies.append(body)
        return real(method, url, body)

    cluster.kubernetes.answer = answer
    cluster.search()
    (created,) = [body for body in bodies if body]
    assert "ownerReferences" not in created["metadata"]


def test_a_name_that_another_plan_has_is_refused(cluster, monkeypatch):
    cluster.kubernetes.faults = [Fault("POST", "/experiments", 409)]
    taken = {"metadata": {"name": "x", "labels": {"tidegate/plan": "other"}}}
    monkeypatch.setattr(ClusterApi, "get", lambda self, kind, namespace, name: taken)
    with pytest.raises(SearchFailed, match="with another plan is in tidegate; delete it"):
        cluster.search()


def test_a_name_that_is_being_given_up_is_waited_for(cluster):
    going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    answers = iter([(409, {"message": "taken"}), (200, going)])

    def answer(method, url, body, real=cluster.kubernetes.answer):
        named = method == "POST" or (method == "GET" and "/experiments/" in url)
        return (next(answers, None) if named else None) or real(method, url, body)

    cluster.kubernetes.answer = answer
    assert len(cluster.search().trials) == 3
    assert nothing_left(cluster)


def test_a_name_that_is_never_given_up_ends_the_search(cluster):
    going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}

    def answer(method, url, body, real=cluster.kubernetes.answer):
        if method == "POST":
            return 409, {"message": "taken"}
        return (200, going) if "/experiments/" in url else real(method, url, body)

    cluster.kubernetes.answer = answer
    with pytest.raises(SearchFailed, match="of an earlier step does not go away; delete it"):
        cluster.search()
    assert cluster.clock.seconds < 400


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


@pytest.mark.parametrize(
    ("owner", "minutes_old", "gone"),
    [(None, 60, False), (None, 75, True), ("there", 60, False), ("away", 5, True)],
)
def test_leftovers_are_those_that_nobody_waits_for(cluster, owner, minutes_old, gone):
    kubernetes = cluster.kubernetes
    workflow = {"metadata": {"name": "there", "uid": "there", "namespace": "tidegate"}}
    kubernetes.put("workflows", workflow, group="argoproj.io")
    marks = {
        "app.kubernetes.io/part-of": "tidegate",
        "app.kubernetes.io/component": "trial",
        "tidegate/search": "0123abcd",
    }
    metadata = {"name": "old", "labels": marks, "annotations": {"tidegate/minutes": "10"}}
    if owner:
        metadata["ownerReferences"] = [{"kind": "Workflow", "name": owner, "uid": owner}]
    kubernetes.put("experiments", {"metadata": metadata})
    kubernetes.put("experiments", {"metadata": {"name": "somebody-elses", "labels": {}}})
    (cluster.workspace / "search" / "0123abcd").mkdir(parents=True)
    cluster.clock.sleep(60 * minutes_old)
    api = cluster.api()
    now = cluster.clock.now()
    assert remove_leftovers(api, "tidegate", cluster.workspace, now=now, keep="0123abcd") == []
    removed = remove_leftovers(api, "tidegate", cluster.workspace, now=now)
    assert removed == (["old"] if gone else [])
    assert (cluster.workspace / "search" / "0123abcd").exists() is not gone
    assert api.get(EXPERIMENTS, "tidegate", "somebody-elses")


def test_the_search_removes_leftovers_first(cluster, capsys):
    marks = {"app.kubernetes.io/part-of": "tidegate", "app.kubernetes.io/component": "trial"}
    old = {"metadata": {"name": "old", "labels": marks}, "status": {"conditions": [{}, {}]}}
    cluster.kubernetes.put("experiments", json.loads(json.dumps(old)))
    cluster.clock.seconds += 7200
    cluster.search()
    assert "removed the Experiment old that an earlier run left" in capsys.readouterr().out
    assert nothing_left(cluster)


def test_the_benchmark_alone_needs_no_experiment(cluster):
    result = cluster.search(trials=1)
    assert (len(result.trials), result.best, result.stopped_by) == (1, 0, "trials")
    assert not [request for request in cluster.kubernetes.requests if request[0] == "POST"]


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
    assert nothing_left(cluster)
