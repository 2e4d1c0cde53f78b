"""What a trigger's requests set in motion, on this machine or on a cluster, each once.

Every act is repeated under the request's own name until it has ended, so that whoever comes after
a trigger that was killed goes on where it was.
"""

import contextlib
import fcntl
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tidegate.config import RunConfig
from tidegate.monitoring.trigger import TriggerStore, ended, is_overdue, pull
from tidegate.monitoring.trigger_store import change, page
from tidegate.records import LogLine, RemedyRequest, TriggerState
from tidegate.rollout.model_store import ModelStore

if TYPE_CHECKING:
    from pipelines.kfp_api import PipelinesApi
    from tidegate.cluster_api import ClusterApi
    from tidegate.rollout.backend import ReleaseBackend

logger = logging.getLogger(__name__)

_LOG_LINES, _UNSENT = 200, 20


class End(NamedTuple):
    """How a retrain ended; `failed` if there is no decision."""

    says: str
    replaced_model: bool = False
    failed: bool = False


class Place(Protocol):
    """Where retrains run and releases are kept."""

    models: ModelStore

    def backend(self) -> "ReleaseBackend | None":
        """Return the backend whose controller steps releases; None where the pointer moves."""

    def retrain(self, request: RemedyRequest) -> End | None:
        """Start the request's run unless it is there; None while it runs."""

    def stop(self, request: RemedyRequest) -> str:
        """End the request's run, which takes too long; say what became of it."""


class Remedies:
    """Acts on a model's requests and takes down how they end.

    Parameters
    ----------
    settings : RunConfig
        Of the model.
    store : TriggerStore
        What the trigger remembers.
    place : Place
        Where things are done.
    now : callable
        Returns the time, with its zone.
    labels : int, optional
        How many labels have come back so far.
    """

    def __init__(
        self,
        settings: RunConfig,
        store: TriggerStore,
        place: Place,
        now: Callable[[], datetime],
        *,
        labels: int | None = None,
    ) -> None:
        self._settings, self._store, self._place = settings, store, place
        self._now, self._labels = now, labels

    def __call__(self, request: RemedyRequest) -> None:
        """Act on a request, or see how far it is."""
        self._begin(request)
        if request.remedy == "page":
            self._page(request)
        elif request.remedy == "threshold_update":
            self._update_threshold(request)
        else:
            self._retrain(request)

    def go_on(self) -> None:
        """Send the pages that nobody took, and go on with the request that runs.

        A run that takes too long is stopped, lest it release a model that nobody waits for beside
        the one that is trained next.
        """
        state, _ = self._store.read()
        if state is None:
            return
        for request in state.unsent:
            self._page(request)
        if state.running is None:
            return
        self(state.running)
        after, _ = self._store.read()
        late = None if after is None else after.running
        trigger = self._settings.monitor.trigger
        if late == state.running and is_overdue(late, self._now(), trigger):
            says = f"it ran for {trigger.longest_run_hours:g} hours; {self._place.stop(late)}"
            self._conclude(late, End(says, failed=True))

    def _retrain(self, request: RemedyRequest) -> None:
        end = self._place.retrain(request)
        if end is not None:
            self._conclude(request, end)

    def _conclude(self, request: RemedyRequest, end: End) -> None:
        if end.failed:
            self._page_about(request, end.says)
        else:
            self._watch_slipping()
        self._end(request, end)

    def _update_threshold(self, request: RemedyRequest) -> None:
        from tidegate.monitoring.threshold_update import update_threshold

        update = update_threshold(
            self._place.models,
            self._settings,
            request,
            now=self._now(),
            backend=self._place.backend(),
        )
        if update.outcome in ("refused", "approval_asked"):
            self._page_about(request, update.says)
        self._end(request, End(update.says, replaced_model=update.outcome == "in_service"))

    def _watch_slipping(self) -> None:
        """Page a person when retrain after retrain got worse on the same rows.

        The request still runs then, so that nothing but the page is decided on.
        """
        from tidegate.evaluation.history import read_history
        from tidegate.monitoring.slipping import slipping_quality

        name, watch = self._settings.name, self._settings.monitor
        history = read_history(self._place.models.folder_of(name))
        signal = slipping_quality(history, model=name, confidence=watch.confidence)
        if signal is not None:
            pull(self._store, name, [signal], self._now(), watch.trigger, self)

    def _page_about(self, request: RemedyRequest, says: str) -> None:
        update = {"name": f"page-{request.name}", "remedy": "page", "says": says}
        self._page(request.model_copy(update=update))

    def _page(self, request: RemedyRequest) -> None:
        """Send a page; one that nobody takes is kept for the next call."""
        webhook = self._settings.monitor.trigger.webhook
        taken = page(webhook, request) or webhook is None

        def alter(state: TriggerState) -> TriggerState:
            unsent = tuple(kept for kept in state.unsent if kept.name != request.name)
            if not taken:
                unsent = (*unsent, request)[-_UNSENT:]
            return state.model_copy(update={"unsent": unsent})

        change(self._store, request.model, alter)

    def _begin(self, request: RemedyRequest) -> None:
        """Write a request into the log, once, and with a retrain what it can learn from."""

        def alter(state: TriggerState) -> TriggerState:
            if any(line.request == request.name for line in state.log):
                return state
            update: dict[str, object] = {"log": self._logged(state, request.name, request.says)}
            if request.remedy in ("light_refresh", "full_retrain") and self._labels is not None:
                update["labels_learnt"] = self._labels
            return state.model_copy(update=update)

        change(self._store, request.model, alter)

    def _end(self, request: RemedyRequest, end: End) -> None:
        logger.info("%s ended: %s", request.name, end.says)

        def alter(state: TriggerState) -> TriggerState:
            after = ended(state, request.name, replaced_model=end.replaced_model)
            if after == state:
                return state
            log = self._logged(state, request.name, f"ended: {end.says}")
            return after.model_copy(update={"log": log})

        change(self._store, request.model, alter)

    def _logged(self, state: TriggerState, request: str, says: str) -> "tuple[LogLine, ...]":
        line = LogLine(at=self._now().isoformat(timespec="seconds"), request=request, says=says)
        return (*state.log, line)[-_LOG_LINES:]


