"""The compiled pipeline: what it holds, and what the lint finds when something is broken."""

import os
from pathlib import Path

import pytest
import yaml

from pipelines.compile import compile_pipeline, lint_pipeline
from pipelines.run import STEPS
from tidegate.errors import BadInput

GOLDEN = Path(__file__).resolve().parents[2] / "pipelines" / "compiled" / "retrain.yaml"
IMAGE = "registry.example/tidegate/cpu@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def compiled() -> str:
    return compile_pipeline("retrain", IMAGE)


def test_the_compiled_pipeline_is_the_golden_one_image_and_command_included(compiled):
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(compiled)
    assert yaml.safe_load(compiled) == yaml.safe_load(GOLDEN.read_text()), (
        "run UPDATE_GOLDEN=1 pytest tests/unit/test_compile.py and read the difference"
    )


def test_every_step_of_the_run_directory_is_a_component_of_the_pipeline(compiled):
    components = yaml.safe_load(compiled)["deploymentSpec"]["executors"]
    assert {f"exec-{step}" for step in STEPS} == set(components)


def test_the_shipped_pipeline_has_no_finding(compiled):
    assert lint_pipeline(compiled) == []


def test_an_image_without_a_digest_is_found():
    findings = lint_pipeline(compile_pipeline("retrain", "tidegate/cpu:latest"))
    assert len(findings) == len(STEPS)
    assert "is not pinned by digest" in findings[0]


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("producerTask: ingest", "producerTask: digest", "reads from task 'digest'"),
        ("outputArtifactKey: trials", "outputArtifactKey: trails", "reads output 'trails'"),
        (
            "componentInputParameter: model_store",
            "componentInputParameter: store",
            "reads input 'store'",
        ),
        ("executorLabel: exec-search", "executorLabel: exec-serach", "executor 'exec-serach'"),
        ("name: comp-featurize", "name: comp-feature", "component 'comp-feature'"),
    ],
)
def test_a_dangling_reference_is_found(compiled, old, new, finding):
    assert old in compiled
    assert any(finding in found for found in lint_pipeline(compiled.replace(old, new)))


def test_an_input_that_is_not_given_is_found(compiled):
    spec = yaml.safe_load(compiled)
    del spec["root"]["dag"]["tasks"]["ingest"]["inputs"]["parameters"]["source_digest"]
    assert any("'source_digest'" in found for found in lint_pipeline(yaml.safe_dump(spec)))


def test_an_unknown_pipeline_is_refused():
    with pytest.raises(BadInput, match="retrain"):
        compile_pipeline("retrian", IMAGE)
