"""The server as a client meets it over HTTP: answers, metrics and refusals."""

import json
import re

import httpx
import pytest

from tests.local.server.process import ROW, ROWS

NO_DATA = {"name": "age", "datatype": "FP64", "shape": [1]}


def tensor(name, datatype, data, shape=None):
    return {"name": name, "datatype": datatype, "data": data, "shape": shape or [len(data)]}


def tensors(rows, **changed):
    given = {
        "text": tensor("text", "BYTES", [r["text"] for r in rows]),
        "age": tensor("age", "FP64", [float(r["age"]) for r in rows]),
        "lang": tensor("lang", "BYTES", [r["lang"] for r in rows]),
    }
    return list((given | changed).values())


def test_one_line_says_where_it_serves_and_its_example_works(server):
    assert server.announced[-1] == "\n"
    example = re.search(r"curl -s (\S+) -d '(.*)'$", server.announced.strip())
    assert example is not None, server.announced
    answer = httpx.post(example[1], content=example[2])
    assert answer.status_code == 200
    assert set(answer.json()["predictions"][0]) == {
        *("score", "decision", "action", "flagged", "threshold", "model_version", "path")
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
    assert [o["name"] for o in metadata["outputs"]] == [
        *("score", "flagged", "threshold", "decision", "action", "path")
    ]
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


def test_reasons_name_the_features_that_moved_the_score(server):
    asked = {"instances": ROWS, "ids": ["a", "b"], "parameters": {"explain": True}}
    told = server.http.post("/v1/models/toy:predict", json=asked).json()["predictions"]
    assert [entry["id"] for entry in told] == ["a", "b"]
    reasons = told[0]["reasons"]
    assert reasons["method"] == "linear"
    names = " ".join(contribution["feature"] for contribution in reasons["contributions"])
    assert "text:" in names


def test_both_ways_of_the_server_answer_v2_alike(server):
    """The quick way and KServe's own, which a CloudEvent's header leads to."""
    headers = {"ce-id": "1", "ce-source": "x", "ce-type": "y", "ce-specversion": "1.0"}
    asked = {"inputs": tensors([ROW]), "id": "42", "parameters": {"segment": "x"}}
    quick = server.http.post("/v2/models/toy/infer", json=asked).json()
    slow = server.http.post("/v2/models/toy/infer", json=asked, headers=headers).json()
    assert quick == slow
    quick, slow = (
        server.http.post("/v1/models/toy:predict", json={"instances": [ROW]}, headers=h).json()
        for h in ({}, headers)
    )
    assert quick == slow


def test_v1_explain_is_a_prediction_with_its_reasons(server):
    answer = server.http.post("/v1/models/toy:explain", json={"instances": [ROW]})
    assert answer.json()["predictions"][0]["reasons"]["method"] == "linear"


def test_the_version_that_serves_may_be_named_and_no_other(server, expected):
    version = expected[1].version
    asked = {"inputs": tensors([ROW])}
    answer = server.http.post(f"/v2/models/toy/versions/{version}/infer", json=asked)
    assert answer.json()["model_version"] == version
    assert server.http.get(f"/v2/models/toy?model_version={version}").json()["name"] == "toy"
    assert server.http.get("/v2/models/toy/versions/other").status_code == 404
    assert server.http.get("/v2/models/toy/ready?model_version=other").status_code == 404
