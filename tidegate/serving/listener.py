"""KServe's model server, listening where it is told and answering bad requests with 4xx.

KServe 0.21 listens on every address, answers some unreadable bodies with 500, lets anyone unload
the model over HTTP and, with gRPC's default options, lets two servers share a port unseen. This
module keeps its endpoints and replaces those four parts.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from concurrent import futures
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from grpc import ServicerContext, StatusCode, aio  # type: ignore[import-untyped]
from kserve import ModelServer
from kserve.constants.constants import (
    INFERENCE_CONTENT_LENGTH_HEADER,
    MAX_GRPC_MESSAGE_LENGTH,
    PredictorProtocol,
)
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as grpc_service
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from starlette.exceptions import HTTPException

from tidegate.serving.predictor import ModerationPredictor, ScoringFailed
from tidegate.serving.schema import Reason, RequestRefused

_GRACE_SECONDS = 20
# What KServe's decoders are known to stumble over when a body is not what its headers say.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    InferenceError,
    InvalidInput,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


class _OneBundleDataPlane(DataPlane):  # type: ignore[misc]
    """KServe's data plane over one predictor, with decoding that refuses and never breaks."""

    def __init__(self, registry: Any, predictor: ModerationPredictor) -> None:
        super().__init__(registry)
        self._predictor = predictor

    async def ready(self) -> bool:
        """Be ready when the model is."""
        return bool(self._predictor.ready)

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Add the platform and the version that serves."""
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        return {**metadata, "platform": "tidegate", "versions": [self._predictor.version]}

    def decode(
        self,
        body: object,
        headers: dict[str, str],
        protocol_version: str = PredictorProtocol.REST_V1.value,
        model_name: str | None = None,
    ) -> Any:
        """Decode a request as KServe does, and JSON that comes without its content type."""
        is_v2 = protocol_version == PredictorProtocol.REST_V2.value
        try:
            if isinstance(body, bytes) and INFERENCE_CONTENT_LENGTH_HEADER not in headers:
                if is_v2:
                    body = InferenceRequest.model_validate_json(body)
                elif not any(name.startswith("ce-") for name in headers):
                    headers = {**headers, "content-type": "application/json"}
            return super().decode(body, headers, protocol_version, model_name)
        except _UNREADABLE as error:
            self._predictor.count_rejected("malformed")
            says = error.reason if isinstance(error, InvalidInput) else "not what its headers say"
            raise RequestRefused("malformed", "body", f"cannot be read: {says}") from None


class _FixedRepository(ModelRepositoryExtension):  # type: ignore[misc]
    """The model repository endpoints, closed: a server serves the bundle it was started with."""

    async def load(self, model_name: str) -> None:
        """Refuse to load another model."""
        raise InvalidInput("this server serves one bundle; start another server for another one")

    async def unload(self, model_name: str) -> None:
        """Refuse to unload the model."""
        raise InvalidInput("this server serves one bundle; stop the server to end it")


class _StatusInterceptor(ExceptionToStatusInterceptor):  # type: ignore[misc]
    """gRPC status for our refusals, and for what KServe's own interceptor mishandles."""

    async def handle_exception(
        self, ex: Exception, request_or_iterator: Any, context: ServicerContext, method_name: str
    ) -> None:
        """Turn an exception into a gRPC status."""
        if isinstance(ex, RequestRefused):
            await context.abort(StatusCode.INVALID_ARGUMENT, str(ex))
        if isinstance(ex, ScoringFailed):
            await context.abort(StatusCode.INTERNAL, str(ex))
        if isinstance(ex, ModelNotReady):
            await context.abort(StatusCode.UNAVAILABLE, str(ex))
        await super().handle_exception(ex, request_or_iterator, context, method_name)


