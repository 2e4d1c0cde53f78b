"""``tidegate rollout …`` and ``tidegate rollback``: begin, watch, steer and undo a release."""

import getpass
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tidegate.config import RunConfig
from tidegate.errors import BadInput
from tidegate.records import ReleaseState
from tidegate.rollout.backend import ReleaseBackend
from tidegate.rollout.transitions import Step

rollout = typer.Typer(
    help="Step a release: shadow, canary, full traffic; each step is analysed.",
    no_args_is_help=True,
)

ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration of the model")]
OnCluster = Annotated[
    bool, typer.Option("--cluster", help="the release on the cluster [this machine]")
]
By = Annotated[str | None, typer.Option("--by", help="who says so [your user name]")]
Reason = Annotated[str, typer.Option("--reason", help="why, for the release log")]


@rollout.command()
def start(
    config: ConfigFile,
    run_or_bundle: Annotated[Path, typer.Argument(help="a run directory or a bundle")],
    on_cluster: OnCluster = False,
    by: By = None,
) -> None:
    """Begin the release of a candidate; the controller takes it through its steps."""
    from tidegate.rollout.baseline import bundle_folder
    from tidegate.rollout.controller import utc_now
    from tidegate.rollout.transitions import begin

    settings = _settings(config)
    store = _store(settings)
    folder = bundle_folder(run_or_bundle, where="RUN_OR_BUNDLE")
    backend = _backend(settings, on_cluster)
    current = store.current(settings.name)
    if current is None:
        problem = f"nothing is in service as {settings.name!r}, so there is nothing to step from"
        raise BadInput(str(store.folder), problem, "release a first version: tidegate run CONFIG")
    found = backend.read_state()
    if found is not None and not found[0].is_over:
        problem = f"the release of {found[0].candidate} is not over"
        mend = "wait for its end, or: tidegate rollout abort"
        raise BadInput("rollout", problem, mend)
    manifest = store.keep(folder)
    if manifest.name != settings.name:
        problem = f"is a bundle of {manifest.name!r}, the configuration's name is {settings.name!r}"
        raise BadInput(str(folder), problem, "name a run of this configuration")
    if manifest.version == current.version:
        raise BadInput(
            str(folder), f"version {manifest.version} is in service already", "name another run"
        )
    state, events = begin(
        name=settings.name,
        baseline=current.version,
        candidate=manifest.version,
        run_digest=_run_digest(run_or_bundle),
        config=settings.rollout,
        actor=by or getpass.getuser(),
        now=utc_now(),
    )
    state = state.model_copy(update={"outbox": events})
    backend.write_state(state, revision=None if found is None else found[1])
    typer.echo(f"{settings.name}: release of {manifest.version} begins; {current.version} serves")
    steps = ", ".join("shadow" if step == 0 else f"{step} %" for step in settings.rollout.steps)
    typer.echo(f"steps: {steps}; each at least {settings.rollout.step_seconds:g} s")
    if state.phase == "awaiting_approval":
        typer.echo("it waits for an approval: tidegate approve")
    elif not on_cluster:
        typer.echo(f"next: tidegate rollout run {config}")


