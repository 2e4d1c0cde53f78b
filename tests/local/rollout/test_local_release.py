"""Real model servers behind the local proxy: a good candidate arrives, bad ones do not."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import numpy as np
import pytest

from examples.small_model import train_small_model
from examples.steady_sender import SteadySender
from tidegate.config import RunConfig
from tidegate.records import Traffic
from tidegate.rollout.controller import Controller
from tidegate.rollout.local_backend import LocalBackend
from tidegate.rollout.local_evidence import local_analyst
from tidegate.rollout.local_proxy import VERSION_HEADER, LocalProxy
from tidegate.rollout.local_servers import LocalServers
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.transitions import begin

TELLING = ("prize", "free", "win", "cash")
HARMLESS = ("lunch", "noon", "code", "tea")
CONFIG = RunConfig.model_validate(
    {
        "name": "toy",
        "data": {"source": "posts.parquet", "text": "text", "label": "label"},
        "rollout": {
            "steps": [0, 50, 100],
            "step_seconds": 0.5,
            "interval_seconds": 0.3,
            "min_requests": 5,
            "max_unready_seconds": 120,
            "max_outages": 1,
            "ops": {"max_p99_ms": 2000, "max_p99_ratio": 50},
            "quality": {"min_shadow_rows": 20, "replay_rows": 25, "replay_rows_per_second": 200},
        },
    }
)


def posts(rows, seed):
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % 2).astype(np.int8)
    words = (HARMLESS, TELLING)
    return [" ".join(rng.choice(words[y], size=4)) for y in labels], labels


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The first version in service, a second one kept, a third that learned inverted labels."""
    folder = tmp_path_factory.mktemp("place")
    store = ModelStore(folder / "store")
    versions = []
    for number, inverted in enumerate((False, False, True)):
        texts, labels = posts(80 + 40 * number, seed=number)
        train_small_model(
            folder / str(number), texts, 1 - labels if inverted else labels, name="toy"
        )
        versions.append(store.keep(folder / str(number) / "bundle").version)
    store.put_in_service("toy", versions[0], run_digest="run-0")
    with LocalServers(store, "toy", LocalProxy(), folder / "logs") as servers:
        servers.route(Traffic(baseline=versions[0]))
        assert servers.wait_until_ready(versions[0])
        yield store, servers, versions


def release(place, candidate, meanwhile=lambda state: None, seconds=150):
    """Begin a release of a version and take it to its end under steady traffic."""
    store, servers, _ = place
    backend = LocalBackend(store, "toy", servers)
    found = backend.read_state()
    state, events = begin(
        name="toy",
        baseline=store.current("toy").version,
        candidate=candidate,
        run_digest=f"run of {candidate}",
        config=CONFIG.rollout,
        actor="test",
        now=datetime.now(UTC),
    )
    backend.write_state(state.model_copy(update={"outbox": events}), revision=found and found[1])
    analyst = local_analyst(servers, store, CONFIG)
    controller = Controller(backend, analyst, CONFIG.rollout, lambda: datetime.now(UTC), "test")
    texts, _ = posts(60, seed=9)
    until = time.monotonic() + seconds
    with SteadySender(servers.proxy.address, "toy", texts, per_second=20) as sender:
        while time.monotonic() < until:
            controller.tick()
            state = backend.read_state()[0]
            if state.is_over:
                break
            meanwhile(state)
            time.sleep(0.2)
    return backend, state, sender


def ask(servers):
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["free win"]}]}
    request = urllib.request.Request(
        f"{servers.proxy.address}/v2/models/toy/infer", json.dumps(body).encode()
    )
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers[VERSION_HEADER], json.load(answer)


def test_a_bad_candidate_is_caught_in_the_shadow_and_no_client_ever_met_it(place):
    store, servers, versions = place
    _, state, sender = release(place, versions[2])

    assert state.phase == "rolled_back"
    assert state.step == 0
    assert "decided otherwise" in state.reason
    assert servers.proxy.counts.keys() == {versions[0]}
    assert store.current("toy").version == versions[0]
    assert sender.failed == 0


def test_a_candidate_whose_process_dies_in_the_canary_costs_its_traffic_only(place):
    store, servers, versions = place
    killed = []

    def kill(state):
        if state.percent == 50 and state.in_force and len(killed) < 4:
            process = servers.process_id(versions[1])
            if process is not None and process not in killed:
                killed.append(process)
                os.kill(process, signal.SIGKILL)

    _, state, _ = release(place, versions[1], kill)
    assert killed
    assert state.phase == "rolled_back"
    assert store.current("toy").version == versions[0]
    assert ask(servers)[0] == versions[0]


def test_a_good_candidate_arrives_and_serves(place):
    store, servers, versions = place
    backend, state, sender = release(place, versions[1])

    assert state.phase == "promoted", state.reason
    assert [e.kind for e in backend.log.read()][-4:] == [
        "began",
        "advanced",
        "advanced",
        "promoted",
    ]
    assert store.current("toy").version == versions[1]
    assert sender.failed == 0
    version, answer = ask(servers)
    assert (version, answer["model_version"]) == (versions[1], versions[1])
    assert servers.process_id(versions[0]) is None


def test_a_version_that_cannot_be_loaded_never_gets_traffic(place):
    store, servers, versions = place
    folder = store.folder_of("toy") / "versions" / "broken"
    folder.mkdir()
    try:
        servers.route(Traffic(baseline=versions[1], candidate="broken", candidate_percent=0))
        assert servers.wait_until_ready(versions[1])
        observed = servers.observe()
        assert observed.baseline_ready
        assert not observed.candidate_ready
    finally:
        servers.route(Traffic(baseline=versions[1]))
        folder.rmdir()


def test_the_proxy_says_when_nothing_is_in_service():
    proxy = LocalProxy()
    proxy.start()
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(proxy.address + "/v2/models/toy/ready", timeout=5)
        assert refused.value.code == 503
        refused.value.close()
        proxy.route({"gone": "http://127.0.0.1:9"}, {"gone": 1.0})
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(proxy.address + "/v2/models/toy/infer", b"{}", timeout=5)
        assert failed.value.code == 502
        failed.value.close()
        assert proxy.counts["gone"].errors == 1
    finally:
        proxy.stop()
