"""KServe's gRPC service on one address, within the same limits as HTTP."""

from concurrent import futures
from typing import Any

from grpc import ServicerContext, StatusCode, aio  # type: ignore[import-untyped]
from kserve.errors import ModelNotReady
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as grpc_service
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer

from tidegate.serving.batching import TimedOut
from tidegate.serving.judge import ScoringFailed
from tidegate.serving.schema import RequestRefused


class _StatusInterceptor(ExceptionToStatusInterceptor):  # type: ignore[misc]
    """gRPC status for our refusals, and for what KServe's own interceptor mishandles."""

    async def handle_exception(
        self, ex: Exception, request_or_iterator: Any, context: ServicerContext, method_name: str
    ) -> None:
        """Turn an exception into a gRPC status."""
        if isinstance(ex, RequestRefused):
            is_overload = ex.reason == "overloaded"
            code = StatusCode.RESOURCE_EXHAUSTED if is_overload else StatusCode.INVALID_ARGUMENT
            await context.abort(code, str(ex))
        if isinstance(ex, TimedOut):
            await context.abort(StatusCode.DEADLINE_EXCEEDED, str(ex))
        if isinstance(ex, ScoringFailed):
            await context.abort(StatusCode.INTERNAL, str(ex))
        if isinstance(ex, ModelNotReady):
            await context.abort(StatusCode.UNAVAILABLE, str(ex))
        await super().handle_exception(ex, request_or_iterator, context, method_name)


class BoundGRPCServer(GRPCServer):  # type: ignore[misc]
    """KServe's gRPC server on one address; alone on its port, unless it is one of many workers."""

    def __init__(
        self, address: str, *arguments: Any, max_bytes: int, shares_port: bool, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._address, self._max_bytes, self._shares_port = address, max_bytes, shares_port

    async def start(self, max_workers: int) -> None:
        """Serve until stopped."""
        self._server = aio.server(
            futures.ThreadPoolExecutor(max_workers=max_workers),
            interceptors=(_StatusInterceptor(),),
            options=[
                ("grpc.so_reuseport", int(self._shares_port)),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", self._max_bytes),
                # A client that opens a connection and says nothing is not waited for.
                ("grpc.server_handshake_timeout_ms", 10_000),
                ("grpc.max_connection_idle_ms", 600_000),
            ],
        )
        servicer = InferenceServicer(self._data_plane, self._model_repository_extension)
        grpc_service.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(self._address)
        await self._server.start()
        await self._server.wait_for_termination()
