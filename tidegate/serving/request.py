"""What a client asks: checked rows, their ids, their segment, and whether to give reasons."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate.records import Column
from tidegate.serving.schema import (
    RequestRefused,
    Row,
    Tensor,
    rows_from_instances,
    rows_from_tensors,
)

Protocol = Literal["v1", "v2"]

#: The V2 tensor of the rows' ids, unless the model has an input of that name.
ROW_ID = "row_id"
_LONGEST_WORD = 256


@dataclass(frozen=True)
class Contract:
    """What a request to one model must keep.

    Parameters
    ----------
    columns : sequence of Column
        The model's inputs.
    history : collection of str
        Inputs that may be left out: a new account has none.
    max_rows, max_explained_rows : int
        Most rows of a request, and of one that asks for reasons.
    """

    columns: Sequence[Column]
    history: Collection[str] = ()
    max_rows: int = 1024
    max_explained_rows: int = 16


@dataclass(frozen=True)
class Asked:
    """A request that keeps the contract.

    Parameters
    ----------
    rows : list of Row
    protocol : Protocol
        Which it came by.
    ids : sequence of str, optional
        The client's own, one a row.
    segment : str, optional
        What the client says of all rows.
    explain : bool
        Whether each score's reasons are wanted.
    unit, arm : str, optional
        Of an experiment: who was assigned, and to which version, for the payload log.
    """

    rows: list[Row]
    protocol: Protocol
    ids: Sequence[str] | None = None
    segment: str | None = None
    explain: bool = False
    unit: str | None = None
    arm: str | None = None


def asked_by_document(document: object, contract: Contract) -> Asked:
    """Check a V1 request: ``{"instances": [...], "ids": [...], "parameters": {...}}``.

    Raises
    ------
    RequestRefused
        At the first part that breaks the contract.
    """
    if not isinstance(document, dict) or "instances" not in document:
        raise RequestRefused("missing_field", "instances", "is required: a list of objects")
    rows = rows_from_instances(
        document["instances"],
        contract.columns,
        max_rows=contract.max_rows,
        optional=contract.history,
    )
    if len(document) == 1:
        return Asked(rows, "v1")
    ids = document.get("ids")
    parameters = _parameters(document.get("parameters"))
    return _bounded(Asked(rows, "v1", _ids(ids, len(rows), "ids"), *parameters), contract)


def asked_by_tensors(tensors: Sequence[Tensor], parameters: object, contract: Contract) -> Asked:
    """Check a V2 request: a tensor an input column, the ids in a tensor `ROW_ID`.

    Raises
    ------
    RequestRefused
        At the first tensor or parameter that breaks the contract.
    """
    ids: Tensor | None = None
    if all(column.name != ROW_ID for column in contract.columns):
        found = [tensor for tensor in tensors if tensor.name == ROW_ID]
        tensors = [tensor for tensor in tensors if tensor.name != ROW_ID]
        if len(found) > 1:
            raise RequestRefused("wrong_shape", f"inputs.{ROW_ID}", "is given twice")
        ids = found[0] if found else None
    rows = rows_from_tensors(
        tensors, contract.columns, max_rows=contract.max_rows, optional=contract.history
    )
    told = None if ids is None else _ids(_texts(ids), len(rows), f"inputs.{ROW_ID}")
    return _bounded(Asked(rows, "v2", told, *_parameters(parameters)), contract)


def _bounded(asked: Asked, contract: Contract) -> Asked:
    if asked.explain and len(asked.rows) > contract.max_explained_rows:
        raise RequestRefused(
            "too_many_rows",
            "parameters.explain",
            f"gives the reasons of at most {contract.max_explained_rows} rows a request",
        )
    return asked


def _parameters(given: object) -> tuple[str | None, bool, str | None, str | None]:
    """Return segment, whether to explain, unit and arm."""
    if given is None:
        return None, False, None, None
    if not isinstance(given, Mapping):
        raise RequestRefused("wrong_type", "parameters", "must be an object")
    explain = given.get("explain", False)
    if not isinstance(explain, bool):
        raise RequestRefused("wrong_type", "parameters.explain", "must be a boolean")
    segment, unit, arm = (
        None if given.get(name) is None else _word(given[name], f"parameters.{name}")
        for name in ("segment", "unit", "arm")
    )
    return segment, explain, unit, arm


def _ids(given: object, rows: int, where: str) -> list[str] | None:
    if given is None:
        return None
    if not isinstance(given, list):
        raise RequestRefused("wrong_type", where, "must be a list of strings")
    if len(given) != rows:
        raise RequestRefused("length_mismatch", where, f"holds {len(given)} ids of {rows} rows")
    return [_word(value, f"{where}[{row}]") for row, value in enumerate(given)]


def _texts(tensor: Tensor) -> list[object]:
    where = f"inputs.{ROW_ID}"
    if tensor.datatype != "BYTES":
        raise RequestRefused("wrong_type", where, "must be BYTES")
    if tuple(tensor.shape) not in {(len(tensor.values),), (len(tensor.values), 1)}:
        raise RequestRefused("wrong_shape", where, "must have shape [rows], a string each")
    nested = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in tensor.values]
    return [_decoded(value) for value in nested]


def _decoded(value: object) -> object:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return None


def _word(value: object, where: str) -> str:
    if not isinstance(value, str) or not _is_unicode(value):
        raise RequestRefused("wrong_type", where, "must be a string of UTF-8")
    if len(value) > _LONGEST_WORD:
        raise RequestRefused("wrong_type", where, f"must have at most {_LONGEST_WORD} characters")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
