"""One Experiment a plan: found again by the step after, owned by its run, and never left behind."""

import json
import os
import signal

import pytest

from tests.fake_kubernetes import Fault
from tidegate.cluster_api import EXPERIMENTS, ClusterApi
from tidegate.search import katib_runs
from tidegate.search.leftovers import remove_leftovers
from tidegate.search.outcome import SearchFailed


def test_sigterm_takes_the_experiments_away(cluster):
    before = signal.getsignal(signal.SIGTERM)
    cluster.clock.ticks.append(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        cluster.search()
    assert cluster.kubernetes.requests[-1][0] == "DELETE"
    assert cluster.nothing_left()
    assert signal.getsignal(signal.SIGTERM) is before


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
    assert cluster.nothing_left()


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
    assert cluster.nothing_left()


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
    assert cluster.nothing_left()
