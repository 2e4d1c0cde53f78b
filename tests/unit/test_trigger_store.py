import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.fake_kubernetes import FakeKubernetes
from tidegate.cluster_api import CONFIG_MAPS, ClusterApi
from tidegate.errors import BadInput, Conflict
from tidegate.monitoring.trigger_store import ConfigMapStore, FileStore, page
from tidegate.records import RemedyRequest, TriggerState

STATE = TriggerState(model="comments", light_in_a_row=2)
REQUEST = RemedyRequest(
    name="page-comments-1",
    model="comments",
    window="2026-01-04",
    remedy="page",
    causes=("slipping_quality",),
    says="it slips",
    asked_at="2026-01-05T00:00:00+00:00",
)


@pytest.fixture(params=["file", "config map"])
def store(request, tmp_path):
    if request.param == "file":
        yield FileStore(tmp_path / "comments" / "trigger.json")
        return
    with FakeKubernetes() as kubernetes:
        api = ClusterApi(kubernetes.configuration, kubernetes.clock)
        yield ConfigMapStore(api, "tidegate", "comments-trigger")


def test_a_state_that_was_written_is_read_back(store):
    assert store.read() == (None, None)
    store.write(STATE, revision=None)
    found, revision = store.read()
    assert found == STATE
    changed = STATE.model_copy(update={"light_in_a_row": 3})
    store.write(changed, revision=revision)
    assert store.read()[0] == changed


def test_of_two_who_read_the_same_state_one_writes(store):
    store.write(STATE, revision=None)
    _, revision = store.read()
    store.write(STATE.model_copy(update={"light_in_a_row": 3}), revision=revision)
    with pytest.raises(Conflict):
        store.write(STATE.model_copy(update={"light_in_a_row": 9}), revision=revision)
    assert store.read()[0].light_in_a_row == 3


def test_of_two_who_find_nothing_one_begins(store):
    store.write(STATE, revision=None)
    with pytest.raises(Conflict):
        store.write(STATE, revision=None)


def test_a_state_that_was_removed_in_between_is_a_conflict(tmp_path):
    with FakeKubernetes() as kubernetes:
        api = ClusterApi(kubernetes.configuration, kubernetes.clock)
        store = ConfigMapStore(api, "tidegate", "comments-trigger")
        store.write(STATE, revision=None)
        _, revision = store.read()
        api.delete(CONFIG_MAPS, "tidegate", "comments-trigger")
        with pytest.raises(Conflict):
            store.write(STATE, revision=revision)


@pytest.mark.parametrize("content", ["{", "[]", '{"revision": "1", "state": {"no": 1}}'])
def test_a_file_that_holds_no_state_is_named(tmp_path, content):
    path = tmp_path / "trigger.json"
    path.write_text(content)
    with pytest.raises(BadInput, match="holds no state of a trigger"):
        FileStore(path).read()


@contextmanager
def webhook(*statuses):
    """Serve these answers, the last one for ever; yield the address and what was posted."""
    posted, left = [], list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_page_is_posted_with_its_reason():
    with webhook(200) as (address, posted):
        assert page(address, REQUEST)
    assert [p["says"] for p in posted] == ["it slips"]


def test_a_page_is_sent_again_while_the_webhook_fails():
    pauses = []
    with webhook(503, 200) as (address, posted):
        assert page(address, REQUEST, sleep=pauses.append)
    assert len(posted) == 2
    assert pauses == [0.5]


@pytest.mark.parametrize(("status", "times"), [(500, 3), (404, 1)])
def test_a_page_that_nobody_takes_is_no_error_and_not_sent_for_ever(status, times):
    with webhook(status) as (address, posted):
        assert not page(address, REQUEST, sleep=lambda _: None)
    assert len(posted) == times


def test_without_a_webhook_or_with_a_dead_one_the_trigger_goes_on():
    assert not page(None, REQUEST)
    assert not page("file:///etc/hosts", REQUEST)
    assert not page("http://127.0.0.1:9/", REQUEST, sleep=lambda _: None)
