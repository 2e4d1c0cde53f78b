"""Where the payload log's files lie: a folder an hour, behind a path or an fsspec URI.

``date=2026-01-31/hour=05/part-ID-DIGEST.parquet``: the UTC hour in which the log was given the
rows, by its own clock. A row's `time` may be another hour's.
"""

import contextlib
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidegate.errors import BadInput
from tidegate.store import digest_bytes, write_bytes

HOUR = timedelta(hours=1)

_DATE = re.compile(r"date=(\d{4}-\d\d-\d\d)")
_DIGEST_DIGITS = 16
_PART = re.compile(r"part-[0-9a-f]{32}-\d+-([0-9a-f]{16})\.parquet")
_HOUR = re.compile(r"hour=([01]\d|2[0-3])")
# A put of these is whole or not there at all; elsewhere a file is written aside and then moved.
_OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "r2", "memory"}
)
_FILES_AT_ONCE = 64


@dataclass(frozen=True)
class LogFile:
    """One file of the log; `hour` is when its rows were given to the log."""

    name: str
    hour: datetime


@dataclass(frozen=True)
class LogFolder:
    """The folder of a payload log; `open_log_folder` makes one."""

    uri: str
    filesystem: Any
    root: str

    def require_place(self) -> None:
        """Make a local folder; a store elsewhere may be away for now, and is not asked.

        Raises
        ------
        BadInput
            If the folder cannot be made.
        """
        if "file" in _protocols(self.filesystem):
            try:
                Path(self.root).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                problem = f"cannot be made: {error.strerror or error}"
                raise BadInput(self.uri, problem, "write a folder that may be written to") from None

    def put(self, name: str, content: bytes) -> None:
        """Write one file so that no reader sees half of it; writing it again changes nothing."""
        path = f"{self.root}/{name}"
        if "file" in _protocols(self.filesystem):
            write_bytes(Path(path), content)
        elif _protocols(self.filesystem) & _OBJECT_STORES:
            self.filesystem.pipe_file(path, content)
        else:
            folder, _, last = path.rpartition("/")
            aside = f"{folder}/.{last}.{uuid.uuid4().hex}"
            self.filesystem.makedirs(folder, exist_ok=True)
            self.filesystem.pipe_file(aside, content)
            self.filesystem.mv(aside, path)

    def files(self, since: datetime, until: datetime) -> list[LogFile]:
        """Return the files of every hour that overlaps [since, until), oldest hour first."""
        found = []
        self.filesystem.invalidate_cache()
        for date, folder in self._dates():
            if date + 24 * HOUR <= since or date >= until:
                continue
            for hour, name in self._hours(date, folder):
                if hour + HOUR > since and hour < until:
                    found += [
                        LogFile(name=path.removeprefix(f"{self.root}/"), hour=hour)
                        for path in self._listed(name)
                        if path.endswith(".parquet") and not _last(path).startswith((".", "_"))
                    ]
        return sorted(found, key=lambda file: (file.hour, file.name))

    def contents(self, files: Sequence[LogFile]) -> Iterator[tuple[LogFile, bytes]]:
        """Read files, several at a time; those that are gone since they were listed are left out.

        Raises
        ------
        BadInput
            If the store does not let a file be read.
        """
        for start in range(0, len(files), _FILES_AT_ONCE):
            chunk = files[start : start + _FILES_AT_ONCE]
            paths = [f"{self.root}/{file.name}" for file in chunk]
            # Unlike `cat`, this takes a name with a bracket or a star for what it is.
            found = self.filesystem.cat_ranges(paths, None, None, on_error="return")
            for file, content in zip(chunk, found, strict=True):
                if isinstance(content, FileNotFoundError):
                    continue
                if not isinstance(content, bytes):
                    raise _unreachable(self.uri, content)
                yield file, content

    def prune(self, before: datetime) -> int:
        """Delete every hour's folder that ended at or before an instant; return how many."""
        gone = 0
        self.filesystem.invalidate_cache()
        for date, folder in self._dates():
            if date >= before:
                continue
            hours = self._hours(date, folder)
            old = [name for hour, name in hours if hour + HOUR <= before]
            # A date that is over goes with its folder, which would be left empty.
            for name in [folder] if date + 24 * HOUR <= before else old:
                # Another server may be deleting the same.
                with contextlib.suppress(FileNotFoundError):
                    self.filesystem.rm(name, recursive=True)
            gone += len(old)
        return gone

    def _dates(self) -> list[tuple[datetime, str]]:
        found = []
        for path in self._listed(self.root):
            named = _DATE.fullmatch(_last(path))
            # A folder of the thirtieth of February is not ours.
            with contextlib.suppress(ValueError):
                if named is not None:
                    found.append((datetime.fromisoformat(named[1]).replace(tzinfo=UTC), path))
        return sorted(found)

    def _hours(self, date: datetime, folder: str) -> list[tuple[datetime, str]]:
        named = [(_HOUR.fullmatch(_last(path)), path) for path in self._listed(folder)]
        return sorted((date + int(hour[1]) * HOUR, path) for hour, path in named if hour)

    def _listed(self, path: str) -> list[str]:
        try:
            return [str(name).rstrip("/") for name in self.filesystem.ls(path, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:
            # Every file system has its own exceptions; all of them mean "cannot be listed".
            raise _unreachable(self.uri, error) from error


def open_log_folder(uri: str) -> LogFolder:
    """Return the folder behind a path or fsspec URI, without asking the store anything.

    Raises
    ------
    BadInput
        If no installed library reads such a URI.
    """
    import fsspec

    try:
        # A listing that is remembered would hide what other servers have written since.
        filesystem, root = fsspec.url_to_fs(uri, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise BadInput(
            uri, f"cannot be opened: {error}", "write a folder or an fsspec URI (s3://, gs://, …)"
        ) from None
    return LogFolder(uri=uri, filesystem=filesystem, root=str(root).rstrip("/"))


def hour_of(instant: datetime) -> datetime:
    """Return the beginning of an instant's UTC hour."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def file_name(hour: datetime, identity: str, content: bytes) -> str:
    """Return the name of a file of an hour, relative to the log's folder.

    It ends in the content's digest: Parquet's own checksums do not cover what its footer says.
    """
    digest = digest_bytes(content)[:_DIGEST_DIGITS]
    return f"date={hour:%Y-%m-%d}/hour={hour:%H}/part-{identity}-{digest}.parquet"


def is_whole(name: str, content: bytes) -> bool:
    """Whether a file is what was written under its name; one of another name is not doubted."""
    named = _PART.fullmatch(_last(name))
    return named is None or named[1] == digest_bytes(content)[:_DIGEST_DIGITS]


def _protocols(filesystem: Any) -> frozenset[str]:
    protocol = filesystem.protocol
    return frozenset((protocol,) if isinstance(protocol, str) else protocol)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _unreachable(uri: str, error: object) -> BadInput:
    return BadInput(
        uri,
        f"the payload log cannot be read: {type(error).__name__}: {error}",
        "check the address, the permissions and the credentials",
    )
