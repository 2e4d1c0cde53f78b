"""The pipeline as KFP IR YAML, and a lint of what Kubeflow would only find out at run time."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tidegate.errors import BadInput

PIPELINES = ("retrain",)


def compile_pipeline(name: str, image: str) -> str:
    """Return the KFP IR YAML of a pipeline.

    Parameters
    ----------
    name : str
        One of `PIPELINES`.
    image : str
        Image of every step.

    Raises
    ------
    BadInput
        If there is no such pipeline.
    """
    if name not in PIPELINES:
        raise BadInput("--pipeline", f"unknown pipeline {name!r}", f"one of {', '.join(PIPELINES)}")
    from kfp import compiler

    from pipelines.retrain import build_retrain

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(build_retrain(image), str(target))
        return target.read_text(encoding="utf-8")


def lint_pipeline(text: str) -> list[str]:
    """Return what is wrong with compiled IR: dangling references and unpinned images.

    Parameters
    ----------
    text : str
        KFP IR YAML (one document, or the pipeline and its platform part).
    """
    spec = next(iter(yaml.safe_load_all(text)))
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    findings = [*_dangling_executors(spec, executors), *_unpinned(executors)]
    findings += _dangling_in_dag("root", spec["root"], spec)
    for name, component in spec.get("components", {}).items():
        if "dag" in component:
            findings += _dangling_in_dag(name, component, spec)
    return findings


def _unpinned(executors: Mapping[str, Any]) -> Iterator[str]:
    for name, executor in sorted(executors.items()):
        image = executor.get("container", {}).get("image", "")
        if not re.search(r"@sha256:[0-9a-f]{64}$", image):
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
