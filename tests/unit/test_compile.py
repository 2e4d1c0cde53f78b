"""The compiled pipeline: what it holds, and what the lint finds when something is broken."""

import os
from pathlib import Path

import pytest
import yaml

from pipelines.compile import (
    compile_pipeline,
    lint_pipeline,
    pipeline_resources,
    read_pipeline,
    version_name,
    write_pipeline,
)
from pipelines.run import STEPS
from tidegate.config import ClusterConfig
from tidegate.errors import BadInput

COMPILED = Path(__file__).resolve().parents[2] / "pipelines" / "compiled"
GOLDEN_RESOURCES = Path(__file__).resolve().parents[1] / "golden" / "retrain_resources.yaml"
IMAGE = "registry.example/tidegate/cpu@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def compiled() -> str:
    return compile_pipeline("retrain", ClusterConfig(image=IMAGE))


@pytest.fixture(scope="module")
def pipeline(compiled):
    return read_pipeline(compiled)[0]


@pytest.fixture(scope="module")
def placed(compiled):
    """Return the Kubernetes part of every executor."""
    return read_pipeline(compiled)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks_of(pipeline):
    dags = [pipeline["root"], *pipeline["components"].values()]
    return {name: t for dag in dags for name, t in dag.get("dag", {}).get("tasks", {}).items()}


def golden(path, found):
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(found)
    assert list(yaml.safe_load_all(found)) == list(yaml.safe_load_all(path.read_text())), (
        "run UPDATE_GOLDEN=1 pytest tests/unit/test_compile.py and read the difference"
    )


def test_the_compiled_pipeline_is_the_golden_one_image_and_command_included(compiled):
    golden(COMPILED / "retrain.yaml", compiled)


def test_the_monitor_is_one_step_never_from_the_cache_and_the_golden_one():
    found = compile_pipeline("monitor", ClusterConfig(image=IMAGE))
    golden(COMPILED / "monitor.yaml", found)
    assert lint_pipeline(found) == []
    [(name, task)] = tasks_of(read_pipeline(found)[0]).items()
    assert name == "monitor"
    assert not task["cachingOptions"].get("enableCache", False)
    assert task["retryPolicy"]["maxRetryCount"] == 2, "its state is written last"
    [pod] = read_pipeline(found)[1]["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ].values()
    [mount] = pod["pvcMount"]
    assert mount["mountPath"] == "/workspace"
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_kubernetes_resources_are_the_golden_ones(compiled, tmp_path):
    write_pipeline(tmp_path / "crd.yaml", compiled, form="crd", namespace="tidegate")
    golden(GOLDEN_RESOURCES, (tmp_path / "crd.yaml").read_text())


def test_the_version_resource_carries_the_pipeline_its_digest_and_its_kubernetes_part(compiled):
    pipeline, version = pipeline_resources(compiled, "team-a")
    assert pipeline["metadata"]["name"] == version["spec"]["pipelineName"] == "tidegate-retrain"
    assert version["metadata"]["name"] == f"tidegate-retrain-{version_name(compiled)}"
    assert {pipeline["metadata"]["namespace"], version["metadata"]["namespace"]} == {"team-a"}
    assert [version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]] == read_pipeline(
        compiled
    )


def test_an_unknown_format_is_refused(compiled, tmp_path):
    with pytest.raises(BadInput, match="ir, crd"):
        write_pipeline(tmp_path / "x.yaml", compiled, form="helm", namespace="tidegate")
    assert list(tmp_path.iterdir()) == []


def test_every_step_is_a_component_beside_the_plan_and_the_outcome(pipeline):
    steps = {"plan", "record-outcome", *STEPS}
    assert {f"exec-{step}" for step in steps} == set(pipeline["deploymentSpec"]["executors"])


def test_every_step_is_repeated_with_back_off_but_the_outcome(pipeline):
    tasks = tasks_of(pipeline)
    for step in ("plan", *STEPS):
        policy = tasks[step]["retryPolicy"]
        assert policy["maxRetryCount"] == 2
        assert (policy["backoffDuration"], policy["backoffFactor"]) == ("30s", 2.0)
    assert "retryPolicy" not in tasks["record-outcome"]


def test_only_steps_whose_inputs_tell_everything_come_from_the_cache(pipeline):
    never = {"plan", "release", "record-outcome"}
    tasks = tasks_of(pipeline)
    for step in ("plan", *STEPS, "record-outcome"):
        cached = tasks[step]["cachingOptions"].get("enableCache", False)
        assert cached == (step not in never), step


