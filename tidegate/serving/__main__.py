"""``python -m tidegate.serving``: what a container runs, and what ``tidegate serve`` starts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tidegate.errors import BadInput
from tidegate.serving.server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a bundle; return 0 after a stop that was asked for, 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m tidegate.serving",
        description="Serve a bundle over HTTP (V1, V2) and gRPC.",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on [%(default)s]; pods: 0.0.0.0"
    )
    parser.add_argument("--port", type=int, default=8080, help="HTTP port [%(default)s]")
    parser.add_argument(
        "--grpc-port", default="next", help="gRPC port, or none [the one after the HTTP port]"
    )
    parser.add_argument("--name", help="model name in the URLs [the bundle's own]")
    parser.add_argument(
        "--max-rows", type=int, default=1024, help="most rows of one request [%(default)s]"
    )
    given = parser.parse_args(arguments)
    try:
        serve(
            given.bundle,
            host=given.host,
            port=given.port,
            grpc_port=_grpc_port(given.grpc_port, given.port),
            name=given.name,
            max_rows=given.max_rows,
        )
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _grpc_port(text: str, http_port: int) -> int | None:
    if text == "next":
        return http_port + 1
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        problem = f"must be a port or none, got {text!r}"
        raise BadInput("--grpc-port", problem, "write --grpc-port none") from None


if __name__ == "__main__":
    sys.exit(main())
