"""Training rows weighted by group: parted from the label, or where the model serves them badly.

Weights only: a group never becomes a feature.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Of the method, not of a policy: raking settles in a few passes where it settles at all.
_PASSES, _SETTLED = 100, 1e-6
# How far one refit's losses move the weights of groups, and what a certain error may cost at most.
_STEP, _EDGE = 2.0, 1e-3

FloatArray = npt.NDArray[np.float64]

#: Rows of one group and one label: the column, the group, the label.
Cell = tuple[str, str, int]


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


def resampled(weight: npt.ArrayLike, *, seed: int) -> FloatArray:
    """Return the weights of as many rows drawn with replacement, each as likely as it weighs.

    Parameters
    ----------
    weight : array, shape (n,)
        From `reweighed`.
    seed : int
        Of the draw.

    Returns
    -------
    array, shape (n,)
        How often each row was drawn, of the same sum as `weight`.

    References
    ----------
    Kamiran and Calders, 2012, as `reweighed` (sampling).
    """
    share = np.asarray(weight, dtype=np.float64)
    drawn = np.random.default_rng(seed).multinomial(share.size, share / share.sum())
    return np.asarray(drawn * (float(share.sum()) / share.size), dtype=np.float64)


def group_losses(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    groups: Mapping[str, Sequence[Any]],
    weight: npt.ArrayLike,
) -> dict[Cell, float]:
    """Return the mean log-loss of each group's violating and other rows."""
    inside = np.clip(np.asarray(score, dtype=np.float64), _EDGE, 1 - _EDGE)
    y, share = np.asarray(label, dtype=np.int64), np.asarray(weight, dtype=np.float64)
    loss = -np.where(y == 1, np.log(inside), np.log1p(-inside))
    return {
        cell: float(np.average(loss[rows], weights=share[rows]))
        for cell, rows in _cells(y, groups).items()
        if share[rows].sum() > 0
    }


def group_weights(
    label: npt.ArrayLike,
    groups: Mapping[str, Sequence[Any]],
    weight: npt.ArrayLike,
    losses: Sequence[Mapping[Cell, float]],
) -> FloatArray:
    """Return training weights that grow with what each group has lost so far.

    Parameters
    ----------
    label : array, shape (n,)
        0 or 1.
    groups : mapping
        As for `reweighed`; a row of several groups takes their mean, one of none keeps its weight.
    weight : array, shape (n,)
        What the rows count without this.
    losses : sequence of mapping
        From `group_losses`, one of every refit so far; without any, the weights stay.

    Returns
    -------
    array, shape (n,)
        Of the same sum as `weight`.

    References
    ----------
    Sagawa, Koh, Hashimoto and Liang, "Distributionally robust neural networks for group shifts",
    ICLR 2020 (exponentiated gradient on the groups).
    """
    y, share = np.asarray(label, dtype=np.int64), np.asarray(weight, dtype=np.float64)
    raised, memberships = np.zeros(share.size), np.zeros(share.size)
    for cell, rows in _cells(y, groups).items():
        total = sum(found.get(cell, 0.0) for found in losses)
        raised[rows] += np.exp(_STEP * total)
        memberships[rows] += 1
    factor = np.where(memberships > 0, raised / np.maximum(memberships, 1), 1.0)
    grouped = memberships > 0
    found = share * factor
    if grouped.any():
        found[grouped] *= float(share[grouped].sum()) / float(found[grouped].sum())
    return found


def _cells(
    y: npt.NDArray[np.int64], groups: Mapping[str, Sequence[Any]]
) -> dict[Cell, npt.NDArray[np.int64]]:
    found = {}
    for column, values in groups.items():
        for name, rows in _named_members(values).items():
            for label in (0, 1):
                own = rows[y[rows] == label]
                if own.size:
                    found[column, name, label] = own
    return found


def _members(column: Sequence[Any]) -> list[npt.NDArray[np.int64]]:
    """Return the rows of every group."""
    return list(_named_members(column).values())


def _named_members(column: Sequence[Any]) -> dict[str, npt.NDArray[np.int64]]:
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(column):
        many = isinstance(cell, (list, tuple, set, frozenset, np.ndarray))
        # NaN differs from itself.
        for name in {str(v) for v in (cell if many else [cell]) if v is not None and v == v}:
            rows.setdefault(name, []).append(row)
    return {name: np.array(rows[name], dtype=np.int64) for name in sorted(rows)}
