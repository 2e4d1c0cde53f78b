import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.infer_type import InferInput, InferRequest
from prometheus_client import REGISTRY

from tidegate.config import ServingConfig
from tidegate.records import BundleManifest, Column
from tidegate.serving.predictor import NO_THRESHOLD, ModerationPredictor, ScoringFailed
from tidegate.serving.schema import RequestRefused, Tensor, rows_from_instances, rows_from_tensors

COLUMNS = (
    Column(name="text", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="lang", kind="categorical"),
)
FEW_ROWS = ServingConfig(max_rows=4)
ROW = {"text": "hello", "age": 3, "lang": "en"}
BASE64 = {"content_type": "base64"}


class FakeBundle:
    """Scores a row by the length of its text."""

    def __init__(self, version="v1", threshold=0.5):
        self.manifest = BundleManifest(
            name="toy",
            version=version,
            format=1,
            created_at="2024-01-01T00:00:00+00:00",
            algorithm="length",
            params={},
            inputs=COLUMNS,
            threshold=threshold,
            min_precision=0.9,
            confidence=0.95,
            snapshot_digest="d",
            files={},
            libraries={},
        )
        self.seen = []

    def score_rows(self, rows):
        self.seen.append(rows)
        return np.array([min(len(row["text"]) / 10, 1.0) for row in rows])


def predict(predictor, payload):
    return asyncio.run(predictor.predict(payload))


def tensors(**changed):
    given = {
        "text": InferInput("text", [1], "BYTES", ["hello"]),
        "age": InferInput("age", [1], "FP64", [3.0]),
        "lang": InferInput("lang", [1], "BYTES", ["en"]),
    }
    return InferRequest("toy", list((given | changed).values()))


def sample(name, **labels):
    return REGISTRY.get_sample_value(name, {"model_name": "toy", **labels}) or 0.0


# --- answers -----------------------------------------------------------------------------------


def test_a_v1_answer_carries_score_flag_threshold_and_version():
    answer = predict(ModerationPredictor(FakeBundle()), {"instances": [ROW, {**ROW, "text": "hi"}]})
    told = {"threshold": 0.5, "model_version": "v1", "path": "full"}
    assert answer == {
        "predictions": [
            {"score": 0.5, "decision": "flagged", "action": "flagged", "flagged": True, **told},
            {"score": 0.2, "decision": "leave", "action": "leave", "flagged": False, **told},
        ]
    }


def test_a_v1_answer_of_a_bundle_without_threshold_flags_nothing():
    answer = predict(ModerationPredictor(FakeBundle(threshold=None)), {"instances": [ROW]})
    assert answer["predictions"] == [
        {"score": 0.5, "model_version": "v1", "path": "full"}
        | dict.fromkeys(("decision", "action", "flagged", "threshold"))
    ]


def test_a_v2_answer_carries_the_same():
    answer, _ = predict(ModerationPredictor(FakeBundle()), tensors()).to_rest()
    outputs = {o["name"]: (o["datatype"], o["shape"], o["data"]) for o in answer["outputs"]}
    assert outputs == {
        "score": ("FP64", [1], [0.5]),
        "flagged": ("BOOL", [1], [True]),
        "threshold": ("FP64", [1], [0.5]),
        "decision": ("BYTES", [1], ["flagged"]),
        "action": ("BYTES", [1], ["flagged"]),
        "path": ("BYTES", [1], ["full"]),
    }
    assert (answer["model_name"], answer["model_version"]) == ("toy", "v1")
    assert answer["id"], "an answer has an id when the request has none"


def test_a_v2_answer_of_a_bundle_without_threshold_says_so():
    predictor = ModerationPredictor(FakeBundle(threshold=None))
    answer, _ = predict(predictor, tensors()).to_rest()
    assert [o["name"] for o in answer["outputs"]] == ["score", "path"]
    assert answer["parameters"] == {"notice": NO_THRESHOLD}
    assert [o["name"] for o in predictor.get_output_types()] == ["score", "path"]


def test_both_protocols_give_the_model_the_same_rows():
    bundle = FakeBundle()
    predictor = ModerationPredictor(bundle)
    predict(predictor, {"instances": [ROW]})
    predict(predictor, tensors())
    raw = tensors()
    for tensor in raw.inputs:
        tensor.set_data_from_numpy(tensor.as_numpy().astype(tensor.as_numpy().dtype), True)
    predict(predictor, raw)
    assert bundle.seen == [[{"text": "hello", "age": 3.0, "lang": "en"}]] * 3


