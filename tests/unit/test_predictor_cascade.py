"""A served cascade: the way of each row in answer, metrics and log, and the knob under load."""

import asyncio

import numpy as np
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from tests.unit.test_cascade import cascade, rows_of
from tidegate.config import ServingConfig
from tidegate.models.bundle import Bundle
from tidegate.records import BundleManifest, Column
from tidegate.serving.predictor import ModerationPredictor
from tidegate.serving.routing import router_of

COLUMNS = (Column(name="light", kind="numeric"), Column(name="heavy", kind="numeric"))


class Numbers:
    """A featurizer whose two features are the two inputs."""

    def transform(self, table):
        light, heavy = ([0.0 if v is None else v for v in table[n]] for n in ("light", "heavy"))
        return rows_of(light, heavy)


class Kept(list):
    def offer(self, rows):
        self.extend(rows)


def predictor(sink=None, **serving):
    manifest = BundleManifest(
        name="cascaded",
        version="v1",
        format=1,
        created_at="2024-01-01T00:00:00+00:00",
        algorithm="cascade",
        params={},
        inputs=COLUMNS,
        threshold=0.8,
        min_precision=0.9,
        confidence=0.95,
        snapshot_digest="d",
        files={},
        libraries={},
        history=("heavy",),
    )
    bundle, config = Bundle(manifest, Numbers(), cascade(0.2, 0.6)), ServingConfig(**serving)
    made = ModerationPredictor(bundle, config=config, sink=sink, router=router_of(bundle, config))
    made.load()
    return bundle.model, made


def rows(*pairs):
    return {"instances": [{"light": light, "heavy": heavy} for light, heavy in pairs]}


def sample(name, **labels):
    labels = {"model_name": "cascaded", "model_version": "v1", **labels}
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_way_of_each_row_is_answered_counted_and_logged():
    names = ("tidegate_heavy_calls_total", "tidegate_heavy_calls_saved_total")
    before = [sample(name) for name in names]
    lights = sample("tidegate_path_rows_total", path="light")
    log = Kept()
    _, served = predictor(log)
    told = asyncio.run(served.predict(rows((0.1, 0.9), (0.3, 0.9), (0.1, None), (0.9, None))))
    paths = ["light", "heavy", "new_account_light", "new_account_heavy"]
    assert [entry["path"] for entry in told["predictions"]] == paths
    assert [entry["score"] for entry in told["predictions"]] == pytest.approx([0.1, 0.9, 0.1, 0])
    assert [row["path"] for row in log] == paths
    assert [sample(name) - was for name, was in zip(names, before, strict=True)] == [2, 2]
    assert sample("tidegate_path_rows_total", path="light") == lights + 1


def test_both_models_are_warm_before_the_first_request():
    model, _ = predictor()
    assert model.light.model.asked >= 1
    assert model.heavy.model.asked >= 1


def asked_together(served, requests):
    """Ask at once; return the paths answered."""

    async def ask():
        found = await asyncio.gather(*(served.predict(rows((0.5, 0.9))) for _ in range(requests)))
        return {entry["path"] for answer in found for entry in answer["predictions"]}

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("serving", "requests", "path", "load"),
    [
        ({"cascade_queue": (0.1, 0.2)}, 2, "heavy", 0.0),
        ({"cascade_queue": (0.1, 0.2)}, 30, "light", 1.0),
        ({"cascade_load": 0.0, "cascade_queue": (0.1, 0.2)}, 30, "heavy", 0.0),
        ({"cascade_load": 1.0}, 1, "light", 1.0),
    ],
)
def test_the_knob_goes_by_the_queue_unless_it_is_fixed(serving, requests, path, load):
    model, served = predictor(**serving)
    assert asked_together(served, requests) == {path}
    assert model.load == load
    served.count_load()
    assert sample("tidegate_cascade_load") == load


def test_the_knob_comes_back_when_the_queue_is_gone():
    model, served = predictor(cascade_queue=(0.1, 0.2))
    asked_together(served, 30)
    assert asked_together(served, 1) == {"heavy"}
    assert model.load == 0.0


def test_a_row_has_the_same_score_alone_and_among_others_that_go_another_way():
    _, served = predictor()
    pairs = np.random.default_rng(0).uniform(size=(12, 2)).tolist()
    together = asyncio.run(served.predict(rows(*pairs)))["predictions"]
    alone = [asyncio.run(served.predict(rows(pair)))["predictions"][0] for pair in pairs]
    assert together == alone


def test_a_queue_that_does_not_ascend_is_refused():
    with pytest.raises(ValidationError, match="cascade_queue must ascend"):
        ServingConfig(cascade_queue=(0.7, 0.3))
