"""Reading the payload log: each row once, in the window that its time belongs to."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.errors import BadInput
from tidegate.records.serving import REPLAY_PREFIX, LogReading, UnreadableFile
from tidegate.serving.log_layout import HOUR, LogFile, is_whole, open_log_folder
from tidegate.serving.log_table import payload_schema

_ID, _TIME, _ROW = "event_id", "time", "row_id"


def read_log(
    uri: str,
    since: datetime,
    until: datetime,
    columns: Sequence[str] | None = None,
    *,
    late_seconds: float = 3600.0,
    with_copies: bool = False,
) -> tuple[Any, LogReading]:
    """Read the rows whose `time` lies in [since, until), each event once.

    A row may reach the log up to `late_seconds` after its time, or before it where clocks differ:
    the folders around the window are searched too. Windows that follow one another hold every row
    exactly once; read a window no sooner than `late_seconds` after its end to have its late rows.
    A file that cannot be read is named in the reading, and the others are read.

    Parameters
    ----------
    uri : str
        The log's folder, a path or fsspec URI.
    since, until : datetime
        The window; without a time zone they are UTC.
    columns : sequence of str, optional
        Columns to return; all without it. One that an older file lacks is null there.
    late_seconds : float
        How far a row's time may be from the hour of its folder.
    with_copies : bool
        Whether to return the rows too that a release sent itself (`REPLAY_PREFIX`): no client
        sent them, so they are no traffic, and nobody acted on what was answered.

    Returns
    -------
    frame : pandas.DataFrame
        Sorted by time. An empty window has no rows, and no error.
    reading : LogReading
        What was found and what was left out.

    Raises
    ------
    BadInput
        If the window ends before it begins, or the store cannot be reached.
    """
    since, until = _utc(since), _utc(until)
    if since >= until:
        problem = f"must end after it begins, got {since.isoformat()} to {until.isoformat()}"
        raise BadInput("window", problem, "swap them")
    late = timedelta(seconds=late_seconds)
    folder = open_log_folder(uri)
    search = _Search(since, until, late, columns, with_copies)
    for file, content in folder.contents(folder.files(since - late, until + late)):
        search.add(file, content)
    return search.result()


@dataclass
class _Search:
    """The rows of a window, as they are found file by file."""

    since: datetime
    until: datetime
    late: timedelta
    columns: Sequence[str] | None
    with_copies: bool
    tables: list[Any] = field(default_factory=list)
    unreadable: list[UnreadableFile] = field(default_factory=list)
    files: int = 0
    late_rows: int = 0
    misplaced_rows: int = 0
    copied_rows: int = 0

    def add(self, file: LogFile, content: bytes) -> None:
        """Take the rows of one file."""
        import pyarrow as pa

        try:
            if not is_whole(file.name, content):
                raise ValueError("is not what was written: its digest differs")
            table = _table(content, self.columns)
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            # Only the first line: what follows may quote values.
            problem = (str(error) or type(error).__name__).partition("\n")[0][:200]
            self.unreadable.append(UnreadableFile(name=file.name, problem=problem))
            return
        self.files += 1
        table = self._of_window(table, file.hour)
        if table.num_rows:
            self.tables.append(table)

    def result(self) -> tuple[Any, LogReading]:
        """Return the frame and what is to be said of it."""
        import pyarrow.compute as pc

        table, retyped = _joined(self.tables)
        found = table.num_rows
        first = _first_of_each(table.column(_ID))
        if len(first) < found:
            table = table.take(first)
        table = table.take(pc.sort_indices(table, [(_TIME, "ascending"), (_ID, "ascending")]))
        wanted = list(self.columns) if self.columns is not None else list(table.column_names)
        absent = [name for name in wanted if name not in table.column_names]
        reading = LogReading(
            since=self.since.isoformat(),
            until=self.until.isoformat(),
            rows=table.num_rows,
            files=self.files,
            duplicates=found - table.num_rows,
            late_rows=self.late_rows,
            misplaced_rows=self.misplaced_rows,
            copied_rows=self.copied_rows,
            unreadable=tuple(self.unreadable),
            absent_columns=tuple(absent) if self.tables else (),
            retyped_columns=tuple(name for name in retyped if name in wanted),
        )
        frame = table.to_pandas()
        for name in absent:
            frame[name] = None
        return frame[wanted], reading

    def _of_window(self, table: Any, hour: datetime) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        times = table.column(_TIME)

        def between(low: datetime, high: datetime) -> Any:
            ends = [pa.scalar(end, type=times.type) for end in (low, high)]
            inside = pc.and_(pc.greater_equal(times, ends[0]), pc.less(times, ends[1]))
            return pc.fill_null(inside, False)

        believable = between(hour - self.late, hour + HOUR + self.late)
        if self.since <= hour < self.until:
            self.misplaced_rows += table.num_rows - (pc.sum(believable).as_py() or 0)
        inside = pc.and_(believable, between(self.since, self.until))
        if not self.with_copies and _ROW in table.column_names:
            ids = table.column(_ROW).cast(pa.string())
            copies = pc.and_(inside, pc.fill_null(pc.starts_with(ids, REPLAY_PREFIX), False))
            self.copied_rows += pc.sum(copies).as_py() or 0
            inside = pc.and_not(inside, copies)
        late = pc.and_(inside, between(datetime.min.replace(tzinfo=UTC), hour))
        self.late_rows += pc.sum(late).as_py() or 0
        return table.filter(inside)


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _table(content: bytes, columns: Sequence[str] | None) -> Any:
    """Read one file's columns, those that every row is placed or left out by among them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pq.ParquetFile(io.BytesIO(content))
    names = source.schema_arrow.names
    for name in (_ID, _TIME):
        if name not in names:
            raise ValueError(f"has no column {name}")
    if len(set(names)) < len(names):
        raise ValueError("has two columns of one name")
    wanted = None if columns is None else [n for n in names if n in {_ID, _TIME, _ROW, *columns}]
    table = source.read(columns=wanted)
    ids = pa.table({_ID: table.column(_ID).cast(pa.string())})
    times = table.column(_TIME).cast(pa.timestamp("us", tz="UTC"))
    table = table.set_column(table.column_names.index(_ID), _ID, ids.column(_ID))
    return table.set_column(table.column_names.index(_TIME), _TIME, times)


def _joined(tables: Sequence[Any]) -> tuple[Any, list[str]]:
    """Put tables under one another; a column that is of several types comes as text."""
    import pyarrow as pa

    if not tables:
        return payload_schema().empty_table(), []
    retyped = []
    for name in _names(tables):
        types = {t.schema.field(name).type for t in tables if name in t.column_names}
        if len(types - {pa.null()}) > 1:
            retyped.append(name)
    texts = [
        table.cast(
            pa.schema(
                [pa.field(f.name, pa.string()) if f.name in retyped else f for f in table.schema]
            )
        )
        for table in tables
    ]
    return pa.concat_tables(texts, promote_options="default"), retyped


def _names(tables: Sequence[Any]) -> Iterator[str]:
    seen = dict.fromkeys(name for table in tables for name in table.column_names)
    return iter(seen)


def _first_of_each(ids: Any) -> Any:
    """Return the places of the first row of each id; a row without one stands for itself."""
    import numpy as np

    named = ids.to_pandas()
    return np.flatnonzero(~named.duplicated().to_numpy() | named.isna().to_numpy())
