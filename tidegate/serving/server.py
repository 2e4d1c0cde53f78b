"""Serve a bundle on this machine or in a pod, until told to stop."""

import json
import os
import socket
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.errors import BadInput

if TYPE_CHECKING:
    from tidegate.serving.predictor import Scorer


def serve(
    bundle: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int | None = None,
    name: str | None = None,
    max_rows: int = 1024,
) -> None:
    """Serve `bundle` over HTTP (V1, V2) and gRPC (V2) until SIGTERM or SIGINT.

    Nothing listens before the bundle's digests are checked and one row is scored, so a probe
    that is answered is answered by a model that works. One line is printed once it listens.

    Parameters
    ----------
    bundle : Path
        Bundle folder.
    host : str
        Address to listen on; loopback unless told otherwise. A container wants ``0.0.0.0``.
    port : int
        HTTP port.
    grpc_port : int, optional
        gRPC port; no gRPC without it.
    name : str, optional
        Model name in the URLs; the bundle's own without it.
    max_rows : int
        Most rows of one request.

    Raises
    ------
    BadInput
        If a port is taken or the bundle cannot be read or does not score.
    """
    from tidegate.models.bundle import load_bundle

    _require_free(host, port, "--port")
    if grpc_port is not None:
        if grpc_port == port:
            raise BadInput("--grpc-port", f"{port} is the HTTP port too", "choose another one")
        _require_free(host, grpc_port, "--grpc-port")
    serve_scorer(
        load_bundle(bundle),
        source=str(bundle),
        host=host,
        port=port,
        grpc_port=grpc_port,
        name=name,
        max_rows=max_rows,
    )


def serve_scorer(
    scorer: "Scorer",
    *,
    source: str,
    host: str,
    port: int,
    grpc_port: int | None,
    name: str | None,
    max_rows: int,
) -> None:
    """Serve a loaded bundle; `serve` is this after its checks.

    Raises
    ------
    BadInput
        If the warm-up row cannot be scored; `source` is what it names.
    """
    # KServe reads sys.argv and its log level while it is imported; ours are not its flags.
    arguments, sys.argv = sys.argv, sys.argv[:1]
    os.environ.setdefault("KSERVE_LOGLEVEL", "WARNING")
    try:
        from tidegate.serving.listener import ModerationServer
        from tidegate.serving.predictor import ModerationPredictor, ScoringFailed
    finally:
        sys.argv = arguments

    predictor = ModerationPredictor(scorer, name=name, max_rows=max_rows)
    try:
        predictor.load()
    except ScoringFailed as error:
        raise BadInput(source, str(error), "build the bundle again with `tidegate run`") from None

    # KServe's endpoints answer with a class that its FastAPI calls old; nothing for us to change.
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
    address = f"[{host}]" if ":" in host else host

    def announce() -> None:
        grpc = "" if grpc_port is None else f" (gRPC on {address}:{grpc_port})"
        flags = "" if scorer.manifest.threshold is not None else ", flags nothing (no threshold)"
        row = {c.name: 0 if c.kind == "numeric" else "..." for c in predictor.inputs}
        body = json.dumps({"instances": [row]}, ensure_ascii=False).replace("'", "'\\''")
        url = f"http://{address}:{port}"
        print(
            f"{predictor.name} {predictor.version} serves at {url}{grpc}{flags}; try: "
            f"curl -s {url}/v1/models/{predictor.name}:predict -d '{body}'",
            flush=True,
        )

    ModerationServer(
        predictor, host=host, port=port, grpc_port=grpc_port, on_start=announce
    ).serve()


def _require_free(host: str, port: int, flag: str) -> None:
    """Bind and let go, so that a taken port is one message and not a server that half starts."""
    if not 1 <= port <= 65535:
        raise BadInput(flag, f"must be in 1..65535, got {port}", "write a free port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        problem = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise BadInput(flag, problem, "stop what uses it or choose another one") from None
