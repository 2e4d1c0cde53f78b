"""Sparse rows made and joined from arrays that are known to be in order.

SciPy checks, sorts and copies whatever it is given: for one row of a request that takes ten times
as long as the figures themselves. The matrices are the same ones, entry by entry.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[Any]

# Beyond so many entries SciPy's own joining needs less memory, and its checks cost nothing.
_MOST_ENTRIES = 2_000_000
_FEW_ROWS = 128


def csr_of(data: Floats, indices: Places, indptr: Places, shape: tuple[int, int]) -> Any:
    """Return a CSR matrix of arrays that keep its rules: rows in order, columns ascending."""
    if shape[0] <= _FEW_ROWS:
        # A copy of an empty matrix takes a twentieth of the time of a new one.
        matrix = object.__new__(sparse.csr_matrix)
        matrix.__dict__.update(_empty(shape).__dict__)
    else:
        matrix = sparse.csr_matrix(shape, dtype=np.float32)
    matrix.data = data
    matrix.indices = indices.astype(np.int32, copy=False)
    matrix.indptr = indptr.astype(np.int32, copy=False)
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def one_row(data: Floats, indices: Places, width: int) -> Any:
    """Return a CSR matrix of one row, its columns ascending."""
    return csr_of(data, indices, np.array([0, indices.size]), (1, width))


def counted(row: Places, column: Places, shape: tuple[int, int]) -> Any:
    """Return how often each pair of row and column occurs, CSR float32."""
    is_one_row = shape[0] == 1
    keys = column.astype(np.int64) if is_one_row else row.astype(np.int64) * shape[1] + column
    keys.sort()
    is_first = np.empty(keys.size, dtype=bool)
    is_first[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    first = np.flatnonzero(is_first)
    counts = np.empty(first.size, dtype=np.float32)
    np.subtract(first[1:], first[:-1], out=counts[:-1])
    counts[-1:] = keys.size - first[-1:]
    if is_one_row:
        return csr_of(counts, keys[first], np.array([0, first.size]), shape)
    row_of, indices = np.divmod(keys[first], shape[1])
    return csr_of(counts, indices, _indptr(row_of, shape[0]), shape)


def of_dense(table: Floats) -> Any:
    """Return the entries of a dense table that are not zero, CSR float32."""
    row, column = np.nonzero(table)
    return csr_of(table[row, column], column, _indptr(row, len(table)), table.shape)


def joined(parts: Sequence[Any]) -> Any:
    """Return matrices of the same rows side by side, CSR float32, columns ascending."""
    parts = [sparse.csr_matrix(part) if _is_other(part) else part for part in parts]
    if parts[0].shape[0] == 1 and all(part.has_sorted_indices for part in parts):
        return _joined_row(parts)
    if len(parts) == 1 and parts[0].has_sorted_indices:
        return parts[0]
    ordered = all(part.has_sorted_indices and part.dtype == np.float32 for part in parts)
    if not ordered or sum(part.nnz for part in parts) > _MOST_ENTRIES:
        X = sparse.hstack(parts, format="csr")
        X.sort_indices()
        return X
    rows = parts[0].shape[0]
    starts = np.cumsum([0, *(part.shape[1] for part in parts)])
    data = np.concatenate([part.data for part in parts])
    indices = np.concatenate(
        [part.indices + start for part, start in zip(parts, starts.tolist(), strict=False)]
    )
    indptr = np.sum([part.indptr for part in parts], axis=0)
    if rows > 1:
        row_of = np.concatenate([_row_of(part) for part in parts])
        order = np.argsort(row_of, kind="stable")
        data, indices = data[order], indices[order]
    return csr_of(data, indices, indptr, (rows, int(starts[-1])))


def _joined_row(parts: Sequence[Any]) -> Any:
    indices, width = [], 0
    for part in parts:
        indices.append(part.indices + width if width else part.indices)
        width += part.shape[1]
    data = np.concatenate([part.data for part in parts], dtype=np.float32)
    return one_row(data, np.concatenate(indices), width)


def picked(X: Any, columns: Places) -> Any:
    """Return some columns, given ascending, of a CSR matrix whose columns ascend, less zeros."""
    place_of = np.full(X.shape[1], -1, dtype=np.int32)
    place_of[columns] = np.arange(columns.size, dtype=np.int32)
    places = place_of[X.indices]
    kept = np.flatnonzero((places >= 0) & (X.data != 0))
    before = np.searchsorted(kept, X.indptr)
    return csr_of(X.data[kept], places[kept], before, (X.shape[0], columns.size))


@functools.lru_cache(maxsize=1024)
def _empty(shape: tuple[int, int]) -> Any:
    return sparse.csr_matrix(shape, dtype=np.float32)


def _is_other(part: Any) -> bool:
    return not (sparse.issparse(part) and part.format == "csr")


def _row_of(matrix: Any) -> Places:
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _indptr(row_of: Places, rows: int) -> Places:
    """Return where each row begins, given the row of every entry in order."""
    return np.searchsorted(row_of, np.arange(rows + 1))
