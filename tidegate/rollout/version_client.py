"""Asking one version for one row, past the traffic split, by V1 or V2."""

import http.client
import json
import math
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tidegate.errors import BadInput
from tidegate.records import ServedDecision
from tidegate.records.serving import REPLAY_PREFIX

_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Answer:
    """What a version said of one row.

    `failed` is no answer in time or an error status; `lacks_score` is an answer without the score
    that its schema promises. `threshold` is what the answer names, None where it names none.
    """

    failed: bool
    score: float = math.nan
    decision: ServedDecision = "leave"
    version: str | None = None
    threshold: float | None = None
    lacks_score: bool = False


class VersionClient:
    """Sends rows to one version over a connection that is kept.

    Parameters
    ----------
    address : str
        Where the version itself answers, for example the Service of its revision.
    model : str
        Name in the URLs.
    protocol : {"v1", "v2"}
    timeout_seconds : float
        For one answer.

    Raises
    ------
    BadInput
        If the address is none.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        protocol: Literal["v1", "v2"] = "v1",
        timeout_seconds: float = 2.0,
    ) -> None:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput("address", f"must be http or https, got {address!r}", "write http://…")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_seconds)
        self._base = parts.path.rstrip("/")
        self._model = urllib.parse.quote(model, safe="")
        self._protocol = protocol

    def answer(self, row_id: str, inputs: Mapping[str, object]) -> Answer:
        """Send one row; whatever goes wrong is a failed answer."""
        row_id = f"{REPLAY_PREFIX}{row_id}"[:256]
        if self._protocol == "v1":
            path = f"/v1/models/{self._model}:predict"
            body: dict[str, object] = {"instances": [dict(inputs)], "ids": [row_id]}
        else:
            path = f"/v2/models/{self._model}/infer"
            tensors = [_tensor(name, value) for name, value in inputs.items()]
            body = {"inputs": [*tensors, _tensor("row_id", row_id)]}
        status, content = self._ask("POST", path, json.dumps(body).encode())
        if status != 200:
            return Answer(failed=True)
        return _read_v1(content) if self._protocol == "v1" else _read_v2(content)

    def outputs(self) -> frozenset[tuple[str, str]] | None:
        """Return names and types of the outputs in V2's metadata; None where it gives none."""
        status, content = self._ask("GET", f"/v2/models/{self._model}", None)
        if status != 200 or not isinstance(content, dict):
            return None
        try:
            return frozenset((str(o["name"]), str(o["datatype"])) for o in content["outputs"])
        except (KeyError, TypeError):
            return None

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        """Return the status and the JSON; status 0 where nothing whole came."""
        try:
            headers = {"content-type": "application/json"}
            self._connection.request(method, self._base + path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read(_MOST_BYTES + 1)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, None
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, None


def _tensor(name: str, value: object) -> dict[str, object]:
    is_number = isinstance(value, int | float)
    kind = "FP64" if is_number else "BYTES"
    return {"name": name, "shape": [1], "datatype": kind, "data": [value]}


def _read_v1(content: Any) -> Answer:
    try:
        told = content["predictions"][0]
        return _answer(told["score"], told)
    except (KeyError, IndexError, TypeError):
        return Answer(failed=False, lacks_score=True)


def _read_v2(content: Any) -> Answer:
    try:
        told = {output["name"]: output["data"][0] for output in content["outputs"]}
        told["model_version"] = content.get("model_version")
        return _answer(told["score"], told)
    except (KeyError, IndexError, TypeError, AttributeError):
        return Answer(failed=False, lacks_score=True)


def _answer(score: object, told: Mapping[str, Any]) -> Answer:
    """Read an answer's parts; null is how JSON without NaN spells a score that is no number."""
    if isinstance(score, bool) or not isinstance(score, int | float | None):
        return Answer(failed=False, lacks_score=True)
    decision: ServedDecision = "flagged" if told.get("flagged") else "leave"
    if told.get("decision") in ("flagged", "review", "leave"):
        decision = told["decision"]
    version, threshold = told.get("model_version"), told.get("threshold")
    return Answer(
        failed=False,
        score=math.nan if score is None else float(score),
        decision=decision,
        version=None if version is None else str(version),
        threshold=float(threshold) if isinstance(threshold, int | float) else None,
    )
