"""A cascade behind HTTP: its light model answers, its heavy one is asked for the rows that pass."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tests.local.server.process import Server
from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import load_bundle, with_decision_rule, write_bundle
from tidegate.models.cascade import CASCADE, Cascade, Stage
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.records import Column, PassThroughPoint

WORDS = {0: ["lunch", "noon", "code", "tea"], 1: ["prize", "free", "win", "cash"]}
HARMLESS, DOUBTFUL, CLEAR = "lunch at noon", "free code at noon", "win a free prize"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A cascade whose filter lets doubtful rows pass at rest, and stops them at full load."""
    folder = tmp_path_factory.mktemp("cascade")
    labels = (np.arange(60) % 2).astype(np.int8)
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"text": [" ".join(generator.choice(WORDS[int(y)], size=4)) for y in labels]}
    )
    columns = (Column(name="text", kind="text"),)
    featurizer = Featurizer.fit(frame, columns, labels, FeatureConfig(embedding="none"))
    featurizer.save(folder / "featurizer")
    logistic = algorithm("logistic")

    def stage(families):
        params = {**logistic.defaults, "features": families}
        model = logistic.build(params, Setting())
        return Stage(
            "logistic", params, model.fit(featurizer.transform(frame), labels, np.ones(60))
        )

    light, heavy = stage("words"), stage("words+chars")
    asked = pd.DataFrame({"text": [HARMLESS, DOUBTFUL, CLEAR]})
    said = light.model.predict_proba(featurizer.transform(asked))[:, 1]
    cuts = [(said[0] + said[1]) / 2, (said[1] + said[2]) / 2]
    curve = [
        PassThroughPoint(load=load, max_loss=0.01, pass_through=cut, lost=0)
        for load, cut in zip((0.0, 1.0), cuts, strict=True)
    ]
    write_bundle(
        folder / "bundle",
        name="toy",
        algorithm=CASCADE,
        params={},
        model=Cascade(light, heavy, curve),
        featurizer_folder=folder / "featurizer",
        columns=columns,
        snapshot_digest="d",
    )
    promise = {"min_precision": 0.9, "confidence": 0.95}
    with_decision_rule(folder / "bundle", folder / "bundle", threshold=float(said[2]), **promise)
    return folder / "bundle"


def served(bundle, settings):
    return Server(bundle, settings, max_rows=64)


def paths(server, *texts):
    answer = server.v1([{"text": text} for text in texts])
    assert answer.status_code == 200, answer.text
    return [entry["path"] for entry in answer.json()["predictions"]]


def figure(server, name):
    text = server.http.get("/metrics").text
    found = re.search(rf"^{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_rows_take_the_light_or_the_heavy_way_and_the_calls_saved_are_counted(bundle):
    server = served(bundle, {"cascade_load": 0})
    try:
        told = server.v1([{"text": text} for text in (HARMLESS, DOUBTFUL, CLEAR)]).json()
        assert [entry["path"] for entry in told["predictions"]] == ["light", "heavy", "heavy"]
        loaded = load_bundle(bundle)
        rows = [{"text": text} for text in (HARMLESS, DOUBTFUL, CLEAR)]
        light, heavy = (
            stage.model.predict_proba(loaded.features_of(rows))[:, 1]
            for stage in (loaded.model.light, loaded.model.heavy)
        )
        assert [entry["score"] for entry in told["predictions"]] == pytest.approx(
            [light[0], heavy[1], heavy[2]], abs=1e-6
        )
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [HARMLESS]}
        outputs = {o["name"]: o["data"] for o in server.v2([tensor]).json()["outputs"]}
        assert outputs["path"] == ["light"]
        assert figure(server, "tidegate_heavy_calls_total") == 2
        assert figure(server, "tidegate_heavy_calls_saved_total") == 2
        assert figure(server, "tidegate_cascade_load") == 0
    finally:
        server.stop()


def test_the_knob_by_hand_saves_the_heavy_calls_of_doubtful_rows(bundle):
    server = served(bundle, {"cascade_load": 1})
    try:
        assert paths(server, HARMLESS, DOUBTFUL, CLEAR) == ["light", "light", "heavy"]
        assert figure(server, "tidegate_cascade_load") == 1
    finally:
        server.stop()


def test_a_long_queue_turns_the_knob_and_a_short_one_turns_it_back(bundle):
    settings = {"max_concurrent": 64, "cascade_queue": [0.02, 0.1], "batch_rows": 64}
    server = served(bundle, settings)
    try:
        assert paths(server, DOUBTFUL) == ["heavy"]
        rows = [DOUBTFUL] * 64
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: paths(server, *rows), range(160)))
        taken = {path for answer in answers for path in answer}
        assert "light" in taken, json.dumps(sorted(taken))
        assert paths(server, DOUBTFUL) == ["heavy"]
    finally:
        server.stop()
