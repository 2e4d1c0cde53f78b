"""The release controller on a cluster: over KServe, fed by what pipelines hand over."""

import os
import socket
import time
from collections.abc import Callable
from datetime import datetime

from tidegate.config import RunConfig
from tidegate.errors import BadInput
from tidegate.records import HandedOver, ReleaseState
from tidegate.rollout.cluster_analyst import cluster_analyst
from tidegate.rollout.controller import Clock, Controller, utc_now, watch
from tidegate.rollout.handover import is_of, next_release
from tidegate.rollout.kserve_backend import KServeBackend
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.release_queue import waiting

#: One look may last so long: figures, replays and golden rows have limits that add up to less.
_LEASE_SECONDS = 60.0


def cluster_controller(
    config: RunConfig, store: ModelStore, holder: str, *, clock: Clock = utc_now
) -> tuple[Controller, KServeBackend]:
    """Return the controller of a configuration's InferenceService, and its backend.

    Parameters
    ----------
    store : ModelStore
        The one that pipelines release to.
    holder : str
        Its name in the lease.
    """
    backend = KServeBackend(config, store=store)
    controller = Controller(
        backend,
        cluster_analyst(config, store, backend),
        config.rollout,
        clock,
        holder,
        lease_seconds=_LEASE_SECONDS,
        next_release=next_release(store, config, backend, clock=clock),
    )
    return controller, backend


def step_until_over(
    config: RunConfig,
    store: ModelStore,
    handed: HandedOver,
    *,
    poll_seconds: float = 5.0,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> ReleaseState | None:
    """Step the release of a candidate in this process; return its last state.

    Called again after it was killed it goes on where the state is. Another controller may hold
    the lease meanwhile: then this one waits for the end. None where the candidate was in service
    already, or a newer one overtook it.

    Raises
    ------
    BadInput
        If it cannot begin for `max_unready_seconds`, or the InferenceService is gone that long.
    """
    holder = f"{socket.gethostname()}-{os.getpid()}"
    controller, backend = cluster_controller(config, store, holder, clock=clock)
    patience_seconds = config.rollout.max_unready_seconds
    idle_since = clock()

    def is_over() -> bool:
        nonlocal idle_since
        if handed.candidate not in {other.candidate for other in waiting(store, handed.name)}:
            return True
        found = backend.read_state()
        if found is not None and (not found[0].is_over or is_of(found[0], handed)):
            idle_since = clock()
        elif (clock() - idle_since).total_seconds() > patience_seconds:
            problem = (
                f"the release of {handed.candidate} could not begin for {patience_seconds:g} s"
            )
            mend = "see the step's log, and run it again: what was handed over stays"
            raise BadInput("rollout", problem, mend)
        return False

    try:
        watch(controller, is_over, poll_seconds=poll_seconds, sleep=sleep)
    finally:
        backend.let_go_of_lease(holder)
    found = backend.read_state()
    return found[0] if found is not None and is_of(found[0], handed) else None
