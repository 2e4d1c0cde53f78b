"""A search whose API server is busy, away, or says no: it recovers or says why."""

import pytest

from tests.fake_kubernetes import Fault
from tidegate.cluster_api import ClusterError

BUSY = [429, 500, 503, "reset"]


@pytest.mark.parametrize("status", BUSY)
@pytest.mark.parametrize(("method", "path"), [("GET", "/trials"), ("DELETE", "/experiments/")])
def test_a_busy_server_is_asked_again(cluster, status, method, path):
    cluster.kubernetes.faults = [Fault(method, path, status, times=3)]
    assert len(cluster.search().trials) == 3
    assert cluster.kubernetes.faults[0].times == 0
    assert cluster.nothing_left()


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
    assert cluster.nothing_left()


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
    assert cluster.nothing_left()


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
    assert cluster.nothing_left()
