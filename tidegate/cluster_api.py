"""Objects of a cluster, asked for patiently: the one door to the Kubernetes client.

A busy, restarting or unreachable API server is asked again; a token that has expired is read anew
once; everything else is an error that says what to do.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tidegate.errors import BadInput

#: Seconds to connect and to wait for an answer.
_TIMEOUT = (5, 30)
_LONGEST_PAUSE_SECONDS = 30.0
_WORTH_ASKING_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class ClusterError(Exception):
    """The cluster refused, or did not answer in time.

    Parameters
    ----------
    message : str
        What was asked, what came back, and what to do.
    status : int, optional
        The HTTP status; None when no answer came.
    """

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Clock:
    """Time, so that tests need none."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True)
class Resource:
    """A kind of object on the API server."""

    group: str
    version: str
    plural: str


EXPERIMENTS = Resource("kubeflow.org", "v1beta1", "experiments")
TRIALS = Resource("kubeflow.org", "v1beta1", "trials")
PODS = Resource("", "v1", "pods")
CONFIG_MAPS = Resource("", "v1", "configmaps")
EVENTS = Resource("", "v1", "events")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
HTTP_ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes")
INFERENCE_SERVICES = Resource("serving.kserve.io", "v1beta1", "inferenceservices")
KNATIVE_SERVICES = Resource("serving.knative.dev", "v1", "services")
KNATIVE_REVISIONS = Resource("serving.knative.dev", "v1", "revisions")

_OWNER_KINDS = {"Workflow": Resource("argoproj.io", "v1alpha1", "workflows"), "Pod": PODS}


