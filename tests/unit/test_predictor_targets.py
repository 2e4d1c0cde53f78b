"""What the server answers for a model of classes or of several tasks."""

import asyncio

import numpy as np
import pytest
from kserve.protocol.infer_type import InferInput, InferRequest

from tidegate.records import BundleManifest, Column, Target
from tidegate.serving.predictor import ModerationPredictor, ScoringFailed

TARGET = Target(kind="multiclass", outputs=("hate", "normal", "spam"), violating=("hate", "spam"))


class ClassBundle:
    def __init__(self, outputs):
        self.outputs = outputs
        self.manifest = BundleManifest(
            name="classes",
            version="v1",
            format=1,
            created_at="2024-01-01T00:00:00+00:00",
            algorithm="fake",
            params={},
            inputs=(Column(name="text", kind="text"),),
            target=TARGET,
            threshold=0.5,
            min_precision=0.9,
            confidence=0.95,
            snapshot_digest="d",
            files={},
            libraries={},
        )

    def output_rows(self, rows):
        return np.tile(self.outputs, (len(rows), 1))


def answer(payload, outputs=(0.5, 0.25, 0.25)):
    return asyncio.run(ModerationPredictor(ClassBundle(np.array(outputs))).predict(payload))


def test_v1_tells_the_probability_of_each_class_beside_the_score():
    (told,) = answer({"instances": [{"text": "hello"}]})["predictions"]
    assert told == {
        "score": 0.75,
        "decision": "flagged",
        "action": "flagged",
        "path": "full",
        "flagged": True,
        "threshold": 0.5,
        "model_version": "v1",
        "probabilities": {"hate": 0.5, "normal": 0.25, "spam": 0.25},
    }


def test_v2_answers_one_tensor_a_class_as_its_metadata_says():
    request = InferRequest("classes", [InferInput("text", [2], "BYTES", ["hello", "there"])])
    tensors = {tensor.name: tensor.data for tensor in answer(request).outputs}
    assert tensors["probability_normal"] == [0.25, 0.25]
    predictor = ModerationPredictor(ClassBundle(np.array([0.5, 0.25, 0.25])))
    assert [entry["name"] for entry in predictor.get_output_types()] == list(tensors)


def test_outputs_that_are_no_numbers_are_a_defect():
    with pytest.raises(ScoringFailed):
        answer({"instances": [{"text": "hello"}]}, outputs=(np.nan, 0.5, 0.5))
    with pytest.raises(ScoringFailed):
        answer({"instances": [{"text": "hello"}]}, outputs=(0.25, np.nan, 0.5))
