"""What a request must look like: checked against the bundle's input columns, field by field."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate.records import Column

Reason = Literal[
    "malformed",
    "missing_field",
    "unknown_field",
    "wrong_type",
    "not_finite",
    "wrong_shape",
    "length_mismatch",
    "empty",
    "too_many_rows",
    "too_large",
    "too_slow",
    "overloaded",
]
Value = str | float | None
Row = dict[str, Value]

_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_NUMBERS = _INTEGERS | {"FP32", "FP64", "BOOL"}
_LONGEST_NAME_SHOWN = 60
_STATUS: Mapping[str, int] = {
    "malformed": 400,
    "too_slow": 408,
    "too_large": 413,
    "overloaded": 429,
}


class RequestRefused(Exception):
    """A request that breaks the input schema; the message never repeats a row's content.

    Parameters
    ----------
    reason : str
        One of a closed set of words, fit for a metric's label.
    field : str
        Where in the request, for example ``instances[3].text``.
    problem : str
        The rule and what was found instead.
    """

    def __init__(self, reason: Reason, field: str, problem: str) -> None:
        super().__init__(reason, field, problem)
        self.reason: Reason = reason
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        """Return one line: where and what."""
        return f"{self.field}: {self.problem}"

    @property
    def status(self) -> int:
        """HTTP status: 422 for a body that breaks the schema, another one for each other reason."""
        return _STATUS.get(self.reason, 422)


@dataclass(frozen=True)
class Tensor:
    """One named tensor of the Open Inference Protocol (V2), its values flat or as lists of one."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Sequence[object]


def rows_from_instances(
    instances: object,
    columns: Sequence[Column],
    *,
    max_rows: int,
    optional: Collection[str] = (),
) -> list[Row]:
    """Check the ``instances`` of a V1 request.

    Every instance holds every input column and nothing else; an `optional` one may be left out.
    Text is a string, a category a string or null, a number a finite number, a boolean or null;
    null is a missing value, as is what was left out.

    Raises
    ------
    RequestRefused
        At the first instance and field that break the schema.
    """
    if not isinstance(instances, list):
        raise RequestRefused(
            "wrong_type", "instances", f"must be a list of objects, got {_json_type(instances)}"
        )
    _require_row_count(len(instances), "instances", max_rows)
    known = frozenset(column.name for column in columns)
    return [_row(instance, columns, known, optional, i) for i, instance in enumerate(instances)]


