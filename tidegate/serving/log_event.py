"""What KServe's logger posts: CloudEvents of requests and responses, and the rows of a pair.

The agent beside a model server sends the body of every request, and of every response with status
200, to the logger's ``url``. Both have the same id; they may arrive in either order, twice, or
alone (https://kserve.github.io/website/docs/model-serving/predictive-inference/logger).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import Any, Literal

from tidegate.records.serving import INPUT_PREFIX
from tidegate.serving.log_table import instant

_KINDS: dict[str, Literal["request", "response"]] = {
    "org.kubeflow.serving.inference.request": "request",
    "org.kubeflow.serving.inference.response": "response",
}
_BINARY = "ce-"
_REQUIRED = ("specversion", "id", "source", "type")
_ANSWERED = (
    "score",
    "threshold",
    "decision",
    "action",
    "explored",
    "action_probability",
    "segment",
    "path",
    "model_version",
)
_ROW_ID = "row_id"


class EventRefused(Exception):
    """Something posted that is no event of KServe's logger; the message repeats none of it."""


@dataclass(frozen=True)
class LoggedEvent:
    """One half of a call to a model.

    `call` is the same for both halves: the cluster's names of the service and the event's id.
    """

    call: tuple[str, str, str]
    kind: Literal["request", "response"]
    at: datetime | None
    body: bytes


def parse_event(headers: Mapping[str, str], content: bytes) -> LoggedEvent:
    """Read a CloudEvent (1.0 over HTTP, binary or structured); headers have lower-case names.

    Raises
    ------
    EventRefused
        If it is not one, or of a type that KServe's logger does not send.
    """
    # KServe sends the binary form, attributes in headers; the library takes longer over it than
    # everything else here together.
    is_binary = _BINARY + "specversion" in headers
    attributes, data = (_binary if is_binary else _structured)(headers, content)
    if not all(attributes.get(name) for name in _REQUIRED):
        raise EventRefused("is not a CloudEvent")
    if attributes["specversion"] not in ("1.0", "0.3"):
        raise EventRefused("is not a CloudEvent of a version that is read: 1.0")
    kind = _KINDS.get(attributes["type"])
    if kind is None:
        raise EventRefused(f"must be of a type of KServe's logger: {', '.join(_KINDS)}")
    return LoggedEvent(
        call=(
            attributes.get("namespace", ""),
            attributes.get("inferenceservicename", ""),
            attributes["id"],
        ),
        kind=kind,
        at=instant(attributes.get("time")),
        body=data,
    )


def _binary(headers: Mapping[str, str], content: bytes) -> tuple[dict[str, str], bytes]:
    skip = len(_BINARY)
    return {n[skip:]: value for n, value in headers.items() if n.startswith(_BINARY)}, content


def _structured(headers: Mapping[str, str], content: bytes) -> tuple[dict[str, str], bytes]:
    from cloudevents.exceptions import GenericException
    from cloudevents.http import from_http

    try:
        event = from_http(headers, content, data_unmarshaller=lambda data: data)
        attributes = {name: str(value) for name, value in event.get_attributes().items()}
        return attributes, _bytes(event.get_data())
    except (GenericException, ValueError, TypeError, LookupError, RecursionError):
        raise EventRefused("is not a CloudEvent") from None


