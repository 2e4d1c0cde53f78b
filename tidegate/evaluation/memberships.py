"""Which groups each row belongs to: a cell names one, several or none."""

from typing import Any

import numpy as np
import numpy.typing as npt

#: The rows whose group is unknown: reported under this name, never judged.
NO_GROUP = "(none)"

_ONE_VALUE_KINDS = frozenset({"string", "integer", "boolean", "floating", "empty"})


def members_of(holdout: Any, column: str) -> dict[str, npt.NDArray[np.int64]]:
    """Return the positions of each group's rows; a row may belong to several groups."""
    names, rows, codes = memberships(holdout[column])
    return {name: rows[codes == code] for code, name in enumerate(names)}


def memberships(column: Any) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the group names of a column, and for every membership its row and its group.

    A row of a list stands there once a distinct name; one without any under `NO_GROUP`.
    """
    import pandas as pd

    rows = np.arange(len(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, found = column.cat.codes.to_numpy(dtype=np.int64), list(column.cat.categories)
    elif column.dtype.kind in "iub":
        codes, found = pd.factorize(column.to_numpy())
    else:
        values = column.to_numpy(dtype=object)
        if pd.api.types.infer_dtype(values, skipna=True) not in _ONE_VALUE_KINDS:
            lists = [_members(cell) for cell in values]
            rows = np.repeat(rows, [len(names) for names in lists])
            values = np.array([name for names in lists for name in names], dtype=object)
        codes, found = pd.factorize(values)
    if codes.size and isinstance(column.dtype, pd.CategoricalDtype):
        used = np.flatnonzero(np.bincount(codes + 1, minlength=len(found) + 1)[1:])
        if used.size < len(found):
            codes = np.where(codes < 0, codes, np.searchsorted(used, codes))
            found = [found[int(code)] for code in used]
    names = [str(name) for name in found]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(names), codes)
        names.append(NO_GROUP)
    return names, rows, codes


def _members(cell: Any) -> list[str]:
    """Return the groups of a row, each once."""
    many = isinstance(cell, (list, tuple, set, frozenset, np.ndarray))
    values = list(cell) if many else [cell]
    # NaN and NaT are the values that differ from themselves.
    known = {str(value) for value in values if value is not None and value == value}
    return sorted(known) or [NO_GROUP]
