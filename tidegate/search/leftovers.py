"""Who owns an Experiment, and those that nobody waits for any more."""

import re
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tidegate.cluster_api import EXPERIMENTS, ClusterApi, ClusterError
from tidegate.search.katib import MINUTES_ANNOTATION, Owner
from tidegate.search.trial_objects import created_at

_OURS = "app.kubernetes.io/part-of=tidegate,app.kubernetes.io/component=trial"


def find_owner(api: ClusterApi, namespace: str, environ: Mapping[str, str]) -> Owner | None:
    """Return the run's Workflow, as the pod of this step names it; None outside of a pipeline.

    An owner in another namespace would have its Experiments removed at once, so a pod that is not
    in `namespace` owns none.
    """
    pod = environ.get("KFP_POD_NAME")
    if not pod:
        return None
    try:
        found = api.owner_of(namespace, pod)
    except ClusterError as error:
        print(f"the Experiments get no owner: {error}", flush=True)
        return None
    return Owner(found["apiVersion"], found["kind"], found["name"], found["uid"]) if found else None


def remove_leftovers(
    api: ClusterApi,
    namespace: str,
    workspace: Path,
    *,
    now: datetime,
    keep: str = "",
    grace_hours: float = 1.0,
) -> list[str]:
    """Delete our Experiments that nobody waits for, with what they wrote; return their names.

    Nobody waits for one whose owner is gone, or whose minutes ended `grace_hours` ago.

    Parameters
    ----------
    keep : str
        The search whose Experiments stay.
    """
    gone = []
    for document in api.find(EXPERIMENTS, namespace, _OURS):
        metadata = document["metadata"]
        search_id = metadata["labels"].get("tidegate/search", "")
        minutes = float((metadata.get("annotations") or {}).get(MINUTES_ANNOTATION, 0))
        over = created_at(document) + timedelta(minutes=minutes, hours=grace_hours)
        if search_id == keep or not (now > over or _is_orphan(api, namespace, metadata)):
            continue
        api.delete(EXPERIMENTS, namespace, metadata["name"])
        gone.append(metadata["name"])
        if re.fullmatch(r"[0-9a-f]+", search_id):
            shutil.rmtree(workspace / "search" / search_id, ignore_errors=True)
    return gone


def _is_orphan(api: ClusterApi, namespace: str, metadata: Mapping[str, Any]) -> bool:
    owners = metadata.get("ownerReferences") or []
    try:
        return bool(owners) and not any(api.exists(owner, namespace) for owner in owners)
    except ClusterError:
        return False
