"""What a client may say beside its rows, and what comes of it."""

import asyncio

import numpy as np
import pytest
from kserve.protocol.infer_type import InferInput, InferRequest

from tidegate.config import ExplorationConfig, ServingConfig
from tidegate.records import PAYLOAD_COLUMNS, BundleManifest, Column, DecisionRule, Target
from tidegate.serving.exploration import Exploration
from tidegate.serving.predictor import ModerationPredictor
from tidegate.serving.schema import RequestRefused

COLUMNS = (
    Column(name="text", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="lang", kind="categorical"),
)
ROWS = [{"text": "hello there", "age": 3, "lang": "en"}, {"text": "hi", "age": 1, "lang": "de"}]


class LengthBundle:
    """Scores a row by the length of its text."""

    def __init__(self, **changed):
        given = {
            **{"name": "toy", "version": "v1", "format": 1, "algorithm": "length", "params": {}},
            **{"created_at": "2024-01-01T00:00:00+00:00", "inputs": COLUMNS, "threshold": 0.5},
            **{"min_precision": 0.9, "confidence": 0.95, "snapshot_digest": "d"},
            **{"files": {}, "libraries": {}},
        }
        self.manifest = BundleManifest.model_validate(given | changed)

    def score_rows(self, rows):
        return np.array([min(len(row["text"]) / 10, 1.0) for row in rows])

    def output_rows(self, rows):
        score = self.score_rows(rows)
        return np.column_stack([score, 1 - score])


class Sink:
    def __init__(self):
        self.rows = []

    def offer(self, rows):
        self.rows += rows


def ask(document, bundle=None, **named):
    predictor = ModerationPredictor(bundle or LengthBundle(), **named)
    return asyncio.run(predictor.predict(document))


def refusal(document, **named):
    with pytest.raises(RequestRefused) as refused:
        ask(document, **named)
    return refused.value.reason, refused.value.field


def v2(rows, parameters=None, **more):
    inputs = [
        InferInput("text", [len(rows)], "BYTES", [row["text"] for row in rows]),
        InferInput("age", [len(rows)], "FP64", [float(row["age"]) for row in rows]),
        InferInput("lang", [len(rows)], "BYTES", [row["lang"] for row in rows]),
        *more.values(),
    ]
    return InferRequest("toy", inputs, parameters=parameters)


def values(answer):
    return {output.name: output.data for output in answer.outputs}


def test_ids_come_back_with_their_rows_in_both_protocols():
    told = ask({"instances": ROWS, "ids": ["a", "b"]})["predictions"]
    assert [entry["id"] for entry in told] == ["a", "b"]
    ids = InferInput("row_id", [2], "BYTES", ["a", "b"])
    assert values(ask(v2(ROWS, ids=ids)))["row_id"] == ["a", "b"]


@pytest.mark.parametrize(
    ("ids", "reason"),
    [("a", "wrong_type"), (["a"], "length_mismatch"), (["a", 5], "wrong_type")],
)
def test_ids_that_are_not_one_string_a_row_are_refused(ids, reason):
    assert refusal({"instances": ROWS, "ids": ids})[0] == reason


def test_a_row_that_only_reaches_the_review_threshold_goes_to_review():
    bundle = LengthBundle(threshold=0.9, rule=DecisionRule(review_threshold=0.2))
    told = ask({"instances": [*ROWS, {**ROWS[0], "text": ""}]}, bundle)["predictions"]
    assert [entry["decision"] for entry in told] == ["flagged", "review", "leave"]
    assert [entry["flagged"] for entry in told] == [True, False, False]


def test_thresholds_of_segments_go_by_the_input_or_by_what_the_client_says():
    by_input = DecisionRule(segment_column="lang", segment_thresholds={"de": 0.1})
    told = ask({"instances": ROWS}, LengthBundle(rule=by_input))["predictions"]
    assert [entry["threshold"] for entry in told] == [0.5, 0.1]
    by_word = DecisionRule(segment_column="market", segment_thresholds={"x": 0.1})
    asked = {"instances": ROWS, "parameters": {"segment": "x"}}
    told = ask(asked, LengthBundle(rule=by_word))["predictions"]
    assert [entry["threshold"] for entry in told] == [0.1, 0.1]


