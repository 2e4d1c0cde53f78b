"""``tidegate rollout …`` and ``tidegate rollback``: begin, watch, steer and undo a release."""

import getpass
import os
import signal
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.experiment_cli import experiment
from tidegate.errors import BadInput

if TYPE_CHECKING:
    from tidegate.config import RunConfig
    from tidegate.records import ReleaseState
    from tidegate.rollout.backend import ReleaseBackend
    from tidegate.rollout.model_store import ModelStore
    from tidegate.rollout.release_log import ReleaseLog
    from tidegate.rollout.transitions import Step

    Change = Callable[[ReleaseState, datetime], Step]

rollout = typer.Typer(
    help="Step a release: shadow, canary, full traffic; each step is analysed.",
    no_args_is_help=True,
)
rollout.add_typer(experiment, name="experiment")

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
    from tidegate.rollout.approval import REQUEST
    from tidegate.rollout.baseline import bundle_folder
    from tidegate.rollout.controller import utc_now
    from tidegate.rollout.handover import begin_release
    from tidegate.rollout.root_cause import keep_made

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
    state = begin_release(
        store,
        settings,
        baseline=current.version,
        candidate=manifest.version,
        run_digest=_run_of(run_or_bundle),
        actor=by or getpass.getuser(),
        now=utc_now(),
        asked=run_or_bundle if (run_or_bundle / REQUEST).exists() else None,
    )
    keep_made(run_or_bundle, store.folder_of(settings.name) / "made" / manifest.version)
    backend.write_state(state, revision=None if found is None else found[1])
    typer.echo(f"{settings.name}: release of {manifest.version} begins; {current.version} serves")
    steps = ", ".join("shadow" if step == 0 else f"{step} %" for step in settings.rollout.steps)
    typer.echo(f"steps: {steps}; each at least {settings.rollout.step_seconds:g} s")
    if not on_cluster:
        typer.echo(f"next: tidegate rollout run {config}")


@rollout.command()
def run(
    config: ConfigFile,
    port: Annotated[int, typer.Option(help="port of the local proxy, 0 for a free one")] = 8080,
) -> None:
    """Serve and step the release on this machine until it is over: for trials, not production."""
    from tidegate.records import Traffic
    from tidegate.rollout.controller import Controller, utc_now, watch
    from tidegate.rollout.local_backend import LocalBackend
    from tidegate.rollout.local_evidence import local_analyst
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
    with LocalServers(
        store,
        settings.name,
        proxy,
        logs,
        serving=settings.serving,
        split_units=settings.rollout.experiment is not None,
    ) as servers:
        backend = LocalBackend(
            store, settings.name, servers, kept_versions=settings.rollout.kept_versions
        )
        servers.route(Traffic(baseline=found[0].traffic.baseline))
        servers.wait_until_ready(found[0].traffic.baseline)
        typer.echo(f"requests to {proxy.address}/v2/models/{settings.name}/infer")
        analyst = local_analyst(servers, store, settings)
        controller = Controller(backend, analyst, settings.rollout, utc_now, _holder())
        news = _News(backend.log)

        def is_over() -> bool:
            news.print()
            present = backend.read_state()
            return present is not None and present[0].is_over and not present[0].outbox

        try:
            watch(controller, is_over, poll_seconds=min(1.0, settings.rollout.interval_seconds))
        except KeyboardInterrupt:
            typer.echo("stopped; run the same command again to go on", err=True)
            raise typer.Exit(130) from None
        finally:
            backend.let_go_of_lease(_holder())


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
    from tidegate.rollout.ledger import Ledger

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
    told = Ledger(_store(settings), settings.name, kept_versions=2).log.read()
    if told:
        console.print(events_table(told[-events:]))


@rollout.command()
def versions(config: ConfigFile) -> None:
    """List every version: in service, kept to return to, waiting, or failed with its evidence."""
    from rich.console import Console

    from pipelines.rollout_display import versions_table
    from tidegate.rollout.known_versions import known_versions

    settings = _settings(config)
    known = known_versions(_store(settings), settings.name)
    if not known:
        typer.echo(f"{settings.name}: no version is known")
        return
    Console(highlight=False).print(versions_table(known))


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
def pause(config: ConfigFile, reason: Reason, on_cluster: OnCluster = False, by: By = None) -> None:
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
def abort(config: ConfigFile, reason: Reason, on_cluster: OnCluster = False, by: By = None) -> None:
    """End the release: the baseline gets all traffic."""
    from tidegate.rollout.transitions import return_to

    who = by or getpass.getuser()

    def change(state: "ReleaseState", now: datetime) -> "Step":
        if state.is_over:
            mend = "to return to another version: tidegate rollback"
            raise BadInput("rollout", f"the release of {state.candidate} is over", mend)
        return return_to(state, state.baseline, by=who, reason=reason, now=now)

    _order(config, on_cluster, change)


