"""Training rows weighted so that no group and label go together more than chance has it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Of the method, not of a policy: raking settles in a few passes where it settles at all.
_PASSES, _SETTLED = 100, 1e-6

FloatArray = npt.NDArray[np.float64]


def reweighed(
    label: npt.ArrayLike, groups: Mapping[str, Sequence[Any]], weight: npt.ArrayLike
) -> FloatArray:
    """Return training weights under which label and group are independent.

    Every group gets the share of violating rows that all rows with a group have, so that what a
    model learns from the mere mention of a group is gone; a group's weight in all stays. With one
    group a row this is reweighing, P(g) P(y) / P(g, y), in one pass. Rows of several groups have
    it one group after the other, again and again until nothing moves (raking).

    Parameters
    ----------
    label : array, shape (n,)
        0 or 1.
    groups : mapping
        A sequence of n cells a column: a name, several names, or None (such rows keep their
        weight). A group that has one label only keeps its weights too.
    weight : array, shape (n,)
        Not negative; what the rows count without this.

    Returns
    -------
    array, shape (n,)
        Of the same sum as `weight`.

    References
    ----------
    Kamiran and Calders, "Data preprocessing techniques for classification without
    discrimination", Knowledge and Information Systems 33, 2012 (reweighing). Deming and Stephan,
    "On a least squares adjustment of a sampled frequency table when the expected marginal totals
    are known", Annals of Mathematical Statistics 11, 1940 (raking).
    """
    y, found = np.asarray(label, dtype=np.int64), np.array(weight, dtype=np.float64)
    members = [rows for column in groups.values() for rows in _members(column)]
    if not members:
        return found
    grouped = np.unique(np.concatenate(members))
    share = float(np.average(y[grouped], weights=found[grouped]))
    for _ in range(_PASSES):
        moved = 0.0
        for rows in members:
            mass = np.bincount(y[rows], found[rows], minlength=2)
            if mass.min() > 0:
                factor = mass.sum() * np.array([1 - share, share]) / mass
                found[rows] *= factor[y[rows]]
                moved = max(moved, float(np.abs(factor - 1).max()))
        if moved < _SETTLED:
            break
    # Raking keeps each group's sum only while its turn lasts.
    found[grouped] *= float(np.sum(np.asarray(weight)[grouped])) / float(found[grouped].sum())
    return found


def _members(column: Sequence[Any]) -> list[npt.NDArray[np.int64]]:
    """Return the rows of every group."""
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(column):
        many = isinstance(cell, (list, tuple, set, frozenset, np.ndarray))
        # NaN differs from itself.
        for name in {str(v) for v in (cell if many else [cell]) if v is not None and v == v}:
            rows.setdefault(name, []).append(row)
    return [np.array(rows[name], dtype=np.int64) for name in sorted(rows)]
