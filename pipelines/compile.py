"""The pipeline as KFP IR YAML, and a lint of what Kubeflow would only find out at run time."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tidegate.config import ClusterConfig
from tidegate.errors import BadInput
from tidegate.store import digest_bytes, write_text

_API_VERSION = "pipelines.kubeflow.org/v2beta1"
PIPELINES = ("retrain", "monitor")
FORMATS = ("ir", "crd")
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$")


def compile_pipeline(name: str, cluster: ClusterConfig) -> str:
    """Return the KFP IR YAML of a pipeline: its specification and its Kubernetes part.

    Parameters
    ----------
    name : str
        One of `PIPELINES`.
    cluster : ClusterConfig
        Its images and its object-store secret go into the IR; everything else is given at run time.

    Raises
    ------
    BadInput
        If there is no such pipeline.
    """
    require_pipeline(name)
    from kfp import compiler

    from pipelines.monitor import build_monitor
    from pipelines.retrain import build_retrain

    secret = cluster.object_store_secret
    if name == "monitor":
        pipeline = build_monitor(cluster.image, object_store_secret=secret)
    else:
        pipeline = build_retrain(
            cluster.image,
            cluster=True,
            search_image=cluster.gpu_image if cluster.search_resources.gpus else cluster.image,
            object_store_secret=secret,
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(target))
        return target.read_text(encoding="utf-8")


def require_pipeline(name: str) -> None:
    """Refuse a name that is none of `PIPELINES`."""
    if name not in PIPELINES:
        raise BadInput("--pipeline", f"unknown pipeline {name!r}", f"one of {', '.join(PIPELINES)}")


def read_pipeline(text: str) -> list[dict[str, Any]]:
    """Return the documents of compiled IR: the pipeline and, where there is one, its platform part.

    By libyaml: the other parser of PyYAML takes ten times as long.
    """
    return list(yaml.load_all(text, yaml.CSafeLoader))


def version_name(text: str) -> str:
    """Return the name that a compiled pipeline's version has: its content's digest."""
    return f"sha256-{digest_bytes(text.encode())[:16]}"


def pipeline_resources(text: str, namespace: str) -> list[dict[str, Any]]:
    """Return compiled IR as Pipeline and PipelineVersion, for Kubeflow's Kubernetes-native mode.

    Parameters
    ----------
    text : str
        From `compile_pipeline`.
    namespace : str
        Where the resources go.
    """
    documents = read_pipeline(text)
    name = documents[0]["pipelineInfo"]["name"]
    description = documents[0]["pipelineInfo"].get("description", "")
    version = version_name(text)
    labels = {"app.kubernetes.io/part-of": "tidegate"}
    specs = {"pipelineSpec": documents[0]}
    if len(documents) > 1:
        specs["platformSpec"] = documents[1]
    return [
        {
            "apiVersion": _API_VERSION,
            "kind": "Pipeline",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"displayName": name, "description": description},
        },
        {
            "apiVersion": _API_VERSION,
            "kind": "PipelineVersion",
            "metadata": {
                "name": f"{name}-{version}",
                "namespace": namespace,
                "labels": labels,
            },
            "spec": {
                "displayName": version,
                "description": description,
                "pipelineName": name,
                **specs,
            },
        },
    ]


def write_pipeline(path: Path, text: str, *, form: str, namespace: str) -> None:
    """Write compiled IR as it is (``ir``) or as Kubernetes resources (``crd``).

    Raises
    ------
    BadInput
        If there is no such form.
    """
    if form not in FORMATS:
        raise BadInput("--format", f"unknown format {form!r}", f"one of {', '.join(FORMATS)}")
    if form == "crd":
        resources = pipeline_resources(text, namespace)
        text = yaml.safe_dump_all(resources, sort_keys=True, allow_unicode=True)
    write_text(path, text)


def lint_pipeline(text: str) -> list[str]:
    """Return what is wrong with compiled IR: dangling references and unpinned images.

    Parameters
    ----------
    text : str
        KFP IR YAML (one document, or the pipeline and its platform part).
    """
    documents = read_pipeline(text)
    spec = documents[0]
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    findings = [*_dangling_executors(spec, executors), *unpinned_images(spec)]
    findings += _dangling_in_dag("root", spec["root"], spec)
    for name, component in spec.get("components", {}).items():
        if "dag" in component:
            findings += _dangling_in_dag(name, component, spec)
    for platform in documents[1:]:
        findings += _dangling_placements(platform, spec)
    return findings


def _dangling_placements(platform: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    """Find settings of a pod that read an input which the step's DAG does not have."""
    scopes = {}
    for dag in (spec["root"], *spec.get("components", {}).values()):
        inputs = _names(dag.get("inputDefinitions", {}))
        for task in dag.get("dag", {}).get("tasks", {}).values():
            used = spec["components"].get(task["componentRef"]["name"], {})
            scopes[used.get("executorLabel")] = inputs
    placed = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, settings in placed.items():
        if name not in scopes:
            yield f"{name}: the Kubernetes part places an executor that no task uses"
            continue
        for wanted in sorted(set(_read_inputs(settings)) - scopes[name]):
            yield f"{name}: reads input {wanted!r}, which its DAG does not have"


