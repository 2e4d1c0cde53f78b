import asyncio
import json

import httpx
import pytest
from prometheus_client import REGISTRY

from tests.unit.payload_log.conftest import NOON
from tidegate.serving.log_pairs import PairLimits
from tidegate.serving.log_receiver import LogReceiver, main, receiver_app

ROWS = [{"text": "a", "age": 3, "lang": "en"}, {"text": "b", "age": None, "lang": None}]
V1 = (
    {"instances": ROWS, "ids": ["p1", "p2"], "parameters": {"segment": "ads"}},
    {
        "predictions": [
            {
                "score": 0.75,
                "decision": "flagged",
                "action": "leave",
                "flagged": True,
                "threshold": 0.5,
                "model_version": "v7",
                "path": "full",
            },
            {"score": 0.25, "flagged": False, "threshold": 0.5, "model_version": "v7"},
        ]
    },
)


def tensor(name, datatype, data):
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


V2 = (
    {
        "id": "r",
        "parameters": {"segment": "ads"},
        "inputs": [
            tensor("row_id", "BYTES", ["p1", "p2"]),
            tensor("text", "BYTES", ["a", "b"]),
            {"name": "age", "datatype": "FP64", "shape": [2, 1], "data": [[3], [None]]},
            tensor("lang", "BYTES", ["en", None]),
        ],
    },
    {
        "model_name": "toy",
        "model_version": "v7",
        "outputs": [
            tensor("score", "FP64", [0.75, 0.25]),
            tensor("decision", "BYTES", ["flagged", "leave"]),
            tensor("action", "BYTES", ["leave", "leave"]),
            tensor("threshold", "FP64", [0.5]),
        ],
    },
)


def headers(kind, call="c1", **more):
    """What KServe 0.21's agent sends: a binary CloudEvent with the cluster's names."""
    return {
        "ce-specversion": "1.0",
        "ce-id": call,
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "ce-source": "http://localhost:9081/",
        "ce-time": NOON.isoformat(),
        "ce-inferenceservicename": "comments",
        "ce-namespace": "safety",
        "ce-component": "predictor",
        "ce-endpoint": "",
        "ce-metadata": "{}",
        "content-type": "application/json",
        **more,
    }


class Posting:
    """A client of a receiver, without a network between them."""

    def __init__(self, receiver, **limits):
        self.app = receiver_app(receiver, **limits)

    def send(self, method, path, **what):
        async def ask():
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://log") as client:
                return await client.request(method, path, **what)

        return asyncio.run(ask())

    def event(self, kind, document, call="c1", **more):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.send("POST", "/", headers=headers(kind, call, **more), content=body)


def fates():
    found = {}
    for metric in REGISTRY.collect():
        if metric.name == "tidegate_log_receiver_events":
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    found[sample.labels["fate"]] = sample.value
    return found


@pytest.fixture
def counted():
    """Count the events' fates since the test began."""
    before = fates()
    return lambda: {k: int(v - before.get(k, 0)) for k, v in fates().items() if v != before.get(k)}


@pytest.fixture
def receiving(open_log, clock):
    def make(*, limits=None, log=None, **more):
        log = log or open_log()
        receiver = LogReceiver(log, limits or PairLimits(), elapsed=lambda: clock.seconds)
        return log, Posting(receiver, **more)

    return make


@pytest.mark.parametrize("pair", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["request first", "response first"])
def test_a_request_and_its_response_become_rows_of_the_log(receiving, read, pair, order):
    log, client = receiving()
    for place in order:
        answer = client.event(("request", "response")[place], pair[place])
        assert answer.status_code == 202
    log.flush()
    frame, _ = read()
    assert frame["row_id"].tolist() == ["p1", "p2"]
    assert frame["event_id"].tolist() == ["safety/comments/c1/0", "safety/comments/c1/1"]
    assert frame["time"].tolist() == [NOON, NOON]
    assert frame["score"].tolist() == [0.75, 0.25]
    assert frame["threshold"].tolist() == [0.5, 0.5]
    assert frame["decision"].tolist() == ["flagged", "leave"]
    assert frame["action"].tolist() == ["leave", "leave"]
    assert frame["explored"].tolist() == [True, False]
    assert frame["model_version"].tolist() == ["v7", "v7"]
    assert frame["segment"].tolist() == ["ads", "ads"]
    assert frame["input_text"].tolist() == ["a", "b"]
    assert frame["input_age"].isna().tolist() == [False, True]
    assert frame["input_lang"].tolist() == ["en", None]


def test_a_structured_event_is_read_too(receiving, read):
    log, client = receiving()
    for kind, document in zip(("request", "response"), V1, strict=True):
        event = {n.removeprefix("ce-"): v for n, v in headers(kind).items() if n[:3] == "ce-"}
        body = json.dumps({**event, "data": document})
        content_type = {"content-type": "application/cloudevents+json"}
        assert client.send("POST", "/", headers=content_type, content=body).status_code == 202
    log.flush()
    assert read()[0]["row_id"].tolist() == ["p1", "p2"]


def test_another_servers_bare_scores_are_kept(receiving, open_log, read):
    log, client = receiving(log=open_log(columns=None))
    client.event("request", {"instances": [[1.0, 2.0], [3.0, 4.0]]})
    client.event("response", {"predictions": [0.1, 0.9]})
    log.flush()
    frame, _ = read()
    assert frame["score"].tolist() == [0.1, 0.9]
    assert frame["input_0"].tolist() == [1.0, 3.0]
    assert frame["decision"].isna().all()
    assert frame["model_name"].tolist() == ["comments", "comments"]


