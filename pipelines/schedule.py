"""What recurs on a cluster: one schedule of a pipeline a configuration, known by its name."""

from dataclasses import dataclass
from typing import Literal

from pipelines.cron import six_fields
from pipelines.kfp_api import PipelinesApi, Schedule, ScheduleSettings
from pipelines.submit import Submission, place
from tidegate.config import RunConfig
from tidegate.errors import BadInput

MAX_CONCURRENCY = 10


@dataclass(frozen=True)
class Timing:
    """When a schedule fires; `cron` has the six fields that Kubeflow reads."""

    cron: str
    concurrency: int
    catch_up: bool


def timing(cron: str, *, concurrency: int, catch_up: bool) -> Timing:
    """Check a schedule's settings before anything is sent.

    Parameters
    ----------
    cron : str
        Five fields.
    concurrency : int
        Runs at a time, 1 to 10.
    catch_up : bool
        Whether runs that were missed are made up for.

    Raises
    ------
    BadInput
        If one of them is out of range.
    """
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        problem = f"must be 1 to {MAX_CONCURRENCY}, got {concurrency}"
        raise BadInput("--concurrency", problem, "write 1 unless runs may overlap")
    return Timing(six_fields(cron), concurrency, catch_up)


def set_schedule(
    api: PipelinesApi, submission: Submission, when: Timing
) -> tuple[Schedule, Literal["created", "replaced", "unchanged"]]:
    """Create the schedule, or put it in the place of the one that is there.

    Kubeflow cannot change a recurring run, so another takes its place: made first, paused if the
    old one was, so that a failure on the way never leaves none.

    Returns
    -------
    schedule : Schedule
        As it stands now.
    what : str
        What was done.
    """
    placed = place(api, submission)
    name = schedule_name(submission.config, submission.pipeline)
    settings = ScheduleSettings(
        cron=when.cron,
        version_id=placed.version_id,
        concurrency=when.concurrency,
        catch_up=when.catch_up,
        parameters=submission.parameters,
    )
    before = api.schedules(placed.experiment_id, name)
    if len(before) == 1 and before[0].settings == settings:
        return before[0], "unchanged"
    enabled = not before or any(schedule.enabled for schedule in before)
    made = api.create_schedule(
        name,
        settings,
        enabled=enabled,
        experiment_id=placed.experiment_id,
        pipeline_id=placed.pipeline_id,
        service_account=submission.config.cluster.service_account,
    )
    for schedule in before:
        api.delete_schedule(schedule.schedule_id)
    return Schedule(made, name, enabled, settings), "replaced" if before else "created"


def change_schedule(
    api: PipelinesApi,
    config: RunConfig,
    pipeline: str,
    action: Literal["pause", "resume", "delete"],
) -> int:
    """Pause, resume or delete the schedule of a configuration and return how many there were.

    Raises
    ------
    BadInput
        If there is none.
    """
    found = all_schedules(api, config, pipeline)
    if not found:
        name = schedule_name(config, pipeline)
        raise BadInput("CONFIG", f"{name!r} has no schedule to {action}", "make one with --cron")
    for schedule in found:
        if action == "delete":
            api.delete_schedule(schedule.schedule_id)
        else:
            api.enable_schedule(schedule.schedule_id, enabled=action == "resume")
    return len(found)


def all_schedules(api: PipelinesApi, config: RunConfig, pipeline: str) -> list[Schedule]:
    """Return the schedules of a configuration's pipeline: one, unless somebody made more."""
    experiment_id = api.find_experiment(config.name)
    if experiment_id is None:
        return []
    return api.schedules(experiment_id, schedule_name(config, pipeline))


def schedule_name(config: RunConfig, pipeline: str) -> str:
    """Return the name of a schedule: that of the configuration, for the monitor with its own."""
    return config.name if pipeline == "retrain" else f"{config.name}-{pipeline}"