@rollout.command()
def run(
    config: ConfigFile,
    port: Annotated[int, typer.Option(help="port of the local proxy, 0 for a free one")] = 8080,
) -> None:
    """Serve and step the release on this machine until it is over: for trials, not production."""
    from tidegate.rollout.controller import Controller, utc_now, watch
    from tidegate.rollout.local_backend import LocalBackend
    from tidegate.rollout.local_evidence import LocalAnalyst
    from tidegate.rollout.local_proxy import LocalProxy
    from tidegate.rollout.local_servers import LocalServers

    settings = _settings(config)
    store = _store(settings)
    reader = LocalBackend(store, settings.name)
    found = reader.read_state()
    if found is None or found[0].is_over:
        raise BadInput(
            "rollout", f"no release of {settings.name} is under way", "tidegate rollout start"
        )
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        proxy = LocalProxy(port)
    except OSError as error:
        problem = f"port {port} cannot be had: {error.strerror}"
        raise BadInput("--port", problem, "choose another one, or 0") from None
    logs = store.folder_of(settings.name) / "rollout" / "logs"
    holder = f"{socket.gethostname()}-{os.getpid()}"
    with LocalServers(store, settings.name, proxy, logs) as servers:
        backend = LocalBackend(
            store, settings.name, servers, kept_versions=settings.rollout.kept_versions
        )
        typer.echo(f"requests to {proxy.address}/v2/models/{settings.name}/infer")
        controller = Controller(
            backend,
            LocalAnalyst(servers, store, settings),
            settings.rollout,
            utc_now,
            holder,
        )
        tell = _Telling(backend.log.read)
        try:
            watch(
                controller,
                lambda: tell.news() or _is_over(backend),
                poll_seconds=min(1.0, settings.rollout.interval_seconds),
            )
        except KeyboardInterrupt:
            typer.echo("stopped; run the same command again to go on", err=True)
            raise typer.Exit(130) from None
        finally:
            backend.let_go_of_lease(holder)


@rollout.command()
def status(
    config: ConfigFile,
    on_cluster: OnCluster = False,
    events: Annotated[int, typer.Option(help="how many of the last events to show")] = 8,
) -> None:
    """Show where the release stands, what the last analysis found, and what happened."""
    from rich.console import Console

    from pipelines.rollout_display import events_table, findings_table, headline
    from tidegate.rollout.controller import utc_now

    settings = _settings(config)
    backend = _backend(settings, on_cluster)
    found = backend.read_state()
    console = Console(highlight=False)
    if found is None:
        serving = _store(settings).current(settings.name)
        said = "nothing is in service" if serving is None else f"{serving.version} serves"
        console.print(f"{settings.name}: no release has begun; {said}")
        return
    state = found[0]
    for line in headline(state, settings.rollout, utc_now()):
        console.print(line, markup=False)
    if state.last_analysis is not None:
        console.print(findings_table(state.last_analysis))
    told = _events(settings, on_cluster)
    if told:
        console.print(events_table(told[-events:]))


@rollout.command()
def advance(
    config: ConfigFile, reason: Reason, on_cluster: OnCluster = False, by: By = None
) -> None:
    """Go one step further now, whatever the clock and the analysis say."""
    from tidegate.rollout import transitions

    who = by or getpass.getuser()
    _order(
        config,
        on_cluster,
        lambda state, now: transitions.advance(state, by=who, reason=reason, now=now),
    )


@rollout.command()
def pause(
    config: ConfigFile, reason: Reason, on_cluster: OnCluster = False, by: By = None
) -> None:
    """Hold the release at its step until somebody resumes it; harm still rolls it back."""
    from tidegate.rollout.transitions import hold

    who = by or getpass.getuser()
    _order(config, on_cluster, lambda state, now: hold(state, by=who, reason=reason, now=now))


@rollout.command(name="resume")
def resume_(
    config: ConfigFile, reason: Reason, on_cluster: OnCluster = False, by: By = None
) -> None:
    """End a pause; the next analysis decides again."""
    from tidegate.rollout.transitions import resume

    who = by or getpass.getuser()
    _order(config, on_cluster, lambda state, now: resume(state, by=who, reason=reason, now=now))


@rollout.command()
def abort(
    config: ConfigFile, reason: Reason, on_cluster: OnCluster = False, by: By = None
) -> None:
    """End the release: the baseline gets all traffic."""
    from tidegate.rollout.transitions import return_to

    who = by or getpass.getuser()

    def change(state: ReleaseState, now: datetime) -> Step:
        if state.is_over:
            mend = "to return to another version: tidegate rollback"
            raise BadInput("rollout", f"the release of {state.candidate} is over", mend)
        return return_to(state, state.baseline, by=who, reason=reason, now=now)

    _order(config, on_cluster, change)


