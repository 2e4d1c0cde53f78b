"""A retrain on a cluster: what is sent, how it is started, and how it is followed."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from pipelines.compile import (
    compile_pipeline,
    lint_pipeline,
    read_pipeline,
    unpinned_images,
    version_name,
)
from pipelines.kfp_api import PipelinesApi, RemoteRun, RemoteTask
from pipelines.local import StepEvent
from pipelines.placement import WORKSPACE
from pipelines.run import STEPS
from tidegate.config import Pool, RunConfig
from tidegate.errors import BadInput

#: Steps on a cluster in order: the first digests there what a local run digests before it starts.
CLUSTER_STEPS = ("plan", *STEPS)

POLL_SECONDS = 5.0

ENDED = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}
#: Keys of folders that are no addresses.
_FOLDERS = ("rollout.model_store", "validation.reference", "baseline")
_FAILED = {"FAILED", "CANCELED"}


class RunFailed(Exception):
    """A run on the cluster did not succeed.

    Parameters
    ----------
    problem : str
        What failed.
    address : str
        Where its logs are.
    """

    def __init__(self, problem: str, address: str) -> None:
        super().__init__(f"{problem}\nlogs: {address}")


@dataclass(frozen=True)
class Submission:
    """What goes to the cluster, decided and checked before anything is sent."""

    config: RunConfig
    package: str
    parameters: dict[str, Any]
    pipeline: str = "retrain"

    @property
    def version(self) -> str:
        """Name of the pipeline version: the digest of the compiled pipeline."""
        return version_name(self.package)


@dataclass(frozen=True)
class Placed:
    """A submission whose pipeline, version and experiment exist on the cluster."""

    pipeline_id: str
    version_id: str
    version_is_new: bool
    experiment_id: str


def prepare(config: RunConfig, pipeline: str = "retrain", *, allow_unpinned: bool) -> Submission:
    """Compile a pipeline and refuse what cannot work on a cluster.

    Raises
    ------
    BadInput
        If an image is not pinned by digest, or a path is one that the cluster cannot read.
    """
    training = pipeline == "retrain"
    if training and config.cluster.search_resources.gpus and config.search.backend != "local":
        problem = f"trials run in pods of {config.search.backend}, not in the search step"
        raise BadInput("cluster.search_step.gpus", problem, "leave it out")
    package = compile_pipeline(pipeline, config.cluster)
    unpinned = list(unpinned_images(read_pipeline(package)[0]))
    if unpinned and not allow_unpinned:
        problem = unpinned[0].partition("; ")[0]
        mend = "write NAME@sha256:… (a tag can change behind a cached step), or --allow-unpinned"
        key = "gpu_image" if repr(config.cluster.gpu_image) in problem else "image"
        raise BadInput(f"cluster.{key}", problem, mend)
    broken = [finding for finding in lint_pipeline(package) if finding not in unpinned]
    if broken:
        raise AssertionError(f"the compiled pipeline is broken: {broken[0]}")
    for key, path in _folders(config).items():
        if training or key == "rollout.model_store":
            _require_in_workspace(key, path)
    if not training:
        _require_watchable(config)
        return Submission(config, package, _step_parameters(config), pipeline)
    for source in config.data.source:
        _require_reachable("data.source", source)
    return Submission(config, package, run_parameters(config))


def _require_watchable(config: RunConfig) -> None:
    from tidegate.monitoring.recurring import require_open_engine, required_log

    require_open_engine(config)
    _require_reachable("serving.payload_log.uri", required_log(config))
    if config.monitor.labels is not None:
        _require_reachable("monitor.labels", config.monitor.labels)


def run_parameters(config: RunConfig) -> dict[str, Any]:
    """Return a retrain's run-time parameters: the configuration, and where its steps go."""
    cluster = config.cluster
    asked = cluster.search_resources
    here = cluster.pools.get("cpu", Pool())
    there = cluster.pools.get("gpu", Pool()) if asked.gpus else here
    return {
        **_step_parameters(config),
        "search_cpu": str(asked.cpu),
        "search_memory": f"{asked.memory_gib}Gi",
        "search_gpu_type": there.gpu_resource,
        "search_gpus": str(asked.gpus),
        **_placement(there, "search_"),
    }


def _step_parameters(config: RunConfig) -> dict[str, Any]:
    cluster = config.cluster
    return {
        "config": config.model_dump_json(),
        "workspace_claim": cluster.workspace_claim,
        "cpu": str(cluster.cpu),
        "memory": f"{cluster.memory_gib}Gi",
        **_placement(cluster.pools.get("cpu", Pool()), ""),
    }


def _placement(pool: Pool, prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}node_selector": dict(pool.node_selector),
        f"{prefix}tolerations": [
            toleration.model_dump(exclude_none=True) for toleration in pool.tolerations
        ],
        f"{prefix}node_affinity": dict(pool.node_affinity),
    }


def _folders(config: RunConfig) -> dict[str, str]:
    folders = {
        "rollout.model_store": config.rollout.model_store,
        "validation.reference": config.validation.reference,
        "baseline": config.baseline,
    }
    return {key: path for key, path in folders.items() if path is not None}