def test_duplicate_late_and_unpaired_events_are_counted_and_logged_once(
    receiving, read, clock, counted
):
    log, client = receiving(limits=PairLimits(seconds=60))
    request, response = V1
    client.event("request", request)
    client.event("request", request)
    client.event("response", response)
    client.event("response", response)
    client.event("request", request, call="alone")
    clock.turn(seconds=61)
    client.event("response", response, call="alone")
    client.event("request", request, call="last")
    log.flush()
    assert read()[1].rows == 2
    assert counted() == {"paired": 1, "waiting": 3, "duplicate": 2, "unpaired": 1, "late": 1}
    clock.turn(seconds=61)
    metrics = client.send("GET", "/metrics").text
    assert "tidegate_log_receiver_waiting_events 0.0" in metrics
    assert "tidegate_payload_log_written_rows_total" in metrics
    assert counted()["unpaired"] == 2


def test_the_same_id_of_two_services_is_two_calls(receiving, read):
    log, client = receiving()
    for service in ("one", "two"):
        for kind, document in zip(("request", "response"), V1, strict=True):
            client.event(kind, document, **{"ce-inferenceservicename": service})
    log.flush()
    assert read()[1].rows == 4


@pytest.mark.parametrize(
    "limits", [PairLimits(events=2), PairLimits(mib=400 / 2**20)], ids=["events", "bytes"]
)
def test_a_full_receiver_says_come_again_and_still_completes_calls(receiving, read, limits):
    log, client = receiving(limits=limits)
    request, response = V1
    taken = [client.event("request", request, call=str(n)) for n in range(4)]
    codes = [answer.status_code for answer in taken]
    assert codes == [202, 202, 503, 503]
    assert taken[-1].headers["retry-after"] == "5"
    assert client.event("response", response, call="0").status_code == 202
    assert client.event("request", request, call="3").status_code == 202
    log.flush()
    assert read()[1].rows == 2


def test_a_full_payload_log_says_come_again(receiving, open_log):
    log, client = receiving(log=open_log(queue_rows=2))
    for kind, document in zip(("request", "response"), V1, strict=True):
        assert client.event(kind, document).status_code == 202
    assert client.event("request", V1[0], call="c2").status_code == 503
    assert client.send("GET", "/healthz").status_code == 200
    log.flush()
    assert client.event("request", V1[0], call="c2").status_code == 202


@pytest.mark.parametrize(
    ("change", "body", "status", "says"),
    [
        ({}, b"{not json", 400, "its data is not JSON"),
        ({}, b'{"instances": [NaN]}', 400, "its data is not JSON"),
        ({}, b"\xff\xfe\x00", 400, "its data is not JSON"),
        ({}, b"[" * 100_000, 400, "its data is not JSON"),
        ({"ce-type": "org.example.other"}, b"{}", 400, "must be of a type of KServe's logger"),
        ({"ce-id": None}, b"{}", 400, "is not a CloudEvent"),
        ({"ce-specversion": "9"}, b"{}", 400, "is not a CloudEvent"),
        ({"content-type": "application/cloudevents+json"}, b"[]", 400, "is not a CloudEvent"),
        ({}, b" " * 2_000_000, 413, "larger than 1 MiB"),
    ],
)
def test_garbage_is_refused_in_words_that_repeat_none_of_it(receiving, change, body, status, says):
    _, client = receiving(max_body_mib=1.0)
    sent = {name: value for name, value in (headers("request") | change).items() if value}
    if change.get("content-type") is not None:
        sent = change
    answer = client.send("POST", "/", headers=sent, content=body)
    assert answer.status_code == status
    assert says in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"  ", b'{"name": "toy"}', b"[1]", b"3"])
def test_what_passes_to_other_endpoints_is_taken_and_ignored(receiving, read, body, counted):
    log, client = receiving()
    assert client.event("request", body).status_code == 202
    assert counted() == {"ignored": 1}
    log.flush()
    assert read()[1].rows == 0


@pytest.mark.parametrize(
    ("request_body", "response_body"),
    [
        (V1[0], {"predictions": [{"score": 1.0}]}),
        ({"inputs": [tensor("a", "BYTES", ["x"]), {"name": "b", "shape": [1]}]}, V1[1]),
        ({"inputs": [tensor("a", "FP64", [1.0] * 3), tensor("b", "FP64", [1.0] * 2)]}, V2[1]),
        ({"inputs": [7, None]}, V2[1]),
    ],
)
def test_halves_that_do_not_fit_are_refused(receiving, read, request_body, response_body):
    log, client = receiving()
    assert client.event("request", request_body).status_code == 202
    assert client.event("response", response_body).status_code == 400
    log.flush()
    assert read()[1].rows == 0


def test_a_body_that_never_ends_is_given_up(receiving):
    _, client = receiving(timeout_seconds=0.05)

    async def trickle():
        yield b'{"inst'
        await asyncio.sleep(30)

    answer = client.send("POST", "/", headers=headers("request"), content=trickle())
    assert answer.status_code == 408


def test_a_receiver_without_an_address_for_its_log_does_not_start(capsys, tmp_path):
    assert main(["--port", "0"]) == 2
    assert "payload_log.uri: is not set" in capsys.readouterr().err
    assert main(["--uri", str(tmp_path), "--port", "99999"]) == 2
    assert "--port" in capsys.readouterr().err