def overrides(settings: RunConfig, request: RemedyRequest) -> tuple[str, ...]:
    """Return how a request's run differs from the configuration, as ``--set`` takes it.

    Parameters
    ----------
    settings : RunConfig
        A mix that it names itself stays; without times there is none.
    """
    changes = ["search.refresh=true"] if request.remedy == "light_refresh" else []
    trigger = settings.monitor.trigger
    if settings.data.mix is None and settings.data.time is not None:
        mix = {
            "recent_days": trigger.recent_days,
            "memory_share": trigger.memory_share,
            "strata": list(trigger.memory_strata),
        }
        changes.append(f"data.mix={json.dumps(mix)}")
    return tuple(changes)


class ThisMachine:
    """Runs `tidegate run` under ``runs/`` and waits for it.

    Parameters
    ----------
    config : Path
        The configuration file.
    settings : RunConfig
        What it says.
    run : callable
        Runs a command and returns when it has ended.
    """

    def __init__(
        self,
        config: Path,
        settings: RunConfig,
        run: Callable[[list[str]], object] = lambda command: subprocess.run(command, check=False),
    ) -> None:
        self._config, self._settings, self._run = config, settings, run
        own = Path("runs") / ".tidegate" / "models"
        self.models = ModelStore(Path(settings.rollout.model_store or own))

    def backend(self) -> None:
        """Return none: on this machine the store's pointer moves."""

    def retrain(self, request: RemedyRequest) -> End | None:
        """Run it to its end; None while another process does."""
        from pipelines.run_record import RunRecord
        from tidegate.store import read_record

        out = Path("runs") / request.name
        path = out / "run.json"
        with _held(out.parent / ".tidegate" / "triggers" / f"{request.name}.lock") as mine:
            if not mine:
                return None
            if not (path.exists() and read_record(path, RunRecord).status == "done"):
                changes = overrides(self._settings, request)
                options = [part for change in changes for part in ("--set", change)]
                command = [sys.executable, "-m", "pipelines.cli", "run", str(self._config)]
                self._run([*command, "--out", str(out), *options])
        if not path.exists():
            return End(f"the run left nothing in {out}", failed=True)
        record = read_record(path, RunRecord)
        if record.status != "done":
            return End(
                f"the run in {out} {record.status}: {record.error or 'no reason'}", False, True
            )
        # Under manual approval the model in service stays until somebody approves.
        released = record.decision == "promote" and self._settings.rollout.approval == "auto"
        return End(f"decision {record.decision} in {out}", released)

    def stop(self, request: RemedyRequest) -> str:
        """Leave it: the process that waits for it would start it again."""
        return f"its process goes on in {Path('runs') / request.name}: end it by hand"