def _read_inputs(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _read_inputs(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key == "componentInputParameter":
                yield item
            else:
                yield from _read_inputs(item)


def unpinned_images(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield a finding for every executor whose image can change behind its name."""
    for name, executor in sorted(spec.get("deploymentSpec", {}).get("executors", {}).items()):
        image = executor.get("container", {}).get("image", "")
        if not _PINNED.search(image):
            yield f"{name}: image {image!r} is not pinned by digest; write NAME@sha256:…"


def _dangling_executors(spec: Mapping[str, Any], executors: Mapping[str, Any]) -> Iterator[str]:
    for name, component in spec.get("components", {}).items():
        label = component.get("executorLabel")
        if label is not None and label not in executors:
            yield f"{name}: executor {label!r} is not defined"


def _dangling_in_dag(
    place: str, component: Mapping[str, Any], spec: Mapping[str, Any]
) -> Iterator[str]:
    components = spec.get("components", {})
    tasks = component["dag"]["tasks"]
    own_inputs = _names(component.get("inputDefinitions", {}))
    for task_name, task in tasks.items():
        used = task["componentRef"]["name"]
        if used not in components:
            yield f"{place}.{task_name}: component {used!r} is not defined"
            continue
        given = {**task.get("inputs", {}).get("parameters", {})}
        given.update(task.get("inputs", {}).get("artifacts", {}))
        for before in task.get("dependentTasks", []):
            if before not in tasks:
                yield f"{place}.{task_name}: depends on {before!r}, which is not in this DAG"
        for missing in sorted(_required(components[used].get("inputDefinitions", {})) - set(given)):
            yield f"{place}.{task_name}: input {missing!r} of {used!r} is not given"
        for key, value in given.items():
            yield from _dangling_input(f"{place}.{task_name}.{key}", value, tasks, own_inputs, spec)


def _dangling_input(
    place: str,
    value: Mapping[str, Any],
    tasks: Mapping[str, Any],
    own_inputs: set[str],
    spec: Mapping[str, Any],
) -> Iterator[str]:
    wanted = value.get("componentInputParameter") or value.get("componentInputArtifact")
    if wanted is not None and wanted not in own_inputs:
        yield f"{place}: reads input {wanted!r}, which this DAG does not have"
    source = value.get("taskOutputParameter") or value.get("taskOutputArtifact")
    if source is None:
        return
    producer = source["producerTask"]
    key = source.get("outputParameterKey") or source.get("outputArtifactKey")
    if producer not in tasks:
        yield f"{place}: reads from task {producer!r}, which is not in this DAG"
        return
    maker = spec["components"].get(tasks[producer]["componentRef"]["name"], {})
    if key not in _names(maker.get("outputDefinitions", {})):
        yield f"{place}: reads output {key!r}, which task {producer!r} does not have"


def _names(definitions: Mapping[str, Any]) -> set[str]:
    return {*definitions.get("parameters", {}), *definitions.get("artifacts", {})}


def _required(definitions: Mapping[str, Any]) -> set[str]:
    kinds = [*definitions.get("parameters", {}).items(), *definitions.get("artifacts", {}).items()]
    return {
        name
        for name, kind in kinds
        if not kind.get("isOptional", False) and "defaultValue" not in kind
    }