class _BoundGRPCServer(GRPCServer):  # type: ignore[misc]
    """KServe's gRPC server on one address, and alone on its port."""

    def __init__(self, address: str, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._address = address

    async def start(self, max_workers: int) -> None:
        """Serve until stopped."""
        self._server = aio.server(
            futures.ThreadPoolExecutor(max_workers=max_workers),
            interceptors=(_StatusInterceptor(),),
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_LENGTH),
                ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_LENGTH),
            ],
        )
        servicer = InferenceServicer(self._data_plane, self._model_repository_extension)
        grpc_service.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(self._address)
        await self._server.start()
        await self._server.wait_for_termination()


class ModerationServer(ModelServer):  # type: ignore[misc]
    """KServe's `ModelServer` with one predictor on one address.

    Parameters
    ----------
    predictor : ModerationPredictor
        Loaded and warmed up.
    host : str
        Address to listen on.
    port : int
        HTTP port.
    grpc_port : int, optional
        gRPC port; no gRPC without it.
    on_start : callable
        Called once when HTTP is listening.
    """

    def __init__(
        self,
        predictor: ModerationPredictor,
        *,
        host: str,
        port: int,
        grpc_port: int | None,
        on_start: Callable[[], None],
    ) -> None:
        super().__init__(
            http_port=port,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=_GRACE_SECONDS,
            workers=1,
        )
        self._predictor, self._host, self._on_start = predictor, host, on_start
        self.dataplane = _OneBundleDataPlane(self.registered_models, predictor)
        self.model_repository_extension = _FixedRepository(self.registered_models)
        for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("kserve").addFilter(_is_ours_to_mend)
        for kind, handler in _handlers(predictor).items():
            app.add_exception_handler(kind, handler)
        if grpc_port is not None:
            self._grpc_server = _BoundGRPCServer(
                f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}",
                grpc_port,
                self.dataplane,
                self.model_repository_extension,
                kwargs={},
                grace_period=_GRACE_SECONDS,
            )
            self.servers.append(self._grpc_server.start(self.max_threads))

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is running and return."""
        self.start([self._predictor])

    async def _serve(self) -> None:
        # `start` has built the REST server for all addresses and not yet bound it.
        self._rest_server.config.host = self._host
        await asyncio.gather(*self.servers, self._announce())

    async def _announce(self) -> None:
        while not self._rest_server._server.started:
            await asyncio.sleep(0.02)
        self._on_start()


def _is_ours_to_mend(record: logging.LogRecord) -> bool:
    """Drop KServe's traceback for each request that the client got wrong."""
    kind = record.exc_info[0] if record.exc_info else None
    client_errors = (InvalidInput, ModelNotFound, NotImplementedError)
    return kind is None or not issubclass(kind, client_errors)


def _handlers(
    predictor: ModerationPredictor,
) -> dict[type[Exception], Callable[[Request, Any], Awaitable[JSONResponse]]]:
    async def refused(_: Request, error: RequestRefused) -> JSONResponse:
        content = {"error": str(error), "field": error.field, "reason": error.reason}
        return JSONResponse(content, error.status)

    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            says = first.get("ctx", {}).get("error", "")
            refusal = RequestRefused("malformed", "body", f"is not JSON: {says}")
        else:
            # A V2 body may be JSON or bytes; pydantic names which of the two it tried.
            place = [str(p) for p in first["loc"] if p not in ("body", "InferenceRequest", "bytes")]
            reason: Reason = "missing_field" if first["type"] == "missing" else "wrong_type"
            refusal = RequestRefused(reason, ".".join(place) or "body", str(first["msg"]))
        predictor.count_rejected(refusal.reason)
        return await refused(request, refusal)

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's word for a body whose reading broke
            predictor.count_rejected("malformed")
            return await refused(request, RequestRefused("malformed", "body", str(error.detail)))
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    async def failed(_: Request, error: ScoringFailed) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 500)

    return {
        RequestRefused: refused,
        RequestValidationError: unreadable,
        HTTPException: http_error,
        ScoringFailed: failed,
    }