def test_metadata_names_every_input_and_output():
    predictor = ModerationPredictor(FakeBundle())
    assert predictor.get_input_types() == [
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
        {"name": "age", "datatype": "FP64", "shape": [-1]},
        {"name": "lang", "datatype": "BYTES", "shape": [-1]},
    ]
    assert [o["name"] for o in predictor.get_output_types()] == [
        *("score", "flagged", "threshold", "decision", "action", "path")
    ]


def test_the_predictor_is_ready_after_it_scored_a_row_and_not_before():
    bundle = FakeBundle()
    predictor = ModerationPredictor(bundle, name="other")
    predictor.start()
    assert not predictor.ready
    assert predictor.load()
    assert predictor.ready
    assert {type(value) for row in bundle.seen[0] for value in row.values()} == {str, float}


@pytest.mark.parametrize("scores", [[math.nan], [math.inf], [0.1, 0.2], []])
def test_a_bundle_that_gives_no_finite_score_for_every_row_is_never_ready(scores, monkeypatch):
    bundle = FakeBundle()
    monkeypatch.setattr(bundle, "score_rows", lambda rows: np.array(scores))
    predictor = ModerationPredictor(bundle)
    with pytest.raises(ScoringFailed, match="no finite score for every row"):
        predictor.load()
    assert not predictor.ready


def test_a_failing_model_is_logged_without_the_row(caplog, monkeypatch):
    def fail(rows):
        raise ValueError(f"cannot convert {rows[0]['text']}")

    bundle = FakeBundle()
    monkeypatch.setattr(bundle, "score_rows", fail)
    with pytest.raises(ScoringFailed, match=r"^the model failed on this request$"):
        predict(ModerationPredictor(bundle), {"instances": [ROW]})
    assert "ValueError" in caplog.text
    assert "hello" not in caplog.text


def test_metrics_count_requests_rows_flags_scores_and_refusals_of_this_version():
    predictor = ModerationPredictor(FakeBundle(version="counted"))
    predict(predictor, {"instances": [ROW, {**ROW, "text": "hi"}]})
    predict(predictor, tensors())
    with pytest.raises(RequestRefused):
        predict(predictor, {"instances": []})
    version = {"model_version": "counted"}
    assert sample("tidegate_requests_total", protocol="v1", **version) == 1
    assert sample("tidegate_requests_total", protocol="v2", **version) == 1
    assert sample("tidegate_scored_rows_total", **version) == 3
    assert sample("tidegate_flagged_rows_total", **version) == 2
    assert sample("tidegate_score_bucket", le="0.2", **version) == 1
    assert sample("tidegate_score_count", **version) == 3
    assert sample("tidegate_rejected_requests_total", reason="empty", **version) == 1


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "reason", "field"),
    [
        ([], "missing_field", "instances"),
        ({}, "missing_field", "instances"),
        ({"instances": {}}, "wrong_type", "instances"),
        ({"instances": []}, "empty", "instances"),
        ({"instances": [ROW] * 5}, "too_many_rows", "instances"),
        ({"instances": ["hello"]}, "wrong_type", "instances[0]"),
        ({"instances": [ROW, {"text": "a", "age": 1}]}, "missing_field", "instances[1].lang"),
        ({"instances": [{**ROW, "extra": 1}]}, "unknown_field", "instances[0].extra"),
        ({"instances": [{**ROW, "text": None}]}, "wrong_type", "instances[0].text"),
        ({"instances": [{**ROW, "text": 5}]}, "wrong_type", "instances[0].text"),
        ({"instances": [{**ROW, "text": ["a"]}]}, "wrong_type", "instances[0].text"),
        ({"instances": [{**ROW, "text": "\ud800"}]}, "wrong_type", "instances[0].text"),
        ({"instances": [{**ROW, "lang": 5}]}, "wrong_type", "instances[0].lang"),
        ({"instances": [{**ROW, "age": "3"}]}, "wrong_type", "instances[0].age"),
        ({"instances": [{**ROW, "age": {}}]}, "wrong_type", "instances[0].age"),
        ({"instances": [{**ROW, "age": math.nan}]}, "not_finite", "instances[0].age"),
        ({"instances": [{**ROW, "age": -math.inf}]}, "not_finite", "instances[0].age"),
        ({"instances": [{**ROW, "age": 10**400}]}, "not_finite", "instances[0].age"),
    ],
)
def test_a_v1_request_that_breaks_the_schema_is_refused(payload, reason, field):
    with pytest.raises(RequestRefused) as refused:
        predict(ModerationPredictor(FakeBundle(), config=FEW_ROWS), payload)
    assert (refused.value.reason, refused.value.field) == (reason, field)
    assert refused.value.status == 422