def inference_document(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object of an inference request or response, None where it is another's.

    The logger also sends what passes on its way to other endpoints: metadata, health.

    Raises
    ------
    EventRefused
        If the body is not JSON.
    """
    import orjson

    if not body.strip():
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise EventRefused("its data is not JSON") from None
    keys = ("instances", "inputs", "predictions", "outputs")
    is_inference = isinstance(document, dict) and any(
        isinstance(document.get(key), list) for key in keys
    )
    return document if is_inference else None


def payload_rows(request: LoggedEvent, response: LoggedEvent) -> list[dict[str, Any]]:
    """Return the payload log's rows of a call, V1 or V2.

    What an answer does not say is null: a server that is not Tidegate's may give scores only.

    Raises
    ------
    EventRefused
        If the two halves do not have the same number of rows.
    """
    asked, answered = inference_document(request.body), inference_document(response.body)
    if asked is None or answered is None:
        raise EventRefused("is not of an inference call")
    inputs = list(_inputs(asked))
    answers = list(_answers(answered))
    if len(inputs) != len(answers):
        raise EventRefused(f"has {len(inputs)} rows and {len(answers)} answers")
    namespace, service, call = request.call
    parameters = asked.get("parameters")
    told = parameters if isinstance(parameters, dict) else {}
    shared = {
        "time": request.at or response.at,
        "model_name": answered.get("model_name") or service or None,
        "model_version": answered.get("model_version"),
        "segment": told.get("segment"),
        "unit_id": told.get("unit"),
        "arm": told.get("arm"),
    }
    rows = []
    for number, (given, answer) in enumerate(zip(inputs, answers, strict=True)):
        row = {**shared, **given, **{k: v for k, v in answer.items() if v is not None}}
        row["event_id"] = f"{namespace}/{service}/{call}/{number}"
        rows.append(_decided(row))
    return rows


def _decided(row: dict[str, Any]) -> dict[str, Any]:
    """Fill in what follows from the rest: a server may say ``flagged`` and no more."""
    flagged = row.pop("flagged", None)
    if row.get("decision") is None and isinstance(flagged, bool):
        row["decision"] = "flagged" if flagged else "leave"
    decision = row.get("decision")
    action = row.setdefault("action", decision)
    if decision is not None:
        row.setdefault("explored", decision != action)
    return row


def _inputs(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ids: Any = document.get("ids")
    rows: Sequence[Mapping[str, Any]]
    if isinstance(document.get("instances"), list):
        rows = [_named(instance) for instance in document["instances"]]
    else:
        rows = list(_tensor_rows(document.get("inputs")))
        if rows and _ROW_ID in rows[0]:
            ids = [row[_ROW_ID] for row in rows]
            rows = [{k: v for k, v in row.items() if k != _ROW_ID} for row in rows]
    if not isinstance(ids, list) or len(ids) != len(rows):
        ids = [None] * len(rows)
    for row_id, row in zip(ids, rows, strict=True):
        yield {_ROW_ID: row_id, **{f"{INPUT_PREFIX}{name}": value for name, value in row.items()}}


def _named(instance: Any) -> Mapping[str, Any]:
    """Return an instance by names; one without has its places, or is a single value."""
    if isinstance(instance, dict):
        return instance
    if isinstance(instance, list):
        return {str(place): value for place, value in enumerate(instance)}
    return {"value": instance}


def _answers(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(document.get("predictions"), list):
        rows: Any = document["predictions"]
    else:
        rows = _tensor_rows(document.get("outputs"))
    for row in rows:
        if isinstance(row, dict):
            yield {name: row[name] for name in (*_ANSWERED, "flagged") if name in row}
        else:
            is_number = isinstance(row, int | float) and not isinstance(row, bool)
            yield {"score": row if is_number else None}


def _tensor_rows(tensors: object) -> Iterator[dict[str, Any]]:
    """Yield the rows of V2 tensors; a tensor of one value stands for every row."""
    columns = {
        str(tensor["name"]): _tensor_values(tensor)
        for tensor in (tensors if isinstance(tensors, list) else [])
        if isinstance(tensor, dict) and "name" in tensor
    }
    rows = max((len(values) for values in columns.values()), default=0)
    if any(len(values) not in (1, rows) for values in columns.values()):
        raise EventRefused("has tensors of different lengths")
    spread = [v if len(v) == rows else repeat(v[0], rows) for v in columns.values()]
    for values in zip(*spread, strict=True):
        yield dict(zip(columns, values, strict=True))


def _tensor_values(tensor: Mapping[str, Any]) -> list[Any]:
    """Return a value a row of a tensor, which may be flat whatever its shape says."""
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list):
        raise EventRefused("has a tensor without data: its binary form is not logged whole")
    rows = shape[0] if isinstance(shape, list) and shape else len(data)
    if isinstance(rows, int) and 0 < rows < len(data) and len(data) % rows == 0:
        width = len(data) // rows
        return [data[start : start + width] for start in range(0, len(data), width)]
    return [v[0] if isinstance(v, list) and len(v) == 1 else v for v in data]


def _bytes(data: object) -> bytes:
    import orjson

    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode("utf-8", "surrogatepass")
    if data is None:
        return b""
    try:
        return orjson.dumps(data)
    except TypeError:
        raise EventRefused("its data is not JSON") from None