def rows_from_tensors(
    tensors: Sequence[Tensor],
    columns: Sequence[Column],
    *,
    max_rows: int,
    optional: Collection[str] = (),
) -> list[Row]:
    """Check the tensors of a V2 request: one a column, of shape [rows] or [rows, 1].

    Text and categories are BYTES (UTF-8); numbers are FP64, FP32, an integer type or BOOL. The
    tensor of an `optional` column may be left out, and its values are missing then.

    Raises
    ------
    RequestRefused
        At the first tensor that breaks the schema.
    """
    by_name: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name in by_name:
            raise RequestRefused("wrong_shape", f"inputs.{_shown(tensor.name)}", "is given twice")
        by_name[tensor.name] = tensor
    _require_fields(by_name, columns, optional, "inputs")
    _refuse_others(by_name, {column.name for column in columns}, "inputs")
    given = [column for column in columns if column.name in by_name]
    if not given:
        raise RequestRefused("empty", "inputs", "holds no tensor; send at least one")
    counts = {column.name: _row_count(by_name[column.name]) for column in given}
    first = given[0].name
    for name, count in counts.items():
        _require_row_count(count, f"inputs.{name}", max_rows)
        if count != counts[first]:
            raise RequestRefused(
                "length_mismatch",
                f"inputs.{name}",
                f"has {count} rows where inputs.{first} has {counts[first]}",
            )
    nothing: list[Value] = [None] * counts[first]
    values = [
        _tensor_values(by_name[column.name], column) if column.name in by_name else nothing
        for column in columns
    ]
    names = [column.name for column in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _row(
    instance: object,
    columns: Sequence[Column],
    known: frozenset[str],
    optional: Collection[str],
    number: int,
) -> Row:
    where = f"instances[{number}]"
    if not isinstance(instance, dict):
        raise RequestRefused("wrong_type", where, f"must be an object, got {_json_type(instance)}")
    if instance.keys() != known:
        _require_fields(instance, columns, optional, where)
        _refuse_others(instance, known, where)
    return {column.name: _value(instance.get(column.name), column, where) for column in columns}


def _require_fields(
    given: Mapping[str, object],
    columns: Sequence[Column],
    optional: Collection[str],
    where: str,
) -> None:
    for column in columns:
        if column.name not in given and column.name not in optional:
            raise RequestRefused("missing_field", f"{where}.{column.name}", "is required")


def _refuse_others(given: Mapping[str, object], known: Collection[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise RequestRefused(
                "unknown_field",
                f"{where}.{_shown(name)}",
                f"is not an input of this model; its inputs are {', '.join(sorted(known))}",
            )


def _require_row_count(count: int, where: str, max_rows: int) -> None:
    if count == 0:
        raise RequestRefused("empty", where, "holds no rows; send at least one")
    if count > max_rows:
        raise RequestRefused(
            "too_many_rows", where, f"holds {count} rows; send at most {max_rows} a request"
        )


def _value(value: object, column: Column, where: str) -> Value:
    if column.kind == "text" or (column.kind == "categorical" and value is not None):
        # Most texts are plain ASCII, and then there is nothing more to check.
        if isinstance(value, str) and value.isascii():
            return value
        return _string(value, f"{where}.{column.name}")
    return None if value is None else _number(value, f"{where}.{column.name}")


def _string(value: object, where: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise RequestRefused("wrong_type", where, "must be UTF-8 text") from None
    if not isinstance(value, str):
        raise RequestRefused("wrong_type", where, f"must be a string, got {_json_type(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestRefused("wrong_type", where, "holds half a surrogate pair") from None
    return value


def _number(value: object, where: str) -> float:
    if not isinstance(value, int | float):
        raise RequestRefused("wrong_type", where, f"must be a number, got {_json_type(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RequestRefused("not_finite", where, "must be a finite number")
    return number


def _row_count(tensor: Tensor) -> int:
    shape, where = tuple(tensor.shape), f"inputs.{tensor.name}"
    if len(shape) not in (1, 2) or shape[0] < 0 or shape[1:] not in ((), (1,)):
        raise RequestRefused(
            "wrong_shape", where, f"must have shape [rows] or [rows, 1], got {list(shape)[:8]}"
        )
    return shape[0]


def _tensor_values(tensor: Tensor, column: Column) -> list[Value]:
    where = f"inputs.{tensor.name}"
    if column.kind == "numeric":
        if tensor.datatype not in _NUMBERS:
            raise RequestRefused(
                "wrong_type",
                where,
                f"must be FP64, FP32, an integer type or BOOL, got {_shown(tensor.datatype)}",
            )
    elif tensor.datatype != "BYTES":
        raise RequestRefused("wrong_type", where, f"must be BYTES, got {_shown(tensor.datatype)}")
    if len(tensor.values) != tensor.shape[0]:
        raise RequestRefused(
            "wrong_shape",
            where,
            f"says {tensor.shape[0]} rows in its shape but holds {len(tensor.values)} values",
        )
    values: list[Value] = []
    for i, given in enumerate(tensor.values):
        value = _single(given) if len(tensor.shape) == 2 else given
        at = f"{where}[{i}]"
        if column.kind != "numeric":
            values.append(_string(value, at))
            continue
        _require_datatype(value, tensor.datatype, at)
        values.append(_number(value, at))
    return values


def _single(value: object) -> object:
    """Take the value out of a list of one, as JSON clients nest a [rows, 1] tensor."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _require_datatype(value: object, datatype: str, where: str) -> None:
    if datatype == "BOOL":
        fits = isinstance(value, bool)
    elif datatype in _INTEGERS:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise RequestRefused("wrong_type", where, f"must be {datatype}, got {_json_type(value)}")


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _shown(name: object) -> str:
    """Return a client's own word, cut and printable, for a message."""
    text = str(name)
    text = text if len(text) <= _LONGEST_NAME_SHOWN else text[:_LONGEST_NAME_SHOWN] + "…"
    return text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
