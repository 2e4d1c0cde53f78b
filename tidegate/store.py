"""All reading and writing: fsspec URIs, atomic files and folders, content digests."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

R = TypeVar("R", bound=BaseModel)

_CHUNK_BYTES = 1 << 20


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_json(value: object) -> str:
    """Return the digest of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_bytes(text.encode())


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a local file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(folder: Path, pattern: str = "**/*") -> str:
    """Return one digest of every file's relative name and content under `folder`."""
    files = sorted(p for p in folder.glob(pattern) if p.is_file())
    return digest_json({p.relative_to(folder).as_posix(): digest_file(p) for p in files})


def digest_uri(uri: str) -> str:
    """Return the SHA-256 of the content behind a path or fsspec URI.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    """
    import fsspec

    total = hashlib.sha256()
    with fsspec.open(uri, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()


def code_digest() -> str:
    """Return the digest of Tidegate's own source, the part of a cache key that code changes."""
    root = Path(__file__).resolve().parent.parent
    kinds = ("py", "html", "css", "js")
    return digest_json(
        {
            f"{name}/{kind}": digest_tree(root / name, f"**/*.{kind}")
            for name in ("tidegate", "components")
            for kind in kinds
        }
    )


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON value whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as JSON."""
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path, kind: type[R]) -> R:
    """Read a record that `write_record` wrote."""
    return kind.model_validate_json(path.read_bytes())


def write_table(path: Path, frame: Any) -> None:
    """Write a pandas frame as Parquet (zstd, no index), whole or not at all."""
    import io

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_table(
    path: Path, columns: list[str] | None = None, *, categories: Sequence[str] = ()
) -> Any:
    """Read one of our own Parquet files as a pandas frame.

    Columns of strings that are named in `categories` become categories, so that no string is held
    a row; other columns named there stay what they are.
    """
    import pandas as pd

    return pd.read_parquet(path, columns=columns, read_dictionary=list(categories))


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Fill a folder beside `path` and move it there when the block ends without an error.

    Yields
    ------
    Path
        The folder to write into. An existing `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield scratch
        scratch.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
