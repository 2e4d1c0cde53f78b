"""The append-only log of releases on this machine, and the folder of failed candidates.

Layout, under the log's folder: ``events.jsonl`` (an event a line, under its id) and
``failed/VERSION.json`` (a candidate that was rolled back: every event of its release, with the
findings).
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tidegate.errors import BadInput
from tidegate.records import ReleaseEvent
from tidegate.store import digest_json, write_json

_ID_DIGITS = 16


class ReleaseLog:
    """Events of the releases of one model, oldest first; lines are only ever added.

    Parameters
    ----------
    folder : Path
        Created by the first event.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, event: ReleaseEvent) -> bool:
        """Add an event; an event told before is not added again, and False comes back."""
        with self._locked():
            whole = self._whole_lines()
            identity = event_id(event)
            if any(json.loads(line)["id"] == identity for line in whole):
                return False
            line = json.dumps({"id": identity, "event": event.model_dump(mode="json")})
            with self._path.open("r+b" if self._path.exists() else "w+b") as stream:
                # A line that a crash cut short was never told.
                stream.truncate(sum(len(line) + 1 for line in whole))
                stream.seek(0, os.SEEK_END)
                stream.write(line.encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            return True

    def has(self, event: ReleaseEvent) -> bool:
        """Return whether an event is in the log."""
        identity = event_id(event)
        return any(json.loads(line)["id"] == identity for line in self._whole_lines())

    def events(self) -> tuple[ReleaseEvent, ...]:
        """Return every event, oldest first.

        Raises
        ------
        BadInput
            If a whole line is no event.
        """
        try:
            return tuple(
                ReleaseEvent.model_validate(json.loads(line)["event"])
                for line in self._whole_lines()
            )
        except (ValueError, KeyError, TypeError, ValidationError):
            raise BadInput(
                str(self._path), "has a line that is no event", "restore the file"
            ) from None

    def archive(self, last: ReleaseEvent) -> Path:
        """Write down why a candidate failed: every event of its releases, with the findings.

        Parameters
        ----------
        last : ReleaseEvent
            The roll-back, which need not be in the log yet.
        """
        events = [e for e in self.events() if e.candidate == last.candidate]
        if last not in events:
            events.append(last)
        path = self.folder / "failed" / f"{last.candidate}.json"
        told = [event.model_dump(mode="json") for event in events]
        write_json(path, {"candidate": last.candidate, "events": told})
        return path

    @property
    def _path(self) -> Path:
        return self.folder / "events.jsonl"

    def _whole_lines(self) -> list[bytes]:
        if not self._path.exists():
            return []
        return self._path.read_bytes().split(b"\n")[:-1]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".log.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def event_id(event: ReleaseEvent) -> str:
    """Return what tells an event from every other: the digest of its content and time."""
    return digest_json(event.model_dump(mode="json"))[:_ID_DIGITS]
