"""Serve a bundle on this machine or in a pod, until told to stop."""

import gc
import json
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.config import ServingConfig
from tidegate.errors import BadInput
from tidegate.records import BundleManifest
from tidegate.serving.exploration import Exploration, require_known_classes
from tidegate.serving.late_imports import import_for_scoring, kserve_for_serving
from tidegate.serving.payload_log import PayloadLog
from tidegate.serving.workers import say_ready, supervise

if TYPE_CHECKING:
    from tidegate.models.bundle import Bundle
    from tidegate.serving.judge import Explain, Router, Scorer

# Of the files that hold a model of trees.
_TREES = ".ubj"
#: Features or words that explain a score.
_REASONS = 5


def serve(
    bundle: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int | None = None,
    name: str | None = None,
    config: ServingConfig | None = None,
    is_worker: bool = False,
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
    config : ServingConfig, optional
        The configuration's serving section; its defaults without it.
    is_worker : bool
        Whether this is one of several processes that share the ports.

    Raises
    ------
    BadInput
        If a port is taken or the bundle cannot be read or does not score.
    SystemExit
        With the code of a worker that could not start.
    """
    config = config or ServingConfig()
    if not is_worker:
        _require_free(host, port, "--port")
        if grpc_port is not None:
            if grpc_port == port:
                raise BadInput("--grpc-port", f"{port} is the HTTP port too", "choose another one")
            _require_free(host, grpc_port, "--grpc-port")
    if config.workers > 1 and not is_worker:
        from tidegate.models.bundle import read_manifest

        manifest = read_manifest(bundle)
        ports = (
            "--port",
            str(port),
            "--grpc-port",
            "none" if grpc_port is None else str(grpc_port),
        )
        command = [
            *(sys.executable, "-m", "tidegate.serving", "--worker"),
            *("--bundle", str(bundle), "--host", host, *ports),
            *("--settings", config.model_dump_json()),
            *(() if name is None else ("--name", name)),
        ]
        code = supervise(
            command,
            config.workers,
            lambda: _announce(manifest, name or manifest.name, host, port, grpc_port),
        )
        if code:
            raise SystemExit(code)
        return
    gc.disable()  # nothing of a start is garbage, and looking for it takes a tenth of the time
    import_for_scoring(trees=any(bundle.rglob(f"*{_TREES}")))
    from tidegate.models.bundle import load_bundle
    from tidegate.serving.routing import router_of

    loaded = load_bundle(bundle)
    keep_recent(loaded, config, name)
    serve_scorer(
        loaded,
        source=str(bundle),
        host=host,
        port=port,
        grpc_port=grpc_port,
        name=name,
        config=config,
        explain=_explainer(loaded),
        router=router_of(loaded, config),
        is_worker=is_worker,
    )


def serve_scorer(
    scorer: "Scorer",
    *,
    source: str,
    host: str,
    port: int,
    grpc_port: int | None,
    name: str | None,
    config: ServingConfig,
    explain: "Explain | None" = None,
    router: "Router | None" = None,
    is_worker: bool = False,
) -> None:
    """Serve a loaded bundle; `serve` is this after its checks.

    Raises
    ------
    BadInput
        If the warm-up row cannot be scored; `source` is what it names.
    """
    _require_history(config.history, scorer.manifest)
    # KServe reads sys.argv and its log level while it is imported; ours are not its flags.
    arguments, sys.argv = sys.argv, sys.argv[:1]
    os.environ.setdefault("KSERVE_LOGLEVEL", "WARNING")
    try:
        with kserve_for_serving():
            from tidegate.serving.listener import ModerationServer
            from tidegate.serving.predictor import ModerationPredictor, ScoringFailed
    finally:
        sys.argv = arguments

    log = _payload_log(config, scorer.manifest)
    exploration = Exploration.from_environment(config.exploration)
    if exploration.is_on:
        require_known_classes(config.exploration, classes_of(scorer.manifest))
    predictor = ModerationPredictor(
        scorer,
        name=name,
        config=config,
        explain=explain,
        sink=log,
        exploration=exploration if exploration.is_on else None,
        router=router,
    )
    try:
        predictor.load()
    except ScoringFailed as error:
        raise BadInput(source, str(error), "build the bundle again with `tidegate run`") from None

    # KServe's endpoints answer with a class that its FastAPI calls old; nothing for us to change.
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
    # What is loaded stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.enable()

    def on_start() -> None:
        if is_worker:
            say_ready()
            threading.Thread(target=_end_with_parent, daemon=True).start()
        else:
            _announce(scorer.manifest, predictor.name, host, port, grpc_port)

    ModerationServer(
        predictor,
        host=host,
        port=port,
        grpc_port=grpc_port,
        on_start=on_start,
        shares_port=is_worker,
    ).serve()
    if log is not None:
        log.close()


def keep_recent(bundle: "Bundle", config: ServingConfig, name: str | None = None) -> None:
    """Give each block of a bundle that embeds texts a cache; nothing where none does.

    The blocks share `embedding_cache_mib` evenly.
    """
    from tidegate.features.recent import RecentRows
    from tidegate.serving.metrics import Metrics

    blocks = bundle.featurizer.reusing()
    if not blocks or not config.embedding_cache_mib:
        return
    metrics = Metrics(name or bundle.manifest.name, bundle.manifest.version)
    for block, fitted in blocks.items():
        fitted.reuse(
            RecentRows(
                block,
                max_bytes=int(config.embedding_cache_mib * 2**20 / len(blocks)),
                max_age_seconds=config.embedding_cache_seconds,
                told=metrics.reused,
            )
        )


def _payload_log(config: ServingConfig, manifest: BundleManifest) -> PayloadLog | None:
    if config.payload_log.uri is None:
        return None
    return PayloadLog(config.payload_log, columns=manifest.inputs)


def classes_of(manifest: BundleManifest) -> tuple[str, ...]:
    """Return the classes or tasks that rows may be told to have; none of two classes."""
    return () if manifest.target.kind == "binary" else manifest.target.outputs


def _explainer(bundle: "Bundle") -> "Explain":
    def explained(rows: Sequence[Any]) -> list[dict[str, Any]]:
        from tidegate.models.explanation import explain

        return [asdict(found) for found in explain(bundle, rows, top=_REASONS)]

    return explained


def _end_with_parent() -> None:
    """Stop when the process that started this worker is gone: it held the other end of stdin."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(
    manifest: BundleManifest, name: str, host: str, port: int, grpc_port: int | None
) -> None:
    address = f"[{host}]" if ":" in host else host
    grpc = "" if grpc_port is None else f" (gRPC on {address}:{grpc_port})"
    flags = "" if manifest.threshold is not None else ", flags nothing (no threshold)"
    row = {c.name: 0 if c.kind == "numeric" else "..." for c in manifest.inputs}
    body = json.dumps({"instances": [row]}, ensure_ascii=False).replace("'", "'\\''")
    url = f"http://{address}:{port}"
    print(
        f"{name} {manifest.version} serves at {url}{grpc}{flags}; try: "
        f"curl -s {url}/v1/models/{name}:predict -d '{body}'",
        flush=True,
    )


def _require_history(history: Sequence[str], manifest: BundleManifest) -> None:
    kinds = {column.name: column.kind for column in manifest.inputs}
    for name in history:
        if kinds.get(name, "text") == "text":
            problem = f"{name!r} is no numeric or categorical input of this model"
            raise BadInput("serving.history", problem, "name inputs that a new account has none of")


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
