"""Our calls on the Kubernetes API against kmock, an emulator that is not of our making.

It keeps objects but knows no label selectors, no owners and no rights: the search itself is tested
on `tests.fake_kubernetes` and, where there is one, on a real API server (`api_server/`).
"""

import asyncio
import contextlib
import threading

import pytest

from tidegate.cluster_api import EXPERIMENTS, PODS, TRIALS, Clock, ClusterApi, ClusterError
from tidegate.doctor.api import Api
from tidegate.doctor.control_plane import Cluster, check_katib, served_groups

kmock = pytest.importorskip("kmock")


@contextlib.contextmanager
def serving(emulator):
    """Serve the emulator from an event loop of its own: the official client knows none."""
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    address = []

    async def serve():
        async with emulator, kmock.Server(emulator) as server:
            address.append(str(server.url).rstrip("/"))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def emulator():
    emulator = kmock.KubernetesEmulator()
    emulator.resources["kubeflow.org/v1beta1/experiments"] = {"namespaced": True}
    emulator.resources["v1/pods"] = {"namespaced": True}
    return emulator


@pytest.fixture
def configuration(emulator):
    from kubernetes import client

    with serving(emulator) as address:
        configuration = client.Configuration()
        configuration.host = address
        yield configuration


@pytest.fixture
def api(configuration):
    return ClusterApi(lambda: configuration, Clock(sleep=lambda seconds: None), 5)


def experiment(name, **more):
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name, "namespace": "tidegate", **more},
    }


def test_an_object_is_created_read_listed_and_deleted(api):
    assert api.get(EXPERIMENTS, "tidegate", "one") is None
    assert api.create(EXPERIMENTS, "tidegate", experiment("one")) == experiment("one")
    api.create(EXPERIMENTS, "tidegate", experiment("two"))
    assert api.get(EXPERIMENTS, "tidegate", "one") == experiment("one")
    found = api.find(EXPERIMENTS, "tidegate", "any=thing")
    assert sorted(entry["metadata"]["name"] for entry in found) == ["one", "two"]
    assert api.find(EXPERIMENTS, "elsewhere", "any=thing") == []
    api.delete(EXPERIMENTS, "tidegate", "one")
    assert api.get(EXPERIMENTS, "tidegate", "one") is None


def test_a_name_that_is_taken_is_a_409(api):
    api.create(EXPERIMENTS, "tidegate", experiment("one"))
    with pytest.raises(ClusterError, match="the name is taken") as refused:
        api.create(EXPERIMENTS, "tidegate", experiment("one"))
    assert refused.value.status == 409


def test_what_is_gone_already_is_deleted(api):
    api.delete(EXPERIMENTS, "tidegate", "nobody")


def test_one_that_waits_for_its_finalizer_still_stands(api):
    api.create(EXPERIMENTS, "tidegate", experiment("one", finalizers=["update-prometheus-metrics"]))
    api.delete(EXPERIMENTS, "tidegate", "one")
    assert api.get(EXPERIMENTS, "tidegate", "one")["metadata"]["deletionTimestamp"]


def test_a_kind_that_is_not_served_is_a_404_in_a_list(api):
    with pytest.raises(ClusterError) as refused:
        api.find(TRIALS, "tidegate", "any=thing")
    assert refused.value.status == 404


def test_a_merge_patch_takes_away_what_is_none_and_leaves_the_rest(api):
    one = {**experiment("one"), "spec": {"goal": 1, "maxTrialCount": 3}}
    api.create(EXPERIMENTS, "tidegate", one)
    patched = api.merge(EXPERIMENTS, "tidegate", "one", {"spec": {"goal": None, "parallel": 2}})
    assert patched["spec"] == {"maxTrialCount": 3, "parallel": 2}
    assert api.get(EXPERIMENTS, "tidegate", "one") == patched


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_until_it_answers(api, emulator, status):
    api.create(EXPERIMENTS, "tidegate", experiment("one"))
    fetch = emulator["get /apis/kubeflow.org/v1beta1/namespaces/tidegate/experiments/one"]
    fetch[:2] << status
    assert api.get(EXPERIMENTS, "tidegate", "one") == experiment("one")
    assert len(fetch) == 3


def test_a_pod_names_the_workflow_that_owns_it(api):
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "run", "uid": "7"}
    metadata = {"name": "step", "namespace": "tidegate", "ownerReferences": [owner]}
    api.create(PODS, "tidegate", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    assert api.owner_of("tidegate", "step") == owner
    assert api.owner_of("tidegate", "nobody") is None


def test_the_doctor_reads_what_is_served_from_the_servers_own_discovery(configuration):
    from kubernetes import client

    api = Api(client.ApiClient(configuration))
    groups = served_groups(api)
    assert groups["kubeflow.org"] == ("v1beta1",)
    cluster = Cluster(api, None, groups)
    assert cluster.serves("kubeflow.org", "v1beta1", "experiments")
    assert not cluster.serves("kubeflow.org", "v1beta1", "trials")
    (finding,) = check_katib(cluster)
    assert finding.what.startswith("Experiments v1beta1")
