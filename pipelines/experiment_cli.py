"""``tidegate rollout experiment …``: an A/B experiment at the end of a release's canary."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.errors import BadInput

if TYPE_CHECKING:
    from tidegate.config import ExperimentConfig, RunConfig
    from tidegate.records import ReleaseState
    from tidegate.rollout.local_backend import LocalBackend
    from tidegate.rollout.transitions import Step

experiment = typer.Typer(
    help="Ask whether the candidate does good: units are split by a hash, and a verdict ends it.",
    no_args_is_help=True,
)

ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration of the model")]


@experiment.command()
def begin(
    config: ConfigFile,
    past: Annotated[str, typer.Option(help="outcomes of the time before, path or URI")],
    units_a_day: Annotated[float | None, typer.Option(help="new units a day")] = None,
) -> None:
    """Plan the sample size, then hold the release at the experiment's share."""
    from tidegate.data.sources import read_source
    from tidegate.rollout.controller import command, utc_now
    from tidegate.rollout.experiment import plan_experiment
    from tidegate.rollout.release_experiment import (
        begin_experiment,
        experiment_folder,
        keep_begun,
    )

    settings, section, backend, state = _release(config)
    begin_experiment(state, section, now=utc_now())  # refused before anything is written
    plan = plan_experiment(section, read_source([past]), units_a_day=units_a_day)
    keep_begun(experiment_folder(backend.folder, state), state, plan)
    command(backend, lambda present, now: begin_experiment(present, section, now=now), utc_now)
    days = "" if plan.days is None else f", about {plan.days:.0f} days"
    typer.echo(f"{settings.name}: {state.candidate} against {state.baseline}, by {section.unit}")
    typer.echo(f"planned: {plan.units} units{days}, for a difference of {plan.smallest_effect:g}")
    typer.echo(f"next: tidegate rollout experiment look {config} --outcomes FILE")


@experiment.command()
def look(
    config: ConfigFile,
    outcomes: Annotated[str, typer.Option(help="outcomes so far, path or URI")],
    act: Annotated[
        bool, typer.Option(help="let a verdict resume the release or roll it back")
    ] = True,
) -> None:
    """Judge the outcomes so far, as often as you like; write the page, and act on a verdict."""
    from tidegate.data.sources import read_source
    from tidegate.rollout.controller import command, utc_now
    from tidegate.rollout.release_experiment import (
        act_on,
        experiment_folder,
        read_begun,
        with_units,
    )
    from tidegate.rollout.release_experiment import look as judged

    settings, section, backend, state = _release(config)
    now = utc_now()
    folder = experiment_folder(backend.folder, state)
    began = datetime.fromisoformat(read_begun(folder).began_at)
    rows = with_units(section, read_source([outcomes]), lambda: _logged(settings, began, now))
    result = judged(state, section, rows, folder, now=now)
    typer.echo(f"{result.verdict.replace('_', ' ')}: {result.says}")
    typer.echo(f"page: {folder / 'experiment.html'}")
    if not act or act_on(state, result, now=now) is None:
        return

    def change(present: "ReleaseState", at: datetime) -> "Step":
        return act_on(present, result, now=at) or (present, ())

    after = command(backend, change, utc_now)
    typer.echo(f"{settings.name}: {after.phase.replace('_', ' ')}")


def _release(
    config: Path,
) -> "tuple[RunConfig, ExperimentConfig, LocalBackend, ReleaseState]":
    from tidegate.config import load_config
    from tidegate.rollout.local_backend import LocalBackend
    from tidegate.rollout.model_store import DEFAULT_STORE, ModelStore

    settings = load_config(config)
    section = settings.rollout.experiment
    if section is None:
        mend = "write metric and smallest_effect; docs/experiments.md"
        raise BadInput(str(config), "has no rollout.experiment", mend)
    backend = LocalBackend(
        ModelStore(Path(settings.rollout.model_store or DEFAULT_STORE)), settings.name
    )
    found = backend.read_state()
    if found is None:
        raise BadInput("rollout", "no release has begun", "tidegate rollout start")
    return settings, section, backend, found[0]


def _logged(settings: "RunConfig", since: datetime, until: datetime) -> Any:
    """Return who was assigned in the payload log's rows of a time."""
    from tidegate.serving.log_reader import read_log

    uri = settings.serving.payload_log.uri
    if uri is None:
        mend = "set serving.payload_log.uri, or give the outcomes a column of units"
        raise BadInput("outcomes", "have no unit, and there is no payload log", mend)
    columns = ["row_id", "unit_id", "arm", "model_version"]
    return read_log(uri, since, until, columns)[0]