class OnCluster:
    """Starts runs on Kubeflow Pipelines under the requests' names, and looks how they stand.

    Parameters
    ----------
    config : Path
        The configuration file.
    settings : RunConfig
        What it says.
    api : PipelinesApi
        Where runs are started.
    cluster : ClusterApi
        Where releases are begun.
    models : ModelStore
        The workspace's, so far as it can be reached from here.
    allow_unpinned : bool
        Whether images may be named by a tag.
    """

    def __init__(
        self,
        config: Path,
        settings: RunConfig,
        api: "PipelinesApi",
        cluster: "ClusterApi",
        models: ModelStore,
        *,
        allow_unpinned: bool = False,
    ) -> None:
        self._config, self._settings = config, settings
        self._api, self._cluster = api, cluster
        self._allow_unpinned, self.models = allow_unpinned, models

    def backend(self) -> "ReleaseBackend":
        """Return the InferenceService's, which the release controller steps."""
        from tidegate.rollout.kserve_backend import KServeBackend

        return KServeBackend(self._settings, store=self.models, api=self._cluster)

    def retrain(self, request: RemedyRequest) -> End | None:
        """Start the run unless one of this name is there; say how it ended."""
        from pipelines.submit import ENDED, place, prepare, start, was_promoted
        from tidegate.config import load_config

        api = self._api
        experiment = api.find_experiment(self._settings.name)
        run_id = None if experiment is None else api.find_run(experiment, request.name)
        if run_id is None:
            settings = load_config(self._config, overrides(self._settings, request))
            submission = prepare(settings, allow_unpinned=self._allow_unpinned)
            start(api, submission, place(api, submission), name=request.name)
            return None
        run = api.run(run_id)
        if run.state not in ENDED:
            return None
        address = api.run_address(run_id)
        if run.state != "SUCCEEDED":
            return End(
                f"the run {run.state.lower()}: {run.error or 'no reason'}; {address}", False, True
            )
        package = prepare(self._settings, allow_unpinned=self._allow_unpinned).package
        promoted = was_promoted(run, package)
        told = "promote" if promoted else "not to promote" if promoted is False else "not told"
        released = bool(promoted) and self._settings.rollout.approval == "auto"
        return End(f"decision {told}; {address}", released)

    def stop(self, request: RemedyRequest) -> str:
        """Terminate the run."""
        experiment = self._api.find_experiment(self._settings.name)
        run_id = None if experiment is None else self._api.find_run(experiment, request.name)
        if run_id is None:
            return "its run is gone"
        self._api.terminate_run(run_id)
        return f"its run was terminated; {self._api.run_address(run_id)}"


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[bool]:
    """Hold a lock, which a process gives back however it ends; say whether it is ours."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
