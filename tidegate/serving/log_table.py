"""From served rows to a table of the payload log: sampled, redacted, and of one schema."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import PayloadLogConfig
from tidegate.data.sources import require_column
from tidegate.records import Column
from tidegate.records.serving import INPUT_PREFIX, PAYLOAD_COLUMNS
from tidegate.serving.keyed_draw import keyed_digest, uniform

_NUMBERS = frozenset({"score", "threshold", "action_probability"})
_FLAGS = frozenset({"explored"})
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True)
class LogTable:
    """A table for one file, and how many values did not fit their column and were left out."""

    table: Any
    misfits: int


class LogSchema:
    """What of a row is kept, and under which type.

    Parameters
    ----------
    config : PayloadLogConfig
        Sampling and redaction.
    columns : sequence of Column, optional
        The model's inputs. Without them every input in a row is kept, as what its values are.
    key : bytes
        Secret of the sample and of digests; empty where neither is configured.

    Raises
    ------
    BadInput
        If a redacted column is none of `columns`: a typo there would keep what must not be kept.
    """

    def __init__(
        self, config: PayloadLogConfig, columns: Sequence[Column] | None, key: bytes
    ) -> None:
        self._sample, self._redact, self._key = config.sample, config.redact, key
        if columns is not None:
            names = [column.name for column in columns]
            for name in config.redact:
                require_column(name, names, "serving.payload_log.redact")
        self._kinds = None if columns is None else {c.name: c.kind for c in columns}

    def keeps(self, identity: str) -> bool:
        """Whether the row of this id is in the sample, as it is on every server and for ever."""
        return self._sample >= 1.0 or uniform(self._key, "sample", identity) < self._sample

    def table(
        self, rows: Sequence[Mapping[str, Any]], *, give_way: Callable[[], None] = lambda: None
    ) -> LogTable:
        """Return the table of rows that each hold `event_id` and `time`; other names are ignored.

        A value that does not fit its column becomes null and is counted: the row is worth more
        than the value. `give_way` is called after each column, for threads that wait.
        """
        import pyarrow as pa

        fields, arrays, misfits = [], [], 0
        for name, kind in [*_payload_kinds(), *self._input_kinds(rows)]:
            values = [row.get(name) for row in rows]
            bare = name.removeprefix(INPUT_PREFIX)
            if name.startswith(INPUT_PREFIX) and self._redact.get(bare) == "hash":
                values, kind = [self._digest(bare, value) for value in values], "text"
            array, odd = _array(values, kind)
            fields.append(pa.field(name, array.type))
            arrays.append(array)
            misfits += odd
            give_way()
        return LogTable(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), misfits)

    def _input_kinds(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        if self._kinds is not None:
            kinds: dict[str, str] = {
                f"{INPUT_PREFIX}{name}": kind for name, kind in self._kinds.items()
            }
        else:
            names = {n for row in rows for n in row if n.startswith(INPUT_PREFIX)}
            kinds = {name: _found_kind([row.get(name) for row in rows]) for name in sorted(names)}
        dropped = {f"{INPUT_PREFIX}{n}" for n, how in self._redact.items() if how == "drop"}
        return [(name, kind) for name, kind in kinds.items() if name not in dropped]

    def _digest(self, name: str, value: Any) -> str | None:
        return None if value is None else keyed_digest(self._key, f"redact {name}", _text(value))


def payload_schema() -> Any:
    """Return the Arrow schema of the columns that every row has."""
    import pyarrow as pa

    return pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in _payload_kinds()])


def _arrow_type(kind: str) -> Any:
    import pyarrow as pa

    types = {"numeric": pa.float64(), "flag": pa.bool_(), "time": pa.timestamp("us", tz="UTC")}
    return types.get(kind, pa.string())


def _payload_kinds() -> list[tuple[str, str]]:
    def kind(name: str) -> str:
        if name in _NUMBERS:
            return "numeric"
        return "flag" if name in _FLAGS else "time" if name == "time" else "text"

    return [(name, kind(name)) for name in PAYLOAD_COLUMNS]


def _found_kind(values: Sequence[Any]) -> str:
    """Return what a column is whose type nobody stated: numbers if it holds nothing else."""
    given = [value for value in values if value is not None]
    return "numeric" if given and all(isinstance(v, int | float) for v in given) else "text"


def _array(values: list[Any], kind: str) -> tuple[Any, int]:
    """Return an Arrow array of the values, and how many did not fit.

    ``pyarrow.array`` imports pandas, which a server may have no use for: the buffers are made here.
    """
    try:
        return _fitting(values, kind), 0
    except (TypeError, ValueError, OverflowError):  # UnicodeEncodeError is a ValueError
        convert = {"numeric": _number, "flag": _flag, "time": instant}.get(kind, _text)
        converted = [None if value is None else convert(value) for value in values]
        odd = sum(b is None for a, b in zip(values, converted, strict=True) if a is not None)
        return _fitting(converted, kind), odd


def _fitting(values: list[Any], kind: str) -> Any:
    import pyarrow as pa

    type_ = _arrow_type(kind)
    if type_ == pa.string():
        builder = pa.lib.StringBuilder()
        builder.append_values(values)
        return builder.finish()
    given = np.array([value is not None for value in values], dtype=bool)
    filled: npt.NDArray[Any]
    if kind == "numeric":
        filled = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
        if filled.ndim != 1:
            raise ValueError("a list is no number")
    elif kind == "flag":
        if not all(isinstance(value, bool | None) for value in values):
            raise TypeError("not a flag")
        filled = np.packbits(np.array(values, dtype=bool), bitorder="little")
    else:
        # Whole microseconds, whatever the zone: this is UTC's own count.
        counts = [0 if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
        filled = np.array(counts, dtype=np.int64)
    mask = None if given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
    return pa.Array.from_buffers(type_, len(values), [mask, pa.py_buffer(filled)])


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return None


def _flag(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | int) else None


def instant(value: Any) -> datetime | None:
    """Return a time in UTC: an aware datetime, a naive one in UTC, or ISO 8601; else None."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        value = json.dumps(value, default=str, sort_keys=True)
    # Half of a surrogate pair, which JSON can escape and no file can hold.
    return str(value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