def test_an_account_without_history_takes_its_own_path_and_may_leave_it_out():
    config = ServingConfig(history=("age",))
    new = {"text": "hello", "lang": "en"}
    told = ask({"instances": [ROWS[0], new]}, config=config)["predictions"]
    assert [entry["path"] for entry in told] == ["full", "new_account"]
    request = InferRequest(
        "toy",
        [InferInput("text", [1], "BYTES", ["hello"]), InferInput("lang", [1], "BYTES", ["en"])],
    )
    assert values(ask(request, config=config))["path"] == ["new_account"]
    assert refusal({"instances": [new]}) == ("missing_field", "instances[0].age")


def test_the_bundle_states_which_inputs_each_path_needs():
    manifest = LengthBundle(history=("age",)).manifest
    assert manifest.paths == {"full": ("text", "age", "lang"), "new_account": ("text", "lang")}
    assert ask({"instances": [{"text": "hello", "lang": "en"}]}, LengthBundle(history=("age",)))


def test_reasons_come_when_they_are_asked_for():
    def explain(rows):
        return [{"method": "length", "contributions": [len(row["text"])]} for row in rows]

    asked = {"instances": ROWS, "parameters": {"explain": True}}
    told = ask(asked, explain=explain)["predictions"]
    assert [entry["reasons"]["contributions"] for entry in told] == [[11], [2]]
    assert "reasons" not in ask({"instances": ROWS}, explain=explain)["predictions"][0]
    assert "length" in values(ask(v2(ROWS, {"explain": True}), explain=explain))["reasons"][0]


def test_reasons_are_given_for_so_many_rows_of_a_request():
    asked = {"instances": ROWS, "parameters": {"explain": True}}
    config = ServingConfig(max_explained_rows=1)
    assert refusal(asked, config=config) == ("too_many_rows", "parameters.explain")


@pytest.mark.parametrize(
    "parameters", [5, [], {"explain": "yes"}, {"segment": 5}, {"segment": "x" * 1000}, {"unit": 7}]
)
def test_parameters_of_another_type_are_refused(parameters):
    assert refusal({"instances": ROWS, "parameters": parameters})[0] == "wrong_type"


def test_every_answered_row_is_offered_to_the_log():
    sink = Sink()
    asked = {"instances": ROWS, "ids": ["a", "b"], "parameters": {"segment": "x"}}
    ask(asked, sink=sink)
    first = sink.rows[0]
    logged = {name.removeprefix("input_") for name in first} - set(PAYLOAD_COLUMNS)
    assert logged == {"text", "age", "lang"}
    assert (first["row_id"], first["segment"], first["path"]) == ("a", "x", "full")
    assert (first["decision"], first["action"], first["input_text"]) == (
        *("flagged", "flagged"),
        "hello there",
    )


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_a_row_of_an_experiment_is_logged_with_its_unit_and_arm(protocol):
    sink, parameters = Sink(), {"unit": "account-7", "arm": "candidate"}
    asked = {"instances": ROWS, "parameters": parameters}
    ask(asked if protocol == "v1" else v2(ROWS, parameters), sink=sink)
    assert {(row["unit_id"], row["arm"]) for row in sink.rows} == {("account-7", "candidate")}
    ask({"instances": ROWS}, sink=sink)
    assert (sink.rows[-1]["unit_id"], sink.rows[-1]["arm"]) == (None, None)


def test_an_explored_row_is_told_and_logged_with_its_probability():
    config = ExplorationConfig(allow_share=0.5)
    exploration, sink = Exploration(config, b"k" * 32), Sink()
    rows = [ROWS[0]] * 200
    asked = {"instances": rows, "ids": [f"post-{n}" for n in range(200)]}
    told = ask(asked, sink=sink, exploration=exploration)["predictions"]
    allowed = [entry for entry in told if entry["action"] == "leave"]
    assert 50 < len(allowed) < 150
    assert {entry["decision"] for entry in told} == {"flagged"}
    assert [row["explored"] for row in sink.rows] == [e["action"] == "leave" for e in told]
    assert {row["action_probability"] for row in sink.rows} == {0.5}


def test_a_class_with_a_threshold_of_its_own_is_named():
    target = Target(kind="multiclass", outputs=("hate", "fine"), violating=("hate",))
    rule = DecisionRule(class_thresholds={"hate": 0.9})
    told = ask({"instances": ROWS}, LengthBundle(target=target, rule=rule))["predictions"]
    assert [entry["classes"] for entry in told] == [["hate"], []]
