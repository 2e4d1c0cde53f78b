"""The cascade's InferenceGraph: the document agreed on, and what KServe's router makes of it."""

import os
from pathlib import Path

import pytest
import yaml

from tests.unit.manifests.kserve_fields import unknown_fields
from tidegate.config import RunConfig
from tidegate.errors import BadInput
from tidegate.rollout.inference_graph import PASSES_A_ROW, build_inference_graph

GOLDEN = Path(__file__).parent / "inference_graph.yaml"
CONFIG = RunConfig.model_validate(
    {"name": "comments", "data": {"source": "c.parquet", "text": "body", "label": "y"}}
)
FILTER = "http://light.tidegate.svc/v1/models/light:predict"
HEAVY = "http://heavy.tidegate.svc/v1/models/heavy:predict"


@pytest.fixture
def graph():
    return build_inference_graph(CONFIG, filter_url=FILTER, heavy_url=HEAVY)


def test_it_is_the_document_agreed_on(graph):
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(yaml.safe_dump(graph, sort_keys=False))
    assert graph == yaml.safe_load(GOLDEN.read_text())


def test_kserve_knows_every_field(graph, kserve_models):
    assert unknown_fields(graph, "V1alpha1InferenceGraph", kserve_models) == []


def route(graph, services):
    """Do what KServe's router does with a Sequence (cmd/router/main.go)."""
    [node] = graph["spec"]["nodes"].values()
    assert node["routerType"] == "Sequence"
    status, answer, asked = 200, None, []
    for step in node["steps"]:
        if step.get("condition"):
            assert step["condition"] == PASSES_A_ROW
            rows = answer.get("predictions", [])
            if not any(row.get("flagged") is True for row in rows):
                return 200, answer, asked
        asked.append(step["name"])
        status, answer = services[step["serviceUrl"]]
        if step["dependency"] == "Hard" and not 200 <= status <= 299:
            return status, answer, asked
    return status, answer, asked


def answer(*flagged):
    return 200, {"predictions": [{"flagged": value} for value in flagged]}


def test_the_heavy_model_is_asked_only_about_what_the_filter_passes(graph):
    heavy = answer(True)
    assert route(graph, {FILTER: answer(False), HEAVY: heavy}) == (*answer(False), ["filter"])
    passed = route(graph, {FILTER: answer(False, True), HEAVY: heavy})
    assert passed == (*heavy, ["filter", "heavy"])


def test_a_filter_that_is_overloaded_is_no_answer(graph):
    busy = (503, {"error": "busy"})
    assert route(graph, {FILTER: busy, HEAVY: answer(True)}) == (*busy, ["filter"])


@pytest.mark.parametrize("url", ["light", "http://light/v2/models/light/infer"])
def test_an_address_that_the_condition_cannot_read_is_refused(url):
    with pytest.raises(BadInput, match="filter_url"):
        build_inference_graph(CONFIG, filter_url=url, heavy_url=HEAVY)
