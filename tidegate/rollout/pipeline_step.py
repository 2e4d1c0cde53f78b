"""What the pipeline's release step does, on this machine and on a cluster."""

import logging
import signal
import sys
from pathlib import Path

from tidegate.config import RunConfig
from tidegate.records import ApprovalRequest, HandedOver, Release, ReleaseState
from tidegate.rollout.approval import release_or_ask
from tidegate.rollout.handover import release_on_cluster
from tidegate.rollout.model_store import ModelStore


def release_of_run(
    model_store: Path, bundle: Path, *, run_digest: str, approval: str, on_cluster: str
) -> Release | ApprovalRequest | HandedOver | ReleaseState:
    """Release a promoted bundle as the place of the run wants it.

    Parameters
    ----------
    model_store : Path
        Folder of released bundles.
    on_cluster : str
        The run's configuration as JSON on a cluster; empty on this machine, where nothing is
        served and the bundle is in service at once.
    """
    store = ModelStore(model_store)
    if not on_cluster:
        return release_or_ask(store, bundle, run_digest=run_digest, approval=approval)
    config = RunConfig.model_validate_json(on_cluster)

    def wait(handed: HandedOver) -> ReleaseState | None:
        from tidegate.rollout.cluster_controller import step_until_over

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return step_until_over(config, store, handed)

    return release_on_cluster(store, bundle, config, run_digest=run_digest, wait=wait)
