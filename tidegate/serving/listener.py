"""KServe's model server, listening where it is told and answering bad requests with 4xx.

KServe 0.21 listens on every address, answers some unreadable bodies with 500, lets anyone unload
the model over HTTP, bounds neither size nor time of a request and, with gRPC's default options,
lets two servers share a port unseen. This module keeps its endpoints and replaces those parts.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER, PredictorProtocol
from kserve.errors import InferenceError, InvalidInput, ModelNotFound
from kserve.model_server import ModelServer, app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from starlette.exceptions import HTTPException

from tidegate.serving.batching import TimedOut
from tidegate.serving.connection import Bounds, bounded
from tidegate.serving.front import Front
from tidegate.serving.grpc_listener import BoundGRPCServer
from tidegate.serving.predictor import ModerationPredictor, ScoringFailed
from tidegate.serving.refusals import refusal_of_body, told
from tidegate.serving.schema import RequestRefused

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
    shares_port : bool
        Whether other processes serve on the same ports.
    """

    def __init__(
        self,
        predictor: ModerationPredictor,
        *,
        host: str,
        port: int,
        grpc_port: int | None,
        on_start: Callable[[], None],
        shares_port: bool = False,
    ) -> None:
        super().__init__(
            http_port=port,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=_GRACE_SECONDS,
            workers=1,
        )
        self._predictor, self._host, self._on_start = predictor, host, on_start
        self._shares_port = shares_port
        most = int(predictor.config.max_body_mib * 2**20)
        self._bounds = Bounds(most, predictor.config.timeout_seconds, predictor.count_rejected)
        self.dataplane = _OneBundleDataPlane(self.registered_models, predictor)
        self.model_repository_extension = _FixedRepository(self.registered_models)
        # A line for each bad or refused request would let a client fill the disk.
        for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger("uvicorn.access").propagate = False
        logging.getLogger("kserve").addFilter(_is_ours_to_mend)
        for kind, handler in _handlers(predictor).items():
            app.add_exception_handler(kind, handler)
        if grpc_port is not None:
            self._grpc_server = BoundGRPCServer(
                f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}",
                grpc_port,
                self.dataplane,
                self.model_repository_extension,
                max_bytes=most,
                shares_port=shares_port,
                kwargs={},
                grace_period=_GRACE_SECONDS,
            )
            self.servers.append(self._grpc_server.start(self.max_threads))

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is running and return."""
        # KServe takes the loop of its process, whatever it tells uvicorn; uvloop's takes less time
        # and sends head and body of an answer together.
        usual = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        try:
            self.start([self._predictor])
        finally:
            asyncio.set_event_loop_policy(usual)

    def setup_event_loop(self) -> None:
        """Leave the loop as it is: KServe would set up one that then never runs."""

    async def _serve(self) -> None:
        # `start` has built the REST server for all addresses and not yet bound it.
        config = self._rest_server.config
        config.host = self._host
        config.proxy_headers = False  # nothing here depends on who asks
        config.app = Front(self._predictor, app)
        config.http = bounded(self._bounds)
        if self._shares_port:
            server = self._rest_server._server
            server.serve = partial(server.serve, sockets=[_shared(self._host, self.http_port)])
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


def _shared(host: str, port: int) -> socket.socket:
    """Return a socket on a port that other workers listen on too; the kernel shares it out."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(address)
    listening.setblocking(False)
    return listening


def _handlers(
    predictor: ModerationPredictor,
) -> dict[type[Exception], Callable[[Request, Any], Awaitable[JSONResponse]]]:
    async def answer(_: Request, error: Exception) -> JSONResponse:
        status, content, headers = told(error)
        return JSONResponse(content, status, headers)

    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        refusal = refusal_of_body(error)
        predictor.count_rejected(refusal.reason)
        return await answer(request, refusal)

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's word for a body whose reading broke
            predictor.count_rejected("malformed")
            return await answer(request, RequestRefused("malformed", "body", str(error.detail)))
        return await answer(request, error)

    return {
        RequestRefused: answer,
        RequestValidationError: unreadable,
        HTTPException: http_error,
        ScoringFailed: answer,
        TimedOut: answer,
    }