def rollback(
    model: Annotated[str, typer.Argument(help="the model's name, or its YAML configuration")],
    to: Annotated[
        str | None, typer.Option("--to", help="a kept version [the one before]")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="model store on this machine [runs/.tidegate/models]")
    ] = None,
    on_cluster: OnCluster = False,
    by: By = None,
    reason: Annotated[str, typer.Option("--reason", help="why, for the release log")] = "not said",
) -> None:
    """Give all traffic back to the version before, or to any kept one."""
    from tidegate.rollout.local_backend import LocalBackend
    from tidegate.rollout.model_store import ModelStore
    from tidegate.rollout.transitions import return_to

    who = by or getpass.getuser()
    is_file = Path(model).suffix in (".yaml", ".yml") or Path(model).is_file()
    settings = _settings(Path(model)) if is_file else None
    if on_cluster and settings is None:
        raise BadInput("NAME", f"{model!r} does not say which cluster", "name the configuration")
    name = model if settings is None else settings.name
    models = _store(settings) if store is None else ModelStore(store)
    backend: ReleaseBackend = LocalBackend(models, name)
    if on_cluster and settings is not None:
        backend = _backend(settings, on_cluster)
    found = backend.read_state()
    if found is None and not on_cluster:
        release = models.rollback(name, to)
        typer.echo(f"{name}: version {release.version} is in service again")
        return
    version = to or _before(found[0] if found else None, models, name)
    if not on_cluster and version not in models.versions(name):
        kept = ", ".join(models.versions(name)) or "none"
        raise BadInput("--to", f"keeps no version {version!r}", f"choose of: {kept}")
    _carry_out(
        backend,
        lambda state, now: return_to(state, version, by=who, reason=reason, now=now),
        settings,
    )
    typer.echo(f"{name}: version {version} is in service again")


def _before(state: ReleaseState | None, models: object, name: str) -> str:
    """Return the version to go back to: the baseline of the release, or the one before it."""
    from tidegate.rollout.model_store import ModelStore

    if state is not None and state.phase != "rolled_back":
        return state.baseline
    current = models.current(name) if isinstance(models, ModelStore) else None
    if current is None or current.previous is None:
        raise BadInput(name, "no version was in service before", "name one: --to VERSION")
    return current.previous


def _order(
    config: Path, on_cluster: bool, change: Callable[[ReleaseState, datetime], Step]
) -> None:
    settings = _settings(config)
    state = _carry_out(_backend(settings, on_cluster), change, settings)
    traffic = state.traffic
    share = "" if traffic.candidate is None else f", {traffic.candidate_percent} % to the candidate"
    typer.echo(
        f"{state.name}: {state.phase.replace('_', ' ')}; {traffic.baseline} serves{share}"
    )


def _carry_out(
    backend: ReleaseBackend,
    change: Callable[[ReleaseState, datetime], Step],
    settings: RunConfig | None,
) -> ReleaseState:
    """Write an order into the state and put it in force, unless a controller will."""
    from tidegate.config import RolloutConfig
    from tidegate.rollout.controller import Controller, command, utc_now

    state = command(backend, change, utc_now)
    holder = f"order-{socket.gethostname()}-{os.getpid()}"
    config = RolloutConfig() if settings is None else settings.rollout
    controller = Controller(backend, _NoAnalyst(), config, utc_now, holder)
    outcome = controller.apply()
    if outcome == "not_mine":
        typer.echo("the controller that runs will carry it out within seconds")
    backend.let_go_of_lease(holder)
    return state


class _NoAnalyst:
    """An order is carried out without an analysis."""

    def analyse(self, *_: object) -> object:
        raise NotImplementedError


class _Telling:
    """Prints events as they are told."""

    def __init__(self, read: Callable[[], tuple[object, ...]]) -> None:
        self._read = read
        self._told = 0

    def news(self) -> bool:
        """Print what is new; always False."""
        from pipelines.rollout_display import event_line
        from tidegate.records import ReleaseEvent

        events = self._read()
        for event in events[self._told :]:
            if isinstance(event, ReleaseEvent):
                typer.echo(event_line(event))
        self._told = len(events)
        return False
