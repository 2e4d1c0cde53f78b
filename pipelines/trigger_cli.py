"""``tidegate trigger``: what the trigger remembers, and a person's hand on it."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cluster_cli import AllowUnpinned, Endpoint, Timeout, connect, known_endpoint
from tidegate.errors import BadInput, Conflict

if TYPE_CHECKING:
    from pipelines.remedies import Place
    from tidegate.cluster_api import ClusterApi
    from tidegate.config import RunConfig
    from tidegate.monitoring.trigger import TriggerStore
    from tidegate.records import Signal, TriggerState, TriggerVerdict

#: How long a call goes on asking an API server that does not answer.
_PATIENCE_SECONDS = 30.0
STATES = Path("runs") / ".tidegate" / "triggers"

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
        Path | None,
        typer.Option(
            "--signals", help="signals.json of a monitor [that of the workspace, if it is there]"
        ),
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="where the cluster's workspace is mounted here")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="print what the trigger remembers, as JSON")
    ] = False,
    log: Annotated[
        bool, typer.Option("--log", help="print what was asked for, why, and how it ended")
    ] = False,
    endpoint: Endpoint = None,
    allow_unpinned: AllowUnpinned = False,
    timeout_seconds: Timeout = 30.0,
) -> None:
    """Act on what waits, on the schedule, or on your own request; one run at a time.

    Where the configuration names Kubeflow Pipelines, runs start there and the state is a
    ConfigMap; else everything is on this machine.
    """
    from tidegate.cluster_api import ClusterError
    from tidegate.config import load_config

    settings = load_config(config)
    looks = [name for name, given in (("--status", status), ("--log", log)) if given]
    if looks and (retrain is not None or noticed is not None):
        raise BadInput(looks[0], "only looks", "leave --retrain and --signals out")
    on_cluster = known_endpoint(settings, endpoint) is not None
    try:
        cluster = _cluster() if on_cluster else None
        store = _store(settings, cluster)
        state = _state_of(settings, store)
        if looks:
            _show(state, log=log)
            return
        signals = _noticed(settings, noticed, workspace)
        if retrain is not None:
            signals.append(_by_hand(settings.name, retrain, why))
        place: Place
        if cluster is not None:
            from pipelines.placement import WORKSPACE
            from pipelines.remedies import OnCluster
            from tidegate.rollout.model_store import ModelStore

            own = (workspace or Path(WORKSPACE)) / "models"
            place = OnCluster(
                config,
                settings,
                connect(settings, endpoint, timeout_seconds),
                cluster,
                ModelStore(Path(settings.rollout.model_store or own)),
                allow_unpinned=allow_unpinned,
            )
        else:
            place = this_machine(config, settings)
        _act(settings, store, place, signals, noticed, workspace)
    except Conflict as error:
        raise BadInput("trigger", str(error), "try again") from None
    except ClusterError as error:
        raise BadInput("cluster", str(error), "tidegate doctor --cluster says more") from None


def this_machine(config: Path, settings: "RunConfig") -> "Place":
    """Return where a trigger without a cluster acts."""
    from pipelines.remedies import ThisMachine

    return ThisMachine(config, settings)


def _act(
    settings: "RunConfig",
    store: "TriggerStore",
    place: "Place",
    signals: "list[Signal]",
    noticed: Path | None,
    workspace: Path | None,
) -> None:
    from pipelines.remedies import Remedies
    from tidegate.monitoring.recurring import calm_causes
    from tidegate.monitoring.trigger import pull, settled
    from tidegate.monitoring.trigger_store import change

    name, config = settings.name, settings.monitor.trigger
    labels, more = _labels(settings, store)
    remedies = Remedies(settings, store, place, lambda: datetime.now(UTC), labels=labels)
    stuck: BadInput | None = None
    try:
        remedies.go_on()
    except BadInput as error:
        stuck = error  # told when what is new has been heard
    watched = _signals_file(settings, noticed, workspace)
    if watched is not None:
        state, _ = store.read()
        since = None if state is None else state.last_retrain_at
        counted = () if state is None else tuple(state.in_a_row)
        calm = calm_causes(watched.parent, counted, since)
        if calm:
            change(store, name, lambda state: settled(state, calm))
    verdict = pull(store, name, [*signals, *more], datetime.now(UTC), config, remedies)
    typer.echo(verdict.why)
    _tell(store, verdict)
    if stuck is not None:
        raise stuck


def _tell(store: "TriggerStore", verdict: "TriggerVerdict") -> None:
    """Say what came of a request so far, and which pages nobody took."""
    after = store.read()[0]
    if after is None:
        return
    if verdict.request is not None:
        own = [line.says for line in after.log if line.request == verdict.request.name]
        for says in own[1:]:
            typer.echo(says)
        if after.running is not None and after.running.name == verdict.request.name:
            typer.echo(f"{verdict.request.name} runs; the next call sees how it ended")
    for request in after.unsent:
        typer.echo(f"warning: nobody took the page {request.name}: {request.says}", err=True)


def _cluster() -> "ClusterApi":
    from tidegate.cluster_api import ClusterApi, load_configuration

    mend = "run it in a pod of the cluster, or name a kubeconfig in KUBECONFIG"
    return ClusterApi(
        lambda: load_configuration("trigger", mend), patience_seconds=_PATIENCE_SECONDS
    )


def _store(settings: "RunConfig", cluster: "ClusterApi | None") -> "TriggerStore":
    from tidegate.monitoring.trigger_store import ConfigMapStore, FileStore

    if cluster is None:
        return FileStore(STATES / f"{settings.name}.json")
    name = f"{settings.cluster.service.name}-trigger"
    return ConfigMapStore(cluster, settings.cluster.namespace, name)


def _state_of(settings: "RunConfig", store: "TriggerStore") -> "TriggerState":
    from tidegate.records import TriggerState

    state = store.read()[0] or TriggerState(model=settings.name)
    if state.model != settings.name:
        problem = f"its trigger belongs to {state.model!r}, not {settings.name!r}"
        raise BadInput("cluster.service.name", problem, "give each model a service of its own")
    return state


def _show(state: "TriggerState", *, log: bool) -> None:
    if not log:
        typer.echo(state.model_dump_json(indent=2))
        return
    for line in state.log:
        typer.echo(f"{line.at}  {line.request}  {line.says}")
    if not state.log:
        typer.echo("nothing was asked for yet")


def _by_hand(model: str, retrain: Retrain, why: str) -> "Signal":
    from tidegate.records import Signal

    wants: Literal["light_refresh", "full_retrain"] = (
        "light_refresh" if retrain is Retrain.light else "full_retrain"
    )
    window = datetime.now(UTC).isoformat(timespec="seconds")
    return Signal(model=model, window=window, cause="hand", says=why, wants=wants)


def _signals_file(
    settings: "RunConfig", noticed: Path | None, workspace: Path | None
) -> Path | None:
    """Return the file that was named, or the workspace's if a monitor has left one."""
    from tidegate.monitoring.recurring import SIGNALS

    if noticed is not None or workspace is None:
        return noticed
    path = workspace / "monitor" / settings.name / SIGNALS
    return path if path.is_file() else None