def test_null_is_a_missing_number_or_category():
    rows = rows_from_instances([{**ROW, "age": None, "lang": None}], COLUMNS, max_rows=1)
    assert rows == [{"text": "hello", "age": None, "lang": None}]


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("text", InferInput("text", [1], "FP64", [1.0]), "wrong_type"),
        ("text", InferInput("text", [1], "BYTES", [5]), "wrong_type"),
        ("text", InferInput("text", [1], "BYTES", [b"\xff"]), "wrong_type"),
        (
            "text",
            InferInput("text", [1], "BYTES", ["aGk="], {"content_type": "base64"}),
            "wrong_type",
        ),
        ("text", InferInput("text", [2], "BYTES", ["a", "b"]), "length_mismatch"),
        ("text", InferInput("text", [2], "BYTES", ["a"]), "length_mismatch"),
        ("text", InferInput("text", [1], "BYTES", ["a", "b"]), "wrong_shape"),
        ("text", InferInput("text", [1, 2], "BYTES", ["a", "b"]), "wrong_shape"),
        ("text", InferInput("text", [-1], "BYTES", ["a"]), "wrong_shape"),
        ("text", InferInput("text", [], "BYTES", ["a"]), "wrong_shape"),
        ("text", InferInput("text", [0], "BYTES", []), "empty"),
        ("text", InferInput("text", [10**12], "BYTES", ["a"]), "too_many_rows"),
        ("age", InferInput("age", [1], "BYTES", ["3"]), "wrong_type"),
        ("age", InferInput("age", [1], "FP64", ["3"]), "wrong_type"),
        ("age", InferInput("age", [1], "FP64", [None]), "wrong_type"),
        ("age", InferInput("age", [1], "INT64", [1.5]), "wrong_type"),
        ("age", InferInput("age", [1], "BOOL", [1]), "wrong_type"),
        ("age", InferInput("age", [1], "FP64", [math.nan]), "not_finite"),
        ("age", InferInput("age", [1], "FP64", [[1.0]]), "wrong_type"),
        ("age", InferInput("more", [1], "FP64", [1.0]), "missing_field"),
        ("more", InferInput("more", [1], "FP64", [1.0]), "unknown_field"),
        ("more", InferInput("age", [1], "FP64", [1.0]), "wrong_shape"),
    ],
)
def test_a_v2_request_that_breaks_the_schema_is_refused(name, tensor, reason):
    with pytest.raises(RequestRefused) as refused:
        predict(ModerationPredictor(FakeBundle(), config=FEW_ROWS), tensors(**{name: tensor}))
    assert refused.value.reason == reason


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\xff\xff\xff\xff", b"\x05\x00\x00\x00ab"])
@pytest.mark.parametrize(("name", "datatype"), [("text", "BYTES"), ("age", "FP64")])
def test_raw_bytes_that_are_not_the_tensor_are_refused(name, datatype, raw):
    tensor = InferInput(name, [1], datatype)
    tensor._raw_data = raw
    with pytest.raises(RequestRefused) as refused:
        predict(ModerationPredictor(FakeBundle()), tensors(**{name: tensor}))
    assert (refused.value.reason, refused.value.field) == ("wrong_shape", f"inputs.{name}")


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("FP32", [1.5], 1.5),
        ("INT64", [2], 2.0),
        ("INT32", [-2], -2.0),
        ("UINT8", [7], 7.0),
        ("BOOL", [True], 1.0),
        ("FP64", [[4.0]], 4.0),
    ],
)
def test_a_number_may_come_as_any_numeric_tensor(datatype, values, expected):
    shape = [1, 1] if isinstance(values[0], list) else [1]
    columns = (Column(name="age", kind="numeric"),)
    rows = rows_from_tensors([Tensor("age", datatype, shape, values)], columns, max_rows=1)
    assert rows == [{"age": expected}]


def test_a_clients_word_is_cut_and_printable_in_the_message():
    with pytest.raises(RequestRefused) as refused:
        rows_from_instances([{**ROW, "x\n" * 500: 1}], COLUMNS, max_rows=1)
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
cells = st.fixed_dictionaries(
    {"text": json_values, "age": json_values, "lang": json_values},
    optional={"extra": json_values},
)


@given(json_values | st.fixed_dictionaries({"instances": st.lists(cells | json_values)}))
def test_whatever_is_sent_is_either_checked_rows_or_a_refusal(payload):
    instances = payload.get("instances") if isinstance(payload, dict) else payload
    try:
        rows = rows_from_instances(instances, COLUMNS, max_rows=3)
    except RequestRefused as refused:
        str(refused).encode("utf-8")
        return
    assert 1 <= len(rows) <= 3
    for row in rows:
        assert list(row) == ["text", "age", "lang"]
        row["text"].encode("utf-8")
        assert row["age"] is None or math.isfinite(row["age"])
        assert row["lang"] is None or isinstance(row["lang"], str)
