"""The append-only log of a release: one JSON object a line, each event once."""

import fcntl
import json
import os
from pathlib import Path

from tidegate.records import ReleaseEvent
from tidegate.store import digest_json

_ID_DIGITS = 16


def event_id(event: ReleaseEvent) -> str:
    """Return the digest of all that an event says: the same event told twice has the same one."""
    return digest_json(event.model_dump(mode="json"))[:_ID_DIGITS]


class ReleaseLog:
    """Events in a file that only ever grows.

    Parameters
    ----------
    path : Path
        Made with its folder by the first event. A line that a crash cut short is ended and kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: ReleaseEvent) -> bool:
        """Add an event and flush it to the disk; False when it is there already."""
        identity = event_id(event)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            content = stream.read()
            if any(_identity(line) == identity for line in content.splitlines()):
                return False
            line = json.dumps({"id": identity, **event.model_dump(mode="json")}, ensure_ascii=False)
            start = b"" if not content or content.endswith(b"\n") else b"\n"
            stream.write(start + line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        return True

    def read(self) -> tuple[ReleaseEvent, ...]:
        """Return every whole event, oldest first."""
        if not self.path.exists():
            return ()
        lines = self.path.read_bytes().splitlines()
        documents = [_document(line) for line in lines]
        return tuple(
            ReleaseEvent.model_validate({k: v for k, v in document.items() if k != "id"})
            for document in documents
            if document is not None
        )


def _identity(line: bytes) -> str | None:
    document = _document(line)
    return None if document is None else document.get("id")


def _document(line: bytes) -> dict[str, str] | None:
    try:
        found: dict[str, str] = json.loads(line)
    except ValueError:
        return None
    return found