def test_the_outcome_is_recorded_whatever_happened(pipeline):
    task = pipeline["root"]["dag"]["tasks"]["record-outcome"]
    assert task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    producer = task["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"]
    assert "plan" in pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert producer == "exit-handler-1"


def test_digests_come_from_the_plan_so_that_a_recurring_run_sees_new_rows(pipeline):
    given = tasks_of(pipeline)["ingest"]["inputs"]["parameters"]["source_digest"]
    assert given["taskOutputParameter"] == {
        "outputParameterKey": "source_digest",
        "producerTask": "plan",
    }


def test_cpu_memory_and_gpus_are_read_at_run_time(pipeline):
    executors = pipeline["deploymentSpec"]["executors"]
    asked = executors["exec-search"]["container"]["resources"]
    assert "search_cpu" in asked["resourceCpuRequest"]
    assert "search_memory" in asked["resourceMemoryLimit"]
    assert "search_gpus" in asked["accelerator"]["resourceCount"]
    assert "search_gpu_type" in asked["accelerator"]["resourceType"]
    assert "accelerator" not in executors["exec-ingest"]["container"]["resources"]


def test_every_pod_is_placed_labelled_and_mounted_by_run_time_parameters(placed):
    assert len(placed) == len(STEPS) + 2
    for name, settings in placed.items():
        prefix = "search_" if name == "exec-search" else ""
        read = str(settings)
        for parameter in ("node_selector", "tolerations", "node_affinity"):
            assert f"{prefix}{parameter}'" in read
        (mount,) = settings["pvcMount"]
        assert mount["mountPath"] == "/workspace"
        assert mount["pvcNameParameter"]["componentInputParameter"].endswith("workspace_claim")
        assert settings["securityContext"]["runAsNonRoot"] is True
        assert settings["podMetadata"]["labels"]["app.kubernetes.io/part-of"] == "tidegate"


def test_the_object_store_secret_is_every_steps_environment_when_there_is_one(placed):
    assert "secretAsEnv" not in str(placed)
    text = compile_pipeline("retrain", ClusterConfig(image=IMAGE, object_store_secret="s3"))
    executors = read_pipeline(text)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for settings in executors.values():
        required, optional = settings["secretAsEnv"]
        assert {required["secretName"], optional["secretName"]} == {"s3"}
        assert [pair["envVar"] for pair in required["keyToEnv"]] == [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ]
        assert not required.get("optional", False)
        assert optional["optional"] is True


def test_the_shipped_pipeline_has_no_finding(compiled):
    assert lint_pipeline(compiled) == []


def test_an_image_without_a_digest_is_found():
    findings = lint_pipeline(
        compile_pipeline("retrain", ClusterConfig(image="tidegate/cpu:latest"))
    )
    assert len(findings) == len(STEPS) + 2
    assert "is not pinned by digest" in findings[0]


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("producerTask: ingest", "producerTask: digest", "reads from task 'digest'"),
        ("outputArtifactKey: trials", "outputArtifactKey: trails", "reads output 'trails'"),
        (
            "componentInputParameter: pipelinechannel--plan-model_store",
            "componentInputParameter: store",
            "reads input 'store'",
        ),
        ("executorLabel: exec-search", "executorLabel: exec-serach", "executor 'exec-serach'"),
        ("name: comp-featurize", "name: comp-feature", "component 'comp-feature'"),
        (
            "componentInputParameter: pipelinechannel--search_tolerations",
            "componentInputParameter: pipelinechannel--tolerance",
            "exec-search: reads input 'pipelinechannel--tolerance'",
        ),
        ("        exec-plan:\n          nodeA", "        exec-plum:\n          nodeA", "exec-plum"),
    ],
)
def test_a_dangling_reference_is_found(compiled, old, new, finding):
    assert old in compiled
    assert any(finding in found for found in lint_pipeline(compiled.replace(old, new)))


def test_an_input_that_is_not_given_is_found(compiled):
    spec = read_pipeline(compiled)[0]
    del tasks_of(spec)["ingest"]["inputs"]["parameters"]["source_digest"]
    assert any("'source_digest'" in found for found in lint_pipeline(yaml.safe_dump(spec)))


def test_an_unknown_pipeline_is_refused():
    with pytest.raises(BadInput, match="retrain, monitor"):
        compile_pipeline("retrian", ClusterConfig(image=IMAGE))
