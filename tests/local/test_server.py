"""The server as a client meets it: a process, a real bundle, HTTP and gRPC on loopback."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import httpx
import numpy as np
import pandas as pd
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import load_bundle, with_threshold, write_bundle
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.records import Column

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = (
    Column(name="text", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="lang", kind="categorical"),
)
ROW = {"text": "win a free prize", "age": 3, "lang": "en"}
ROWS = [ROW, {"text": "lunch at noon", "age": None, "lang": None}]
NO_DATA = {"name": "age", "datatype": "FP64", "shape": [1]}
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "default",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    generator = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(np.int8)
    words = {0: ["lunch", "noon", "code", "tea"], 1: ["prize", "free", "win", "cash"]}
    frame = pd.DataFrame(
        {
            "text": [" ".join(generator.choice(words[int(y)], size=4)) for y in labels],
            "age": generator.exponential(30, size=60),
            "lang": generator.choice(["en", "de"], 60),
        }
    )
    featurizer = Featurizer.fit(frame, COLUMNS, labels, FeatureConfig(projection_components=2))
    (folder / "featurizer").mkdir()
    featurizer.save(folder / "featurizer")
    logistic = algorithm("logistic")
    model = logistic.build(logistic.defaults, Setting())
    model.fit(featurizer.transform(frame), labels, np.ones(60))
    write_bundle(
        folder / "bundle",
        name="toy",
        algorithm="logistic",
        params=logistic.defaults,
        model=model,
        featurizer_folder=folder / "featurizer",
        columns=COLUMNS,
        snapshot_digest="d",
    )
    promise = {"min_precision": 0.9, "confidence": 0.95}
    with_threshold(folder / "bundle", folder / "bundle", threshold=0.5, **promise)
    return folder / "bundle"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tidegate.serving", *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Server:
    def __init__(self, bundle):
        self.port, self.grpc_port = free_port(), free_port()
        self.process = start(
            *("--bundle", bundle, "--port", self.port, "--grpc-port", self.grpc_port),
            *("--max-rows", 4),
        )
        self.ports = (self.port, self.grpc_port)
        self.announced = self.process.stdout.readline()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)

    def v1(self, instances):
        return self.http.post("/v1/models/toy:predict", json={"instances": instances})

    def v2(self, inputs, **more):
        return self.http.post("/v2/models/toy/infer", json={"inputs": inputs, **more})


@pytest.fixture(scope="module")
def server(bundle):
    server = Server(bundle)
    yield server
    server.http.close()
    server.process.terminate()
    server.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def expected(bundle):
    """What the bundle itself says of ROWS."""
    loaded = load_bundle(bundle)
    return loaded.score_rows(ROWS), loaded.manifest


def tensor(name, datatype, data, shape=None):
    return {"name": name, "datatype": datatype, "data": data, "shape": shape or [len(data)]}


def tensors(rows, **changed):
    given = {
        "text": tensor("text", "BYTES", [r["text"] for r in rows]),
        "age": tensor("age", "FP64", [float(r["age"]) for r in rows]),
        "lang": tensor("lang", "BYTES", [r["lang"] for r in rows]),
    }
    return list((given | changed).values())


# --- answers -----------------------------------------------------------------------------------


def test_one_line_says_where_it_serves_and_its_example_works(server):
    assert server.announced[-1] == "\n"
    example = re.search(r"curl -s (\S+) -d '(.*)'$", server.announced.strip())
    assert example is not None, server.announced
    answer = httpx.post(example[1], content=example[2])
    assert answer.status_code == 200
    assert set(answer.json()["predictions"][0]) == {
        *("score", "flagged", "threshold", "model_version")
    }


def test_v1_answers_with_the_bundles_own_scores(server, expected):
    scores, manifest = expected
    predictions = server.v1(ROWS).json()["predictions"]
    assert [p["score"] for p in predictions] == pytest.approx(list(scores), abs=1e-9)
    assert [p["flagged"] for p in predictions] == [True, False]
    assert {(p["threshold"], p["model_version"]) for p in predictions} == {(0.5, manifest.version)}


def test_v2_answers_with_the_same_score(server, expected):
    scores, manifest = expected
    answer = server.v2(tensors([ROW]), id="42").json()
    outputs = {o["name"]: o["data"] for o in answer["outputs"]}
    assert outputs["score"] == pytest.approx([scores[0]], abs=1e-9)
    assert (outputs["flagged"], outputs["threshold"]) == ([True], [0.5])
    assert (answer["id"], answer["model_version"]) == ("42", manifest.version)


def test_v2_answers_binary_tensors(server, expected):
    text = ROW["text"].encode()
    raw = len(text).to_bytes(4, "little") + text
    inputs = tensors([ROW])
    inputs[0] = {
        **{"name": "text", "datatype": "BYTES", "shape": [1]},
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": inputs}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    answer = server.http.post("/v2/models/toy/infer", content=head + raw, headers=headers)
    score = answer.json()["outputs"][0]["data"]
    assert score == pytest.approx([expected[0][0]], abs=1e-9)


def test_health_and_metadata(server, expected):
    assert server.http.get("/v2/health/live").json() == {"live": True}
    assert server.http.get("/v2/health/ready").json() == {"ready": True}
    assert server.http.get("/v2/models/toy/ready").json() == {"name": "toy", "ready": True}
    metadata = server.http.get("/v2/models/toy").json()
    assert [(i["name"], i["datatype"]) for i in metadata["inputs"]] == [
        *(("text", "BYTES"), ("age", "FP64"), ("lang", "BYTES"))
    ]
    assert [o["name"] for o in metadata["outputs"]] == ["score", "flagged", "threshold"]
    assert metadata["versions"] == [expected[1].version]


def test_metrics_tell_what_this_version_did(server, expected):
    server.v1(ROWS)
    server.v1([])
    server.http.post("/v1/models/toy:predict", content="{")
    text = server.http.get("/metrics").text
    labels = rf'model_name="toy",model_version="{expected[1].version}"'
    for sample in (
        rf'tidegate_requests_total{{{labels},protocol="v1"}}',
        rf"tidegate_scored_rows_total{{{labels}}}",
        rf"tidegate_flagged_rows_total{{{labels}}}",
        rf'tidegate_score_bucket{{le="0.5",{labels}}}',
        rf'tidegate_rejected_requests_total{{{labels},reason="empty"}}',
        rf'tidegate_rejected_requests_total{{{labels},reason="malformed"}}',
    ):
        assert re.search(rf"^{re.escape(sample)} [1-9]", text, re.MULTILINE), sample


def test_v2_gives_the_outputs_that_are_asked_for(server):
    asked = [{"name": "flagged"}]
    assert [o["name"] for o in server.v2(tensors([ROW]), outputs=asked).json()["outputs"]] == [
        "flagged"
    ]
    assert server.v2(tensors([ROW]), outputs=[{"name": "colour"}]).status_code == 400


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instances", "field", "reason"),
    [
        ([{**ROW, "age": "3"}], "instances[0].age", "wrong_type"),
        ([{"text": "a", "age": 1}], "instances[0].lang", "missing_field"),
        ([{**ROW, "more": 1}], "instances[0].more", "unknown_field"),
        ([], "instances", "empty"),
        ([ROW] * 5, "instances", "too_many_rows"),
    ],
)
def test_a_v1_request_that_breaks_the_schema_names_field_and_reason(
    server, instances, field, reason
):
    answer = server.v1(instances)
    assert answer.status_code == 422
    assert (answer.json()["field"], answer.json()["reason"]) == (field, reason)
    assert answer.json()["error"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        ({"age": tensor("age", "BYTES", ["3"])}, "inputs.age", "wrong_type"),
        ({"age": tensor("age", "FP64", [1.0, 2.0])}, "inputs.age", "length_mismatch"),
        ({"age": tensor("age", "FP64", [1.0], [1, 1, 1])}, "inputs.age", "wrong_shape"),
        ({"age": NO_DATA}, "inputs.1.data", "missing_field"),
        ({"age": tensor("years", "FP64", [1.0])}, "inputs.age", "missing_field"),
    ],
)
def test_a_v2_request_that_breaks_the_schema_names_field_and_reason(server, changed, field, reason):
    answer = server.v2(tensors([ROW], **changed))
    assert answer.status_code == 422
    assert (answer.json()["field"], answer.json()["reason"]) == (field, reason)


NOT_A_REQUEST = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"instances": [{"text": NaN}]}',
    b'{"inputs": [{"name": NaN, "shape": [1], "datatype": "FP64", "data": [1]}]}',
    b'{"inputs": [{"name": "text", "shape": ["x"], "datatype": 5, "data": {}}]}',
    b'{"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [NaN]}]}',
    b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["\\ud800"]}]}',
    b'{"inputs": []}',
    b'{"inputs": {}, "instances": {}}',
    b'{"instances": [{"age": 1' + b"0" * 5000 + b"}]}",
]


@pytest.mark.parametrize("path", ["/v1/models/toy:predict", "/v2/models/toy/infer"])
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": "text/plain"},
        {},
        {"content-type": "application/octet-stream", "inference-header-content-length": "7"},
        {"content-type": "application/octet-stream", "inference-header-content-length": "x"},
        {"ce-id": "1", "ce-source": "x", "ce-type": "y", "ce-specversion": "1.0"},
    ],
    ids=["json", "charset", "plain", "none", "binary", "bad-length", "cloudevent"],
)
def test_a_body_that_is_no_request_is_always_a_4xx_on_the_same_connection(server, path, headers):
    for body in NOT_A_REQUEST:
        answer = server.http.post(path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (body[:80], answer.text)
        assert set(answer.json()) == {"error", "field", "reason"}
        assert answer.headers.get("connection") != "close"


def test_malformed_json_is_400(server):
    for path in ("/v1/models/toy:predict", "/v2/models/toy/infer"):
        answer = server.http.post(path, content="{", headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["reason"]) == (400, "malformed")


def test_an_unknown_model_is_404(server):
    assert server.http.get("/v2/models/nobody").status_code == 404
    assert server.http.post("/v1/models/nobody:predict", json={}).status_code == 404
    answer = server.http.post("/v2/models/nobody/infer", json={"inputs": tensors([ROW])})
    assert answer.status_code == 404


def test_nobody_can_unload_the_model_over_http(server):
    answer = server.http.post("/v2/repository/models/toy/unload")
    assert (answer.status_code, "stop the server" in answer.text) == (400, True)
    assert server.v1([ROW]).status_code == 200


# --- gRPC --------------------------------------------------------------------------------------


def infer(server, **changed):
    contents = {
        "text": ("BYTES", pb.InferTensorContents(bytes_contents=[ROW["text"].encode()])),
        "age": ("FP64", pb.InferTensorContents(fp64_contents=[3.0])),
        "lang": ("BYTES", pb.InferTensorContents(bytes_contents=[b"en"])),
    } | changed
    request = pb.ModelInferRequest(
        model_name="toy",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=name, datatype=datatype, shape=[1], contents=values
            )
            for name, (datatype, values) in contents.items()
        ],
    )
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)


def test_grpc_answers_with_the_same_score(server, expected):
    scores, manifest = expected
    answer = infer(server)
    outputs = {o.name: o.contents for o in answer.outputs}
    assert list(outputs["score"].fp64_contents) == pytest.approx([scores[0]], abs=1e-9)
    assert list(outputs["flagged"].bool_contents) == [True]
    assert list(outputs["threshold"].fp64_contents) == [0.5]
    assert answer.model_version == manifest.version


def test_grpc_answers_raw_tensors_with_raw_tensors(server, expected):
    text = ROW["text"].encode()
    raw = [len(text).to_bytes(4, "little") + text, np.float64(3).tobytes(), b"\2\0\0\0en"]
    inputs = [
        pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=[1])
        for name, datatype in (("text", "BYTES"), ("age", "FP64"), ("lang", "BYTES"))
    ]
    request = pb.ModelInferRequest(model_name="toy", inputs=inputs, raw_input_contents=raw)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    assert np.frombuffer(answer.raw_output_contents[0])[0] == pytest.approx(expected[0][0])


def test_grpc_does_not_know_another_model(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ModelReady(pb.ModelReadyRequest(name="toy"), timeout=10).ready
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(pb.ModelInferRequest(model_name="nobody"), timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"text": ("BYTES", pb.InferTensorContents(bytes_contents=[b"\xff"]))}, "inputs.text"),
        ({"age": ("FP64", pb.InferTensorContents(fp64_contents=[float("nan")]))}, "inputs.age"),
        ({"age": ("FP64", pb.InferTensorContents())}, "holds 0 values"),
        ({"more": ("FP64", pb.InferTensorContents(fp64_contents=[1]))}, "inputs.more"),
        ({"age": ("FP99", pb.InferTensorContents(fp64_contents=[1]))}, "invalid content type"),
    ],
)
def test_grpc_refuses_with_invalid_argument(server, changed, says):
    with pytest.raises(grpc.RpcError) as refused:
        infer(server, **changed)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in refused.value.details()


# --- starting and stopping ---------------------------------------------------------------------


def run(*arguments):
    process = start(*arguments)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_a_port_in_use_is_one_message_and_exit_2(server, bundle):
    code, errors = run("--bundle", bundle, "--port", server.port, "--grpc-port", "none")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert f"--port: cannot listen on 127.0.0.1:{server.port}" in errors
    code, errors = run("--bundle", bundle, "--port", free_port(), "--grpc-port", server.grpc_port)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "--grpc-port: cannot listen on" in errors


def test_a_damaged_bundle_is_one_message_and_exit_2(bundle, tmp_path):
    code, errors = run("--bundle", tmp_path / "nowhere", "--port", free_port())
    assert (code, len(errors.splitlines())) == (2, 1)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_on_loopback_alone_and_stops_at_once_with_0(bundle, sign):
    server = Server(bundle)
    try:
        assert server.v1([ROW]).status_code == 200
        infer(server)
        tables = [Path(f"/proc/{server.process.pid}/net/{kind}") for kind in ("tcp", "tcp6")]
        sockets = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
        ours = {
            address.rpartition(":")[0]
            for _, address, _, state, *_ in sockets
            if state == "0A" and int(address.rpartition(":")[2], 16) in server.ports
        }
        assert ours == {"0100007F", "0000000000000000FFFF00000100007F"}
    finally:
        stopped = time.monotonic()
        server.process.send_signal(sign)
        _, errors = server.process.communicate(timeout=20)
        server.http.close()
    assert server.process.returncode == 0
    assert time.monotonic() - stopped < 5
    assert "Traceback" not in errors
