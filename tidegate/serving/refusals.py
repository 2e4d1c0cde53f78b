"""What a client is told when it gets no answer: one JSON object, whichever way it came."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from tidegate.serving.batching import TimedOut
from tidegate.serving.judge import ScoringFailed
from tidegate.serving.schema import Reason, RequestRefused

#: After so many seconds a client that was told to come again may do so.
RETRY_AFTER_SECONDS = 1

Headers = list[tuple[bytes, bytes]]


def refusal_of_body(error: RequestValidationError | ValidationError) -> RequestRefused:
    """Return what is wrong with a body that KServe's data models do not take."""
    first: Mapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        says = first.get("ctx", {}).get("error", "")
        return RequestRefused("malformed", "body", f"is not JSON: {says}")
    # A V2 body may be JSON or bytes; pydantic names which of the two it tried.
    place = [str(p) for p in first["loc"] if p not in ("body", "InferenceRequest", "bytes")]
    reason: Reason = "missing_field" if first["type"] == "missing" else "wrong_type"
    return RequestRefused(reason, ".".join(place) or "body", str(first["msg"]))


def told(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return the status, the body and the headers that an error is answered with."""
    again = {"retry-after": str(RETRY_AFTER_SECONDS)}
    if isinstance(error, RequestRefused):
        content = {"error": str(error), "field": error.field, "reason": error.reason}
        return error.status, content, again if error.reason == "overloaded" else {}
    if isinstance(error, TimedOut):
        content = {"error": str(error), "field": "request", "reason": "timeout"}
        return 503, content, again
    if isinstance(error, HTTPException):
        return error.status_code, {"error": error.detail}, dict(error.headers or {})
    says = str(error) if isinstance(error, ScoringFailed) else "the server failed on this request"
    return 500, {"error": says}, {}


def as_http(status: int, content: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Return a whole HTTP/1.1 response that ends the connection."""
    body = orjson.dumps(content)
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Refused')}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}