def _noticed(settings: "RunConfig", noticed: Path | None, workspace: Path | None) -> "list[Signal]":
    """Read what a monitor noticed about the model."""
    from tidegate.records import Signal
    from tidegate.store import read_json

    path = _signals_file(settings, noticed, workspace)
    if path is None:
        return []
    mend = "name the signals.json that a monitor left"
    try:
        found = [Signal.model_validate(signal) for signal in read_json(path)]
    except FileNotFoundError:
        raise BadInput("--signals", f"there is no {path}", mend) from None
    except (OSError, ValueError, TypeError):
        raise BadInput("--signals", f"{path} holds no signals", mend) from None
    others = sorted({signal.model for signal in found} - {settings.name})
    if others:
        problem = f"{path} is about {others[0]}, not {settings.name}"
        raise BadInput("--signals", problem, "name its own")
    return found


def _labels(settings: "RunConfig", store: "TriggerStore") -> "tuple[int | None, list[Signal]]":
    """Count the labels that came back, and say so when enough came since the last retrain."""
    from tidegate.monitoring.served_window import read_labels
    from tidegate.monitoring.trigger_store import change
    from tidegate.records import Signal

    enough, source = settings.monitor.trigger.new_labels, settings.monitor.labels
    if enough is None or source is None:
        return None, []
    try:
        labels = len(read_labels(source)[0])
    except BadInput as error:
        typer.echo(f"warning: new labels are not counted: {error}", err=True)
        return None, []
    # Those of before the first call were there to learn from.
    state = change(
        store,
        settings.name,
        lambda state: (
            state.model_copy(update={"labels_learnt": labels})
            if state.labels_learnt is None
            else state
        ),
    )
    learnt = state.labels_learnt or 0
    if labels - learnt < enough:
        return labels, []
    says = f"{labels - learnt} labels came back since the last retrain ({enough} are asked for)"
    window = f"{learnt} labels at {state.last_retrain_at}"
    return labels, [Signal(model=settings.name, window=window, cause="new_labels", says=says)]
