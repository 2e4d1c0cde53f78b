"""``python -m tidegate.serving``: what a container runs, and what ``tidegate serve`` starts."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tidegate.config import ServingConfig
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
        "--settings", help="the configuration's serving section: JSON, or a file of it"
    )
    parser.add_argument(
        "--max-rows", type=int, help="most rows of one request; goes before the settings"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        serve(
            given.bundle,
            host=given.host,
            port=given.port,
            grpc_port=_grpc_port(given.grpc_port, given.port),
            name=given.name,
            config=_settings(given.settings, given.max_rows),
            is_worker=given.worker,
        )
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return 0


def _settings(given: str | None, max_rows: int | None) -> ServingConfig:
    where, text = "--settings", given or "{}"
    if given is not None and not given.lstrip().startswith("{"):
        where = given
        try:
            text = Path(given).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            problem = f"cannot be read: {error}"
            raise BadInput(where, problem, "write JSON or name a file of JSON") from None
    try:
        document = json.loads(text)
    except ValueError:
        raise BadInput(where, "is not JSON", 'write for example {"workers": 2}') from None
    if isinstance(document, dict) and max_rows is not None:
        document = {**document, "max_rows": max_rows}
    try:
        return ServingConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("serving", *map(str, first["loc"])))
        raise BadInput(key, str(first["msg"]), "docs/serving.md lists the keys") from None


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