def load_configuration(
    where: str = "search.backend",
    mend: str = "submit the run to a cluster, or write backend: local",
) -> Any:
    """Return the client's configuration of the pod's service account, or of the kubeconfig.

    Parameters
    ----------
    where, mend : str
        Who asked for a cluster and what to write instead, for the message.

    Raises
    ------
    BadInput
        If there is neither.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    for load in (config.load_incluster_config, config.load_kube_config):
        try:
            load(client_configuration=configuration)
        except config.ConfigException:
            continue
        return configuration
    raise BadInput(
        where, "no cluster is known here: neither a service account nor a kubeconfig", mend
    )


class ClusterApi:
    """Creates, reads, lists and deletes objects; knows nothing of what they mean.

    Parameters
    ----------
    load : callable
        Returns a fresh ``kubernetes.client.Configuration``; called again when a token expired.
    patience_seconds : float
        How long a call is repeated while the server is busy or does not answer.
    """

    def __init__(
        self,
        load: Callable[[], Any] = load_configuration,
        clock: Clock | None = None,
        patience_seconds: float = 300.0,
    ) -> None:
        self._load = load
        self._clock = clock or Clock()
        self._patience_seconds = patience_seconds
        self._client = self._connect()

    def create(self, kind: Resource, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object; the status of the error is 409 when its name is taken."""
        answer: dict[str, Any] = self._ask("POST", kind, namespace, body=body)
        return answer

    def get(self, kind: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object, None when there is none of that name."""
        try:
            answer: dict[str, Any] = self._ask("GET", kind, namespace, name)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise
        return answer

    def find(self, kind: Resource, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Return the objects that a label selector finds."""
        query = [("labelSelector", selector)]
        answer = self._ask("GET", kind, namespace, query=query)
        items: list[dict[str, Any]] = answer.get("items") or []
        return items

    def replace(
        self, kind: Resource, namespace: str, name: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Replace an object; the status of the error is 409 when its resourceVersion is old."""
        answer: dict[str, Any] = self._ask("PUT", kind, namespace, name, body=body)
        return answer

    def merge(
        self, kind: Resource, namespace: str, name: str, patch: dict[str, Any]
    ) -> dict[str, Any]:
        """Merge a patch into an object (RFC 7386: None takes a field away, a list is replaced).

        A ``metadata.resourceVersion`` in it is held against the object's: 409 when it is old.
        """
        answer: dict[str, Any] = self._ask("PATCH", kind, namespace, name, body=patch)
        return answer

    def delete(
        self, kind: Resource, namespace: str, name: str, *, patience_seconds: float | None = None
    ) -> None:
        """Delete an object and all that it owns; one that is gone already is no error."""
        query = [("propagationPolicy", "Background")]
        try:
            self._ask("DELETE", kind, namespace, name, query=query, patience=patience_seconds)
        except ClusterError as error:
            if error.status != 404:
                raise

    def exists(self, owner: dict[str, Any], namespace: str) -> bool:
        """Say whether the object of an owner reference is there; of unknown kinds, yes."""
        kind = _OWNER_KINDS.get(owner["kind"])
        if kind is None:
            return True
        found = self.get(kind, namespace, owner["name"])
        return found is not None and found["metadata"].get("uid") == owner["uid"]

    def owner_of(self, namespace: str, pod: str) -> dict[str, Any] | None:
        """Return a pod's owner reference: its Workflow, which outlives a pod that is retried."""
        found = self.get(PODS, namespace, pod)
        references = (found or {}).get("metadata", {}).get("ownerReferences") or []
        return next(iter(references), None)

    def _connect(self) -> Any:
        from kubernetes import client

        configuration = self._load()
        configuration.retries = False  # we do that, and know for how long
        return client.ApiClient(configuration)

    def _ask(
        self,
        method: str,
        kind: Resource,
        namespace: str,
        name: str = "",
        *,
        body: dict[str, Any] | None = None,
        query: list[tuple[str, str]] | None = None,
        patience: float | None = None,
    ) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        root = f"apis/{kind.group}" if kind.group else "api"
        path = f"/{root}/{kind.version}/namespaces/{namespace}/{kind.plural}"
        path = f"{path}/{name}" if name else path
        asked = f"{method} {path}"
        give_up = self._clock.monotonic() + (
            self._patience_seconds if patience is None else patience
        )
        headers = {"Accept": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        pause, reloaded = 0.5, False
        while True:
            wait: float | None = None
            try:
                return self._client.call_api(
                    path,
                    method,
                    query_params=query or [],
                    header_params=dict(headers),
                    body=body,
                    auth_settings=["BearerToken"],
                    response_type="object",
                    _return_http_data_only=True,
                    _request_timeout=_TIMEOUT,
                )
            except ApiException as error:
                status = int(error.status or 0)
                if status == 401 and not reloaded:
                    self._client, reloaded = self._connect(), True
                    continue
                if status not in _WORTH_ASKING_AGAIN:
                    raise ClusterError(_explained(asked, kind, namespace, error), status) from None
                problem = f"{status} {error.reason}"
                wait = _retry_after(error)
            except (HTTPError, OSError) as error:
                status, problem = 0, f"{type(error).__name__}"
            # Half of the pause is chance, so that many steps do not come back at once.
            seconds = pause * (0.5 + random.random() / 2) if wait is None else wait
            if self._clock.monotonic() + seconds > give_up:
                raise ClusterError(
                    f"the API server does not serve {asked}: {problem}; see whether the control "
                    "plane is well, and run the step again",
                    status or None,
                )
            self._clock.sleep(seconds)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


_INSTALL = {"kubeflow.org": "Katib", "serving.kserve.io": "KServe"}


def _retry_after(error: Any) -> float | None:
    text = (error.headers or {}).get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE_SECONDS) if text.isdecimal() else None


def _explained(asked: str, kind: Resource, namespace: str, error: Any) -> str:
    told = _message(error)
    mends = {
        401: "the token was refused twice; see the step's ServiceAccount",
        403: f"let the step's ServiceAccount do this in {namespace}: apply Tidegate's Roles",
        404: f"install {_INSTALL.get(kind.group, 'what serves it')} ({kind.plural}.{kind.group}) "
        f"and make the namespace {namespace}"
        if asked.startswith("POST")
        else "it is not there",
        409: "the name is taken"
        if asked.startswith("POST")
        else "it was changed in between; read it again",
    }
    return f"{asked}: {error.status} {told}; {mends.get(error.status, 'mend what it names')}"


def _message(error: Any) -> str:
    """Return the sentence of the server's Status object, one line, without its headers."""
    import json

    try:
        told = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        told = error.reason
    return " ".join(str(told).split())[:400]
