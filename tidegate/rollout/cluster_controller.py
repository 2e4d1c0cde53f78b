"""The release controller on a cluster: over KServe, fed by what pipelines hand over."""

import argparse
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from tidegate.config import RunConfig, load_config
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Step the releases of an InferenceService until told to stop; what the Deployment runs.

    Returns 2 on bad input. With ``--until-over`` it ends with the release, as a pipeline step does.
    """
    parser = argparse.ArgumentParser(prog="python -m tidegate.rollout.cluster_controller")
    parser.add_argument("--config", type=Path, required=True, help="YAML configuration")
    parser.add_argument("--until-over", action="store_true", help="end with the release")
    parser.add_argument(
        "--poll-seconds", type=float, default=5.0, help="between two looks [%(default)s]"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    holder = f"{socket.gethostname()}-{os.getpid()}"
    try:
        config = load_config(given.config)
        if config.rollout.model_store is None:
            mend = "name the folder that the pipeline releases to"
            raise BadInput("rollout.model_store", "is not set", mend)
        store = ModelStore(Path(config.rollout.model_store))
        controller, backend = cluster_controller(config, store, holder)

        def is_over() -> bool:
            found = backend.read_state()
            return given.until_over and found is not None and found[0].is_over

        try:
            watch(
                controller,
                is_over,
                poll_seconds=given.poll_seconds,
                patience_seconds=config.rollout.max_unready_seconds,
            )
        finally:
            backend.let_go_of_lease(holder)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
