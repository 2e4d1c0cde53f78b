"""The Kubeflow Pipelines API as far as submitting and scheduling need it, in records of ours."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.kfp_connection import KfpConnection

_PAGE_SIZE = 100


@dataclass(frozen=True)
class RemoteTask:
    """One task of a run as the API tells it; `state` is KFP's runtime state."""

    name: str
    state: str
    cached: bool = False
    error: str = ""


@dataclass(frozen=True)
class RemoteRun:
    """A run as the API tells it."""

    run_id: str
    state: str
    error: str
    tasks: tuple[RemoteTask, ...]


@dataclass(frozen=True)
class ScheduleSettings:
    """What makes one recurring run differ from another."""

    cron: str
    version_id: str
    concurrency: int
    catch_up: bool
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Schedule:
    """A recurring run as the API tells it."""

    schedule_id: str
    name: str
    enabled: bool
    settings: ScheduleSettings


class PipelinesApi:
    """The calls that submitting and scheduling need.

    Parameters
    ----------
    endpoint : str
        Address of the API, such as ``http://localhost:8080`` behind a port-forward.
    namespace : str
        Profile in which experiments and runs live where Kubeflow has many users.
    timeout_seconds : float
        How long one call may take.

    Raises
    ------
    BadInput
        If the address is not one, nobody answers there, or something other than KFP does.
    """

    def __init__(self, endpoint: str, *, namespace: str, timeout_seconds: float) -> None:
        import kfp_server_api as kfp

        self._kfp = kfp
        self._connection = KfpConnection(endpoint, timeout_seconds=timeout_seconds)
        client = self._connection.client
        self._pipelines = kfp.PipelineServiceApi(client)
        self._uploads = kfp.PipelineUploadServiceApi(client)
        self._experiments = kfp.ExperimentServiceApi(client)
        self._runs = kfp.RunServiceApi(client)
        self._recurring = kfp.RecurringRunServiceApi(client)
        check = kfp.HealthzServiceApi(client).healthz_service_get_healthz
        health = self._connection.ask("reach Kubeflow Pipelines", check, patient=False)
        if health.multi_user is None:
            raise self._connection.not_kfp()
        self._namespace = {"namespace": namespace} if health.multi_user else {}

    def ensure_pipeline(self, name: str, description: str) -> str:
        """Return the id of the pipeline of that name, made if there is none."""

        def find() -> str | None:
            found = self._listed(
                "list pipelines",
                self._pipelines.pipeline_service_list_pipelines,
                "pipelines",
                filter=_named(name),
                **self._namespace,
            )
            return next((item.pipeline_id for item in found if item.display_name == name), None)

        body = self._kfp.V2beta1Pipeline(
            name=name, display_name=name, description=description, **self._namespace
        )
        return self._connection.make(
            "create a pipeline",
            find,
            self._pipelines.pipeline_service_create_pipeline,
            body,
            id_key="pipeline_id",
        )

    def ensure_version(self, pipeline_id: str, name: str, text: str) -> tuple[str, bool]:
        """Return the id of the pipeline's version of that name, and whether it had to be made."""
        found = self._version(pipeline_id, name)
        if found is not None:
            return found, False
        with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
            package = Path(folder) / "pipeline.yaml"
            package.write_text(text, encoding="utf-8")
            made = self._connection.make(
                "upload a pipeline version",
                lambda: self._version(pipeline_id, name),
                self._uploads.upload_pipeline_version,
                str(package),
                name=name,
                display_name=name,
                pipelineid=pipeline_id,
                id_key="pipeline_version_id",
            )
        return made, True

    def _version(self, pipeline_id: str, name: str) -> str | None:
        found = self._listed(
            "list pipeline versions",
            self._pipelines.pipeline_service_list_pipeline_versions,
            "pipeline_versions",
            pipeline_id,
            filter=_named(name),
        )
        same = (item.pipeline_version_id for item in found if item.display_name == name)
        return next(same, None)

    def ensure_experiment(self, name: str) -> str:
        """Return the id of the experiment of that name, made if there is none."""
        body = self._kfp.V2beta1Experiment(display_name=name, **self._namespace)
        return self._connection.make(
            "create an experiment",
            lambda: self.find_experiment(name),
            self._experiments.experiment_service_create_experiment,
            body,
            id_key="experiment_id",
        )

    def find_experiment(self, name: str) -> str | None:
        """Return the id of the experiment of that name, if there is one."""
        found = self._listed(
            "list experiments",
            self._experiments.experiment_service_list_experiments,
            "experiments",
            filter=_named(name),
            **self._namespace,
        )
        return next((item.experiment_id for item in found if item.display_name == name), None)

    def start_run(
        self,
        name: str,
        *,
        experiment_id: str,
        pipeline_id: str,
        version_id: str,
        parameters: Mapping[str, Any],
        service_account: str,
    ) -> str:
        """Start a run and return its id.

        Parameters
        ----------
        name : str
            A name that no other run has: a start whose answer was lost is found again by it.
        """
        body = self._kfp.V2beta1Run(
            display_name=name,
            experiment_id=experiment_id,
            pipeline_version_reference=self._reference(pipeline_id, version_id),
            runtime_config=self._kfp.V2beta1RuntimeConfig(parameters=dict(parameters)),
            service_account=service_account,
        )
        return self._connection.make(
            "start a run",
            lambda: self.find_run(experiment_id, name),
            self._runs.run_service_create_run,
            body,
            id_key="run_id",
        )

    def find_run(self, experiment_id: str, name: str) -> str | None:
        """Return the id of an experiment's run of that name, if there is one."""
        found = self._listed(
            "list runs",
            self._runs.run_service_list_runs,
            "runs",
            experiment_id=experiment_id,
            filter=_named(name),
        )
        return next((item.run_id for item in found if item.display_name == name), None)

    def run(self, run_id: str) -> RemoteRun:
        """Return how a run stands."""
        found = self._connection.ask("read the run", self._runs.run_service_get_run, run_id)
        details = (found.run_details.task_details if found.run_details else None) or []
        return RemoteRun(
            run_id,
            found.state or "PENDING",
            (found.error.message if found.error else "") or "",
            tuple(_task(detail, details) for detail in details),
        )

    def terminate_run(self, run_id: str) -> None:
        """End a run; KFP stops its pods and calls it failed."""
        terminate = self._runs.run_service_terminate_run
        self._connection.ask("terminate the run", terminate, run_id)

    def run_address(self, run_id: str) -> str:
        """Return where the UI shows a run."""
        return f"{self._connection.endpoint}/#/runs/details/{run_id}"

    def schedules(self, experiment_id: str, name: str | None = None) -> list[Schedule]:
        """Return the recurring runs of an experiment, or those of them that have a name."""
        found = self._listed(
            "list schedules",
            self._recurring.recurring_run_service_list_recurring_runs,
            "recurring_runs",
            experiment_id=experiment_id,
            **({} if name is None else {"filter": _named(name)}),
        )
        schedules = [
            _schedule(item) for item in found if item.trigger and item.trigger.cron_schedule
        ]
        return [item for item in schedules if name in (None, item.name)]

    def create_schedule(
        self,
        name: str,
        settings: ScheduleSettings,
        *,
        enabled: bool,
        experiment_id: str,
        pipeline_id: str,
        service_account: str,
    ) -> str:
        """Create a recurring run beside those of the same name and return its id."""
        kfp = self._kfp
        before = {item.schedule_id for item in self.schedules(experiment_id, name)}

        def find() -> str | None:
            now = self.schedules(experiment_id, name)
            return next((item.schedule_id for item in now if item.schedule_id not in before), None)

        body = kfp.V2beta1RecurringRun(
            display_name=name,
            experiment_id=experiment_id,
            # Both ids: with the pipeline's alone the newest version would run, whatever it is.
            pipeline_version_reference=self._reference(pipeline_id, settings.version_id),
            runtime_config=kfp.V2beta1RuntimeConfig(parameters=dict(settings.parameters)),
            service_account=service_account,
            max_concurrency=str(settings.concurrency),
            no_catchup=not settings.catch_up,
            trigger=kfp.V2beta1Trigger(cron_schedule=kfp.V2beta1CronSchedule(cron=settings.cron)),
            mode=kfp.RecurringRunMode.ENABLE if enabled else kfp.RecurringRunMode.DISABLE,
        )
        return self._connection.make(
            "create a schedule",
            find,
            self._recurring.recurring_run_service_create_recurring_run,
            body,
            id_key="recurring_run_id",
        )

    def enable_schedule(self, schedule_id: str, *, enabled: bool) -> None:
        """Let a recurring run go on, or pause it."""
        service = self._recurring
        change = (
            service.recurring_run_service_enable_recurring_run
            if enabled
            else service.recurring_run_service_disable_recurring_run
        )
        self._connection.ask("change the schedule", change, schedule_id)

    def delete_schedule(self, schedule_id: str) -> None:
        """Delete a recurring run; one that is gone already is deleted."""
        delete = self._recurring.recurring_run_service_delete_recurring_run
        self._connection.remove("delete the schedule", delete, schedule_id)

    def _reference(self, pipeline_id: str, version_id: str) -> Any:
        return self._kfp.V2beta1PipelineVersionReference(
            pipeline_id=pipeline_id, pipeline_version_id=version_id
        )

    def _listed(
        self, what: str, call: Callable[..., Any], key: str, *words: str, **options: Any
    ) -> Iterator[Any]:
        token = ""
        while True:
            page = self._connection.ask(
                what, call, *words, page_size=_PAGE_SIZE, page_token=token, **options
            )
            yield from getattr(page, key) or []
            token = page.next_page_token or ""
            if not token:
                return


def _named(name: str) -> str:
    predicate = {"key": "display_name", "operation": "EQUALS", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _task(detail: Any, details: list[Any]) -> RemoteTask:
    """Return a task; one whose own pod was skipped came from the cache."""
    children = {
        key for child in detail.child_tasks or [] for key in (child.task_id, child.pod_name)
    }
    cached = any(
        other.display_name == "executor"
        and other.state == "SKIPPED"
        and (
            (detail.task_id is not None and other.parent_task_id == detail.task_id)
            or not children.isdisjoint({other.task_id or "", other.pod_name or ""})
        )
        for other in details
    )
    return RemoteTask(
        detail.display_name or "",
        detail.state or "PENDING",
        cached,
        (detail.error.message if detail.error else "") or "",
    )


def _schedule(item: Any) -> Schedule:
    reference = item.pipeline_version_reference
    return Schedule(
        item.recurring_run_id,
        item.display_name,
        item.status != "DISABLED",
        ScheduleSettings(
            cron=item.trigger.cron_schedule.cron,
            version_id=reference.pipeline_version_id if reference else "",
            concurrency=int(item.max_concurrency or 1),
            catch_up=not item.no_catchup,
            parameters=item.runtime_config.parameters if item.runtime_config else {},
        ),
    )
