"""The way of most requests, in front of KServe's application: V1 and V2 as JSON.

KServe's own endpoints take half a millisecond a request: five layers of application, four timed
stages, the body as models and back. The same answers are written here in a tenth of that; what is
rarer (CloudEvents, binary tensors, health, metadata, unknown models) goes on to KServe.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from kserve.utils.utils import is_structured_cloudevent
from pydantic import ValidationError

from tidegate.serving.answer import Output, outputs, v2_document
from tidegate.serving.metrics import exposed
from tidegate.serving.predictor import ModerationPredictor
from tidegate.serving.refusals import refusal_of_body, told
from tidegate.serving.schema import RequestRefused, Tensor

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_VERSIONED = re.compile(r"(?P<model>/v2/models/[^/]+)/versions/(?P<version>[^/]+)(?P<rest>/.*)?$")
_NO_VERSION = b'{"error":"there is no such version of the model here"}'
_JSON = (b"content-type", b"application/json")
# Of V2: they ask for what only KServe's encoder writes.
_BINARY = ("binary_data", "binary_data_output")


class Front:
    """An ASGI application that answers predictions itself and hands on the rest.

    Parameters
    ----------
    predictor : ModerationPredictor
    behind : Application
        KServe's.
    """

    def __init__(self, predictor: ModerationPredictor, behind: Application) -> None:
        self._predictor, self._behind = predictor, behind
        self._v1 = f"/v1/models/{predictor.name}:predict"
        self._explain = f"/v1/models/{predictor.name}:explain"
        self._v2 = f"/v2/models/{predictor.name}/infer"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._behind(scope, receive, send)
        if scope["query_string"] or "/versions/" in scope["path"]:
            found = _of_version(scope, self._predictor.version)
            if found is None:
                return await _send(send, 404, _NO_VERSION, {})
            scope = found
        path = scope["path"]
        if path == "/metrics" and scope["method"] == "GET":
            return await self._metrics(scope, send)
        asks = path in (self._v1, self._v2, self._explain) and scope["method"] == "POST"
        if not asks or not self._predictor.ready or _is_special(scope["headers"]):
            return await self._behind(scope, receive, send)
        body = await _body(receive)
        if body is None:
            return None
        status = 200
        headers: dict[str, str] = {}
        try:
            if path == self._v2:
                content: Any = await self._v2_answer(body)
                if content is None:
                    return await self._behind(scope, _again(body), send)
            else:
                document = self._document(body)
                if path == self._explain:
                    document = _with_reasons(document)
                content = await self._predictor.answer_document(document)
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            status, content, headers = told(error)
        return await _send(send, status, orjson.dumps(content), headers)

    def _document(self, body: bytes) -> object:
        try:
            found: object = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            self._predictor.count_rejected("malformed")
            raise RequestRefused("malformed", "body", f"is not JSON: {error.msg}") from None
        if isinstance(found, dict) and "instances" not in found and is_structured_cloudevent(found):
            return found["data"]
        return found

    async def _v2_answer(self, body: bytes) -> dict[str, Any] | None:
        """Return the answer to a V2 request; None where KServe must write it."""
        try:
            request = InferenceRequest.model_validate_json(body)
        except ValidationError as error:
            refusal = refusal_of_body(error)
            self._predictor.count_rejected(refusal.reason)
            raise refusal from None
        if _wants_binary(request):
            return None
        predictor = self._predictor
        tensors = [
            Tensor(given.name, given.datatype, given.shape, given.data) for given in request.inputs
        ]
        if any((given.parameters or {}).get("content_type") for given in request.inputs):
            return None
        asked, answered = await predictor.answer_tensors(tensors, request.parameters)
        found = outputs(predictor.output_names, asked, answered)
        if request.outputs:
            try:
                found = _chosen(found, [output.name for output in request.outputs])
            except RequestRefused as refusal:
                predictor.count_rejected(refusal.reason)
                raise
        given_id = request.id or str(uuid.uuid4())
        return v2_document(predictor.name, predictor.version, given_id, found, predictor.notice)

    async def _metrics(self, scope: Scope, send: Send) -> None:
        self._predictor.count_load()
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        body, content_type = exposed(accept)
        await _send(send, 200, body, {"content-type": content_type})


def _of_version(scope: Scope, version: str) -> Scope | None:
    """Return the request without the version it names; None where that is another one.

    KServe answers any version with 501, which monitoring would take for a fault of the server.
    """
    path, query = scope["path"], parse_qsl(scope["query_string"].decode("latin-1"))
    named = [value for name, value in query if name == "model_version"]
    found = _VERSIONED.match(path)
    if found is not None:
        named.append(found["version"])
        path = found["model"] + (found["rest"] or "")
    if any(name != version for name in named):
        return None
    return {**scope, "path": path, "query_string": b"" if named else scope["query_string"]}


def _with_reasons(document: object) -> object:
    if not isinstance(document, dict):
        return document
    given = document.get("parameters")
    parameters = {**(given if isinstance(given, dict) else {}), "explain": True}
    return {**document, "parameters": parameters}


def _is_special(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(
        name.startswith(b"ce-")
        or name == b"inference-header-content-length"
        or (name == b"content-type" and b"cloudevents" in value)
        for name, value in headers
    )


def _wants_binary(request: InferenceRequest) -> bool:
    asked = [request.parameters, *(output.parameters for output in request.outputs or ())]
    return any(parameters and any(key in parameters for key in _BINARY) for parameters in asked)


def _chosen(found: list[Output], names: list[str]) -> list[Output]:
    by_name = {output[0]: output for output in found}
    for name in names:
        if name not in by_name:
            problem = f"names an output that there is not; there are {', '.join(by_name)}"
            raise RequestRefused("malformed", "outputs", problem)
    return [by_name[name] for name in names]


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body; None where the client has gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    if not message.get("more_body"):
        return bytes(message["body"])
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message["body"])
    return b"".join(parts)


def _again(body: bytes) -> Receive:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    sent = [(b"content-length", str(len(body)).encode())]
    sent += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    if "content-type" not in headers:
        sent.append(_JSON)
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
