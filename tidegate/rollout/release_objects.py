"""A release's state, lease and events as Kubernetes objects, beside the InferenceService.

The state is not in an annotation of the InferenceService: KServe copies its annotations into the
pod template (``components/predictor.go``, ``buildObjectMeta``), so that every note of progress
would restart every pod, and in Knative mode make a revision. It is in a ConfigMap that the
InferenceService owns, replaced only over the resourceVersion that was read.
"""

import math
from datetime import UTC, datetime, timedelta

from tidegate.cluster_api import CONFIG_MAPS, EVENTS, LEASES, ClusterApi, ClusterError
from tidegate.errors import Conflict
from tidegate.records import ReleaseEvent, ReleaseState
from tidegate.rollout.inference_service import Document
from tidegate.rollout.release_log import event_id

#: An object of Kubernetes may be 1 MiB or a little more; evidence belongs into the log.
MOST_STATE_BYTES = 200 * 1024
_MOST_MESSAGE = 1000
_ALARMING = ("paused", "rolled_back")


class ReleaseObjects:
    """Reads and writes what a controller must find again after it was killed.

    Parameters
    ----------
    api : ClusterApi
        The cluster.
    namespace, service : str
        Where the InferenceService is, and its name; the objects are called SERVICE-release.
    """

    def __init__(self, api: ClusterApi, namespace: str, service: str) -> None:
        self._api = api
        self._namespace = namespace
        self._service = service
        self._name = f"{service}-release"

    def read_state(self) -> tuple[ReleaseState, str] | None:
        """Return the state and its resourceVersion."""
        found = self._api.get(CONFIG_MAPS, self._namespace, self._name)
        if found is None or "state" not in (found.get("data") or {}):
            return None
        state = ReleaseState.model_validate_json(found["data"]["state"])
        return state, found["metadata"]["resourceVersion"]

    def write_state(self, state: ReleaseState, owner: Document, *, revision: str | None) -> str:
        """Replace the state of this revision and return the new one.

        Raises
        ------
        Conflict
            If somebody else wrote in between.
        ValueError
            If it is too large to be kept.
        """
        text = state.model_dump_json()
        if len(text.encode()) > MOST_STATE_BYTES:
            # The log has the findings; what the next step needs stays.
            state = state.model_copy(update={"last_analysis": None})
            text = state.model_dump_json()
        size = len(text.encode())
        if size > MOST_STATE_BYTES:
            raise ValueError(f"the state has {size} bytes, {MOST_STATE_BYTES} are kept at most")
        body: Document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self._metadata(owner),
            "data": {"state": text},
        }
        try:
            if revision is None:
                written = self._api.create(CONFIG_MAPS, self._namespace, body)
            else:
                body["metadata"]["resourceVersion"] = revision
                written = self._api.replace(CONFIG_MAPS, self._namespace, self._name, body)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise
            # The answer to a write of ours may have been lost, and the write asked for again.
            found = self.read_state()
            if found is None or found[0] != state:
                raise Conflict(f"{self._name} was changed in between") from None
            return found[1]
        return str(written["metadata"]["resourceVersion"])

    def hold_lease(self, holder: str, owner: Document, now: datetime, *, seconds: float) -> bool:
        """Take or renew the lease; False while another holder's has not run out."""
        found = self._api.get(LEASES, self._namespace, self._name)
        present = (found or {}).get("spec") or {}
        held_by = present.get("holderIdentity") or ""
        if held_by not in ("", holder) and now < _end(present):
            return False
        taken = {"acquireTime": present.get("acquireTime")} if held_by == holder else {}
        changes = int(present.get("leaseTransitions") or 0)
        lease = {
            "holderIdentity": holder,
            "leaseDurationSeconds": math.ceil(seconds),
            "acquireTime": taken.get("acquireTime") or _micro(now),
            "renewTime": _micro(now),
            "leaseTransitions": changes + (found is not None and held_by != holder),
        }
        return self._write_lease(found, lease, owner)

    def let_go_of_lease(self, holder: str, owner: Document) -> None:
        """Give the lease back, if it is this holder's."""
        found = self._api.get(LEASES, self._namespace, self._name)
        present = (found or {}).get("spec") or {}
        if present.get("holderIdentity") == holder:
            self._write_lease(found, {**present, "holderIdentity": ""}, owner)

    def tell(self, event: ReleaseEvent, owner: Document) -> None:
        """Make a Kubernetes Event of the InferenceService; one that was told is there already."""
        at = datetime.fromisoformat(event.at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = f"{event.candidate} at {event.percent} %, by {event.actor}: {event.says}"
        if event.page is not None:
            message = f"{message[: _MOST_MESSAGE - 200]}; see {event.page}"
        # The page is not known before it is written: it makes no other event.
        identity = event_id(event.model_copy(update={"page": None}))
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{self._name}.{identity}",
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/part-of": "tidegate"},
            },
            "involvedObject": {
                **{key: owner[key] for key in ("apiVersion", "kind")},
                **{key: owner["metadata"][key] for key in ("name", "namespace", "uid")},
            },
            "reason": "Release" + event.kind.title().replace("_", ""),
            "message": message[:_MOST_MESSAGE],
            "type": "Warning" if event.kind in _ALARMING else "Normal",
            "source": {"component": "tidegate-release"},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        try:
            self._api.create(EVENTS, self._namespace, body)
        except ClusterError as error:
            if error.status != 409:
                raise

    def _write_lease(self, found: Document | None, lease: Document, owner: Document) -> bool:
        body: Document = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self._metadata(owner),
            "spec": lease,
        }
        try:
            if found is None:
                self._api.create(LEASES, self._namespace, body)
            else:
                body["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
                self._api.replace(LEASES, self._namespace, self._name, body)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise
            now = self._api.get(LEASES, self._namespace, self._name)
            return ((now or {}).get("spec") or {}).get("renewTime") == lease.get("renewTime") and (
                now is not None and now["spec"].get("holderIdentity") == lease["holderIdentity"]
            )
        return True

    def _metadata(self, owner: Document) -> Document:
        reference = {key: owner[key] for key in ("apiVersion", "kind")}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        return {
            "name": self._name,
            "namespace": self._namespace,
            "labels": {"app.kubernetes.io/part-of": "tidegate"},
            "ownerReferences": [reference],
        }


def _micro(time: datetime) -> str:
    """Return a time as Kubernetes' MicroTime wants it: microseconds even when they are 0."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _end(lease: Document) -> datetime:
    renewed = datetime.fromisoformat(lease["renewTime"])
    return renewed + timedelta(seconds=int(lease.get("leaseDurationSeconds") or 0))
