"""The commands that speak to Kubeflow Pipelines on a cluster."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from tidegate.errors import BadInput

if TYPE_CHECKING:
    from pipelines.kfp_api import PipelinesApi
    from tidegate.config import RunConfig

_ENDPOINT_VARIABLE = "KF_PIPELINES_ENDPOINT"

ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration; see `tidegate init`")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="override a key: search.minutes=2")
]
Endpoint = Annotated[
    str | None,
    typer.Option(help="address of Kubeflow Pipelines [cluster.endpoint, $KF_PIPELINES_ENDPOINT]"),
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="seconds one call may take")]
AllowUnpinned = Annotated[
    bool, typer.Option("--allow-unpinned", help="accept images that are named by a tag")
]


def submit(
    config: ConfigFile,
    endpoint: Endpoint = None,
    wait: Annotated[bool, typer.Option("--wait", help="follow the run to its end")] = False,
    overrides: Overrides = None,
    fail_on_hold: Annotated[
        bool, typer.Option("--fail-on-hold", help="with --wait: exit 3 unless promoted")
    ] = False,
    allow_unpinned: AllowUnpinned = False,
    timeout_seconds: Timeout = 30.0,
) -> None:
    """Run the whole retrain pipeline on a cluster."""
    from pipelines.submit import place, prepare, start
    from tidegate.config import load_config

    if fail_on_hold and not wait:
        raise BadInput("--fail-on-hold", "the decision is known when the run ends", "add --wait")
    settings = load_config(config, overrides or ())
    submission = prepare(settings, allow_unpinned=allow_unpinned)
    api = connect(settings, endpoint, timeout_seconds)
    placed = place(api, submission)
    name, run_id = start(api, submission, placed)
    novelty = "new" if placed.version_is_new else "as before"
    typer.echo(f"pipeline  version {submission.version} ({novelty})")
    typer.echo(f"run       {name}")
    typer.echo(f"address   {api.run_address(run_id)}")
    if wait:
        _follow(api, run_id, submission.package, fail_on_hold=fail_on_hold)


def _follow(api: "PipelinesApi", run_id: str, package: str, *, fail_on_hold: bool) -> None:
    from rich.console import Console

    from pipelines.display import StepTable
    from pipelines.submit import CLUSTER_STEPS, RunFailed, follow, was_promoted

    address = api.run_address(run_id)
    with StepTable(CLUSTER_STEPS, Console(highlight=False)).live() as table:
        try:
            run = follow(api, run_id, table.see)
        except RunFailed as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo(f"no longer following; the run goes on: {address}", err=True)
            raise typer.Exit(130) from None
        except BadInput as error:
            mend = f"the run goes on: {address}"
            raise BadInput(error.where, error.problem, mend) from None
        table.finish()
    promoted = was_promoted(run, package)
    if promoted:
        typer.echo("decision  promote")
    elif promoted is None:
        typer.echo(f"decision  not told by the run; read step evaluate: {address}")
    else:
        typer.echo(f"decision  not promoted; steps evaluate and report say why: {address}")
    if fail_on_hold and not promoted:
        raise typer.Exit(3)


def schedule(
    config: ConfigFile,
    cron: Annotated[
        str | None, typer.Option(help="when: minute hour day month weekday, as '0 3 * * *'")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="runs at a time, 1 to 10")] = 1,
    catch_up: Annotated[
        bool, typer.Option("--catch-up/--no-catch-up", help="make up for runs that were missed")
    ] = False,
    pause: Annotated[bool, typer.Option("--pause", help="let no run start")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="let runs start again")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="remove the schedule")] = False,
    list_: Annotated[bool, typer.Option("--list", help="show the schedule")] = False,
    pipeline: Annotated[str, typer.Option(help="which pipeline: retrain or monitor")] = "retrain",
    endpoint: Endpoint = None,
    overrides: Overrides = None,
    allow_unpinned: AllowUnpinned = False,
    timeout_seconds: Timeout = 30.0,
) -> None:
    """Retrain or watch on a cluster again and again; times are the cluster's, mostly UTC."""
    from pipelines.compile import require_pipeline
    from pipelines.schedule import (
        all_schedules,
        change_schedule,
        schedule_name,
        set_schedule,
        timing,
    )
    from pipelines.submit import prepare
    from tidegate.config import load_config

    chosen = {
        "--cron": cron is not None,
        "--pause": pause,
        "--resume": resume,
        "--delete": delete,
        "--list": list_,
    }
    actions = [name for name, given in chosen.items() if given]
    if len(actions) != 1:
        problem = f"one of {', '.join(chosen)} is needed, got {' and '.join(actions) or 'none'}"
        raise BadInput("schedule", problem, "write for example --cron '0 3 * * *'")
    require_pipeline(pipeline)
    settings = load_config(config, overrides or ())
    if cron is not None:
        when = timing(cron, concurrency=concurrency, catch_up=catch_up)
        submission = prepare(settings, pipeline, allow_unpinned=allow_unpinned)
        api = connect(settings, endpoint, timeout_seconds)
        made, what = set_schedule(api, submission, when)
        also = " (Kubeflow cannot change one: a new one took its place)"
        typer.echo(f"schedule {made.name} {what}{also if what == 'replaced' else ''}")
        typer.echo(f"fires at {made.settings.cron!r}{'' if made.enabled else ', but is paused'}")
        return
    api = connect(settings, endpoint, timeout_seconds)
    if list_:
        found = all_schedules(api, settings, pipeline)
        for item in found:
            state = "enabled" if item.enabled else "paused"
            catching = "catches up" if item.settings.catch_up else "does not catch up"
            typer.echo(
                f"{item.name}  {state}  {item.settings.cron!r}  "
                f"at most {item.settings.concurrency} at a time, {catching}"
            )
        if not found:
            typer.echo(f"{schedule_name(settings, pipeline)} has no schedule")
        return
    action = cast(Literal["pause", "resume", "delete"], actions[0].removeprefix("--"))
    change_schedule(api, settings, pipeline, action)
    typer.echo(f"schedule {schedule_name(settings, pipeline)} {action.removesuffix('e')}ed")


def known_endpoint(settings: "RunConfig", endpoint: str | None) -> str | None:
    """Return the address of Kubeflow Pipelines that was given, configured or is in the shell."""
    return endpoint or settings.cluster.endpoint or os.environ.get(_ENDPOINT_VARIABLE)


def connect(settings: "RunConfig", endpoint: str | None, timeout_seconds: float) -> "PipelinesApi":
    """Return Kubeflow Pipelines at that address, or say how to name one."""
    from pipelines.kfp_api import PipelinesApi

    address = known_endpoint(settings, endpoint)
    if address is None:
        forward = "kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80"
        mend = f"give --endpoint http://localhost:8080 after {forward}"
        raise BadInput("cluster.endpoint", "no address of Kubeflow Pipelines is known", mend)
    return PipelinesApi(
        address, namespace=settings.cluster.namespace, timeout_seconds=timeout_seconds
    )
