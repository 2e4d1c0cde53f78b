"""Where a trigger's memory is kept, and how a person is told what it decided.

On one machine a file, written whole under a lock; on a cluster a ConfigMap whose resourceVersion
says whether somebody else wrote since.
"""

import fcntl
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidegate.cluster_api import CONFIG_MAPS, ClusterApi, ClusterError
from tidegate.errors import BadInput, Conflict
from tidegate.monitoring.trigger import TriggerStore
from tidegate.records import RemedyRequest, TriggerState
from tidegate.store import read_json, write_json

logger = logging.getLogger(__name__)

_KEY = "state"
_CONFLICT = 409
#: Seconds that a page may take, and the pauses before it is sent again.
_PAGE_SECONDS = 5.0
_PAUSES = (0.5, 2.0)
_TRIES = 20


class FileStore:
    """A state in a file; see `tidegate.monitoring.trigger.TriggerStore`.

    Parameters
    ----------
    path : Path
        Its folder is made when the first state is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[TriggerState | None, str | None]:
        """Return the state and its revision; None for both before the first write.

        Raises
        ------
        BadInput
            If the file holds no state.
        """
        try:
            found = read_json(self._path)
            return TriggerState.model_validate(found["state"]), str(found["revision"])
        except FileNotFoundError:
            return None, None
        except (ValueError, KeyError, TypeError):
            raise _not_a_state(str(self._path)) from None

    def write(self, state: TriggerState, *, revision: str | None) -> None:
        """Replace the state of this revision.

        Raises
        ------
        Conflict
            If the revision is not the present one.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with (self._path.parent / f".{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.read()[1] != revision:
                raise Conflict(f"{self._path} was written since revision {revision}")
            new = str(int(revision or 0) + 1)
            write_json(self._path, {"revision": new, "state": state.model_dump(mode="json")})


class ConfigMapStore:
    """A state in a ConfigMap; see `tidegate.monitoring.trigger.TriggerStore`.

    Parameters
    ----------
    api : ClusterApi
    namespace : str
    name : str
        Of the ConfigMap.
    """

    def __init__(self, api: ClusterApi, namespace: str, name: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name

    def read(self) -> tuple[TriggerState | None, str | None]:
        """Return the state and the object's resourceVersion; None for both if there is none.

        Raises
        ------
        BadInput
            If the ConfigMap holds no state.
        """
        found = self._api.get(CONFIG_MAPS, self._namespace, self._name)
        if found is None:
            return None, None
        try:
            state = TriggerState.model_validate_json((found.get("data") or {})[_KEY])
        except (KeyError, ValidationError):
            raise _not_a_state(f"ConfigMap {self._namespace}/{self._name}") from None
        return state, str(found["metadata"]["resourceVersion"])

    def write(self, state: TriggerState, *, revision: str | None) -> None:
        """Replace the state of this resourceVersion.

        Raises
        ------
        Conflict
            If somebody else wrote since.
        """
        metadata: dict[str, Any] = {
            "name": self._name,
            "namespace": self._namespace,
            "labels": {"app.kubernetes.io/part-of": "tidegate"},
        }
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {_KEY: state.model_dump_json()},
        }
        try:
            if revision is None:
                self._api.create(CONFIG_MAPS, self._namespace, body)
            else:
                metadata["resourceVersion"] = revision
                self._api.replace(CONFIG_MAPS, self._namespace, self._name, body)
        except ClusterError as error:
            if error.status in (_CONFLICT, 404):
                raise Conflict(f"{self._name} was written since revision {revision}") from None
            raise


def change(
    store: TriggerStore, model: str, alter: Callable[[TriggerState], TriggerState]
) -> TriggerState:
    """Alter the state as it stands, however many others write at the same time; return it.

    Raises
    ------
    Conflict
        If others kept changing it.
    """
    for _ in range(_TRIES):
        kept, revision = store.read()
        state = alter(kept or TriggerState(model=model))
        if state == kept:
            return state
        try:
            store.write(state, revision=revision)
        except Conflict:
            continue
        return state
    raise Conflict(f"the trigger of {model} was changed {_TRIES} times while it was read")


def page(
    webhook: str | None,
    request: RemedyRequest,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Post a request for a person to a webhook, as JSON; return whether it was taken.

    A page that nobody takes is logged and is no error: the trigger's state remembers it.
    """
    import urllib.error
    import urllib.request

    if webhook is None:
        logger.warning("monitor.trigger.webhook is not set; nobody is paged: %s", request.says)
        return False
    if not webhook.startswith(("http://", "https://")):
        logger.error("monitor.trigger.webhook is no http address; not paged: %s", request.says)
        return False
    body = request.model_dump_json().encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": request.name}
    problem = ""
    for pause in (*_PAUSES, None):
        asked = urllib.request.Request(webhook, data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(asked, timeout=_PAGE_SECONDS):
                return True
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}"
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                break
        except OSError as error:
            problem = str(error)
        if pause is not None:
            sleep(pause)
    logger.error("the page was not taken (%s): %s", problem, request.says)
    return False


def _not_a_state(where: str) -> BadInput:
    return BadInput(where, "holds no state of a trigger", "restore it, or remove it to begin anew")
