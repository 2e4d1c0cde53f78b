"""``tidegate trigger``: what the trigger remembers, and a person's hand on it."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tidegate.errors import BadInput, Conflict

if TYPE_CHECKING:
    from tidegate.config import TriggerConfig
    from tidegate.monitoring.trigger import TriggerStore
    from tidegate.records import RemedyRequest, Signal

STATES = Path("runs") / ".tidegate" / "triggers"
# A light refresh tries the points with which a search starts: the defaults and what is in service.
_LIGHT = ("search.trials=2", "search.ensemble_members=1")

ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration of the model")]


class Retrain(StrEnum):
    """How much a person asks for."""

    light = "light"
    full = "full"


def trigger(
    config: ConfigFile,
    retrain: Annotated[
        Retrain | None,
        typer.Option(help="light: fresh data, known hyperparameters; full: a new search"),
    ] = None,
    why: Annotated[str, typer.Option(help="the reason, for the log")] = "asked for by hand",
    noticed: Annotated[
        Path | None, typer.Option("--signals", help="signals.json of a monitor")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="print what the trigger remembers, as JSON")
    ] = False,
) -> None:
    """Act on what waits, on the schedule, or on your own request; one run at a time."""
    from tidegate.config import load_config
    from tidegate.monitoring.trigger import pull
    from tidegate.monitoring.trigger_store import FileStore
    from tidegate.records import Signal, TriggerState

    settings = load_config(config)
    store = FileStore(STATES / f"{settings.name}.json")
    if status:
        if retrain is not None or noticed is not None:
            raise BadInput("--status", "only looks", "leave --retrain and --signals out")
        state = store.read()[0] or TriggerState(model=settings.name)
        typer.echo(state.model_dump_json(indent=2))
        return
    now = datetime.now(UTC)
    signals = [] if noticed is None else _signals(noticed, settings.name)
    if retrain is not None:
        wants: Literal["light_refresh", "full_retrain"] = (
            "light_refresh" if retrain is Retrain.light else "full_retrain"
        )
        window = now.isoformat(timespec="seconds")
        signals.append(
            Signal(model=settings.name, window=window, cause="hand", says=why, wants=wants)
        )
    act = launch_here(config, store, settings.monitor.trigger)
    verdict = pull(store, settings.name, signals, now, settings.monitor.trigger, act)
    typer.echo(verdict.why)


def _signals(path: Path, model: str) -> "list[Signal]":
    """Read what a monitor noticed about a model."""
    from tidegate.records import Signal
    from tidegate.store import read_json

    try:
        found = [Signal.model_validate(signal) for signal in read_json(path)]
    except (OSError, ValueError, TypeError):
        mend = "name the signals.json that a monitor left"
        raise BadInput("--signals", f"{path} holds no signals", mend) from None
    others = sorted({signal.model for signal in found} - {model})
    if others:
        raise BadInput("--signals", f"{path} is about {others[0]}, not {model}", "name its own")
    return found


def launch_here(
    config: Path,
    store: "TriggerStore",
    settings: "TriggerConfig",
    run: Callable[[list[str]], int] = lambda command: (
        subprocess.run(command, check=False).returncode
    ),
) -> "Callable[[RemedyRequest], None]":
    """Return what acts on requests on this machine: `tidegate run` under the request's name.

    A run that ended before is not repeated; the trigger is told how it ended. A threshold update
    is left to whoever serves: it is said and ends at once.
    """

    def act(request: "RemedyRequest") -> None:
        from pipelines.run_record import RunRecord
        from tidegate.monitoring.trigger_store import page
        from tidegate.store import read_record

        if request.remedy == "page":
            page(settings.webhook, request)
            return
        replaced = False
        if request.remedy != "threshold_update":
            out = Path("runs") / request.name
            if not _is_over(out):
                overrides = _LIGHT if request.remedy == "light_refresh" else ()
                options = [part for override in overrides for part in ("--set", override)]
                command = [sys.executable, "-m", "pipelines.cli", "run", str(config)]
                run([*command, "--out", str(out), *options])
            if _is_over(out):
                record = read_record(out / "run.json", RunRecord)
                replaced = record.decision == "promote"
        _tell(store, request.name, replaced_model=replaced)

    return act


def _is_over(out: Path) -> bool:
    from pipelines.run_record import RunRecord
    from tidegate.store import read_record

    path = out / "run.json"
    return path.exists() and read_record(path, RunRecord).status == "done"


def _tell(store: "TriggerStore", name: str, *, replaced_model: bool) -> None:
    """Take the end of a request down, however many others write at the same time."""
    from tidegate.monitoring.trigger import ended

    while True:
        state, revision = store.read()
        if state is None:
            return
        try:
            store.write(ended(state, name, replaced_model=replaced_model), revision=revision)
        except Conflict:
            continue
        return