def _require_reachable(key: str, source: str) -> None:
    scheme, separator, rest = source.partition("://")
    if separator and scheme not in ("file", "local", "memory"):
        return
    if scheme == "memory" and separator:
        raise BadInput(key, f"{source} is in no cluster's reach", "write s3://BUCKET/…")
    _require_in_workspace(key, rest if separator else source)


def _require_in_workspace(key: str, path: str) -> None:
    pure = PurePosixPath(path)
    if "://" in path or ".." in pure.parts or not pure.is_relative_to(WORKSPACE):
        where = "a path under" if key in _FOLDERS else "s3://… or a path under"
        mend = f"write {where} {WORKSPACE}, where the cluster mounts its workspace"
        raise BadInput(key, f"the steps on the cluster cannot read {path}", mend)


def place(api: PipelinesApi, submission: Submission) -> Placed:
    """Make sure that pipeline, version and experiment exist; what is there already is reused."""
    info = read_pipeline(submission.package)[0]["pipelineInfo"]
    pipeline_id = api.ensure_pipeline(info["name"], info["description"])
    version_id, is_new = api.ensure_version(pipeline_id, submission.version, submission.package)
    experiment_id = api.ensure_experiment(submission.config.name)
    return Placed(pipeline_id, version_id, is_new, experiment_id)


def start(
    api: PipelinesApi, submission: Submission, placed: Placed, *, name: str | None = None
) -> tuple[str, str]:
    """Start a run and return its name and its id.

    Parameters
    ----------
    name : str, optional
        A run of this name that is there already is the one that is returned [a fresh name].
    """
    if name is None:
        name = f"{submission.config.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    run_id = api.start_run(
        name,
        experiment_id=placed.experiment_id,
        pipeline_id=placed.pipeline_id,
        version_id=placed.version_id,
        parameters=submission.parameters,
        service_account=submission.config.cluster.service_account,
    )
    return name, run_id


def follow(
    api: PipelinesApi,
    run_id: str,
    report: Callable[[StepEvent], None],
    *,
    poll_seconds: float | None = None,
) -> RemoteRun:
    """Report every step's events until the run ends.

    Parameters
    ----------
    api : PipelinesApi
        Where the run is.
    run_id : str
        Which run.
    report : callable
        Called with each `StepEvent`, as for a run on this machine.
    poll_seconds : float, optional
        Pause between two looks.

    Raises
    ------
    RunFailed
        If the run failed or was cancelled.
    BadInput
        If the server cannot be asked any more; the run itself goes on.
    """
    pause = POLL_SECONDS if poll_seconds is None else poll_seconds
    seen: dict[str, str] = {}
    while True:
        run = api.run(run_id)
        for event in step_events(run, seen):
            report(event)
        if run.state in _FAILED:
            raise RunFailed(_failure(run), api.run_address(run_id))
        if run.state in ENDED:
            return run
        time.sleep(pause)


def step_events(run: RemoteRun, seen: dict[str, str]) -> list[StepEvent]:
    """Return what happened to the steps since the last look, and note it in `seen`.

    Parameters
    ----------
    run : RemoteRun
        How the run stands now.
    seen : dict
        Kind of the last event of each step; changed.
    """
    tasks = {task.name: task for task in run.tasks}
    events = []
    for step in CLUSTER_STEPS:
        kind = _kind(tasks[step]) if step in tasks else None
        if kind is None or seen.get(step) == kind:
            continue
        if kind != "started" and step not in seen:
            events.append(StepEvent(step, "started"))
        events.append(StepEvent(step, kind))
        seen[step] = kind
    return events


def _kind(task: RemoteTask) -> Literal["started", "done", "failed", "cached"] | None:
    """Return the event that a task's state stands for, if it says anything to the user."""
    if task.state == "SUCCEEDED":
        return "cached" if task.cached else "done"
    if task.state in _FAILED:
        return "failed"
    return "started" if task.state in ("RUNNING", "CANCELING") else None


def _failure(run: RemoteRun) -> str:
    if run.state == "CANCELED":
        return "the run was cancelled"
    failed = [task for task in run.tasks if task.state == "FAILED" and task.name in CLUSTER_STEPS]
    if not failed:
        return f"the run failed: {run.error or 'Kubeflow gives no reason'}"
    said = failed[0].error or run.error or "its log says why"
    return f"step {failed[0].name} failed: {said}"


def was_promoted(run: RemoteRun, package: str) -> bool | None:
    """Return whether a finished run promoted its candidate; None if the run does not tell.

    The API hands out no output parameters, but the release stands under the condition that the
    decision is `promote`, and the API tells whether a condition was met.

    Parameters
    ----------
    run : RemoteRun
        A run that succeeded.
    package : str
        The compiled pipeline it ran.
    """
    names = {"promoted", *_task_keys(read_pipeline(package)[0], "promoted")}
    states = [task.state for task in run.tasks if task.name in names]
    if not states:
        return None
    return "SUCCEEDED" in states


def _task_keys(spec: dict[str, Any], display_name: str) -> set[str]:
    dags = [spec["root"], *spec["components"].values()]
    return {
        key
        for dag in dags
        for key, task in dag.get("dag", {}).get("tasks", {}).items()
        if task["taskInfo"]["name"] == display_name
    }