def rollback(
    model: Annotated[str, typer.Argument(help="the model's name, or its YAML configuration")],
    to: Annotated[str | None, typer.Option("--to", help="a kept version [the one before]")] = None,
    store: Annotated[
        Path | None, typer.Option(help="model store on this machine [runs/.tidegate/models]")
    ] = None,
    on_cluster: OnCluster = False,
    by: By = None,
    reason: Annotated[str, typer.Option("--reason", help="why, for the release log")] = "not said",
) -> None:
    """Give all traffic back to the version before, or to any kept one."""
    from tidegate.rollout.local_backend import LocalBackend
    from tidegate.rollout.model_store import DEFAULT_STORE, ModelStore
    from tidegate.rollout.transitions import return_to

    who = by or getpass.getuser()
    is_file = Path(model).suffix in (".yaml", ".yml") or Path(model).is_file()
    settings = _settings(Path(model)) if is_file else None
    if on_cluster and settings is None:
        raise BadInput("NAME", f"{model!r} does not say which cluster", "name the configuration")
    name = model if settings is None else settings.name
    models = ModelStore(store or DEFAULT_STORE)
    if settings is not None and store is None:
        models = _store(settings)
    backend: ReleaseBackend = LocalBackend(models, name)
    if on_cluster and settings is not None:
        backend = _backend(settings, on_cluster)
    found = backend.read_state()
    if found is None and not on_cluster:
        release = models.rollback(name, to)
        typer.echo(f"{name}: version {release.version} is in service again")
        return
    version = to or _before(found[0] if found else None, models, name)
    if version not in models.versions(name):
        kept = ", ".join(models.versions(name)) or "none"
        raise BadInput("--to", f"keeps no version {version!r}", f"choose of: {kept}")
    if found is None and settings is not None:
        from tidegate.rollout.controller import utc_now
        from tidegate.rollout.kserve_backend import KServeBackend

        # No release ever began there: the version goes to the InferenceService as it is.
        KServeBackend(settings, store=models).put_back(version, by=who, reason=reason, at=utc_now())
        models.put_in_service(name, version)
        typer.echo(f"{name}: version {version} is in service again")
        return
    _carry_out(
        backend,
        lambda state, now: return_to(state, version, by=who, reason=reason, now=now),
    )
    typer.echo(f"{name}: version {version} is in service again")


def _before(state: "ReleaseState | None", store: "ModelStore", name: str) -> str:
    """Return the version to go back to: the baseline of the release, or the one before it."""
    if state is not None and state.phase != "rolled_back":
        return state.baseline
    current = store.current(name)
    if current is None or current.previous is None:
        raise BadInput(name, "no version was in service before", "name one: --to VERSION")
    return current.previous


def _as_interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _settings(config: Path) -> "RunConfig":
    from tidegate.config import load_config

    return load_config(config)


def _store(settings: "RunConfig") -> "ModelStore":
    from tidegate.rollout.model_store import DEFAULT_STORE, ModelStore

    return ModelStore(Path(settings.rollout.model_store or DEFAULT_STORE))


def _backend(settings: "RunConfig", on_cluster: bool) -> "ReleaseBackend":
    store = _store(settings)
    if on_cluster:
        from tidegate.rollout.kserve_backend import KServeBackend

        return KServeBackend(settings, store=store)
    from tidegate.rollout.local_backend import LocalBackend

    kept = settings.rollout.kept_versions
    return LocalBackend(store, settings.name, kept_versions=kept)


def _run_of(run_or_bundle: Path) -> str:
    """Return the digest of the run that a bundle comes from; a bundle by itself has none."""
    from pipelines.run_record import RunRecord
    from tidegate.store import read_record

    path = run_or_bundle / "run.json"
    return read_record(path, RunRecord).run_digest if path.is_file() else ""


def _order(config: Path, on_cluster: bool, change: "Change") -> None:
    settings = _settings(config)
    state = _carry_out(_backend(settings, on_cluster), change)
    traffic = state.traffic
    share = "" if traffic.candidate is None else f", {traffic.candidate_percent} % to the candidate"
    typer.echo(f"{state.name}: {state.phase.replace('_', ' ')}; {traffic.baseline} serves{share}")


def _carry_out(backend: "ReleaseBackend", change: "Change") -> "ReleaseState":
    """Write an order into the state and put it in force, unless a controller will."""
    from tidegate.rollout.controller import apply, command, utc_now

    state = command(backend, change, utc_now)
    if apply(backend, f"order-{_holder()}", utc_now) == "not_mine":
        typer.echo("the controller that runs carries it out within seconds")
    return state


def _holder() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class _News:
    """Prints the events of a log, each once."""

    def __init__(self, log: "ReleaseLog") -> None:
        self._log = log
        self._told = len(log.read())

    def print(self) -> None:
        """Print what is new."""
        from pipelines.rollout_display import event_line

        events = self._log.read()
        for event in events[self._told :]:
            typer.echo(event_line(event))
        self._told = len(events)
