"""Where the model is worst: slices found by themselves, and the errors it is most sure of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import PolicyConfig
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.memberships import NO_GROUP, memberships
from tidegate.records import SLICE_PREFIX, ConfidentError, SliceCondition, WorstSlice

# How many a reader looks at; every slice that was looked at counts in the correction.
_SHOWN = 10
_ERRORS_SHOWN = 20
# A column of more values than this names rows, not slices.
_MOST_VALUES = 200


@dataclass(frozen=True)
class _Literals:
    """Conditions ``column = value`` and who meets them, sparse, shape (rows, conditions)."""

    names: Sequence[SliceCondition]
    members: Any


def worst_slices(
    holdout: Any,
    *,
    groups: Sequence[str],
    threshold: float | FloatArray | None,
    policy: PolicyConfig,
) -> tuple[WorstSlice, ...]:
    """Find slices of the holdout whose scores are further from the truth than elsewhere.

    Slices are the values of the group columns and of the columns under `SLICE_PREFIX`, and what
    two values of different columns have in common. A slice's loss is its mean squared error of
    the score (its Brier score); it is compared with that of all other rows.

    Parameters
    ----------
    holdout : DataFrame
        A scored table.
    groups : sequence of str
        The group columns.
    threshold : float, array or None
        For the rates beside the loss; one for all rows, or one a row.
    policy : PolicyConfig
        `min_group_rows`: smaller slices are not looked at. `confidence`: of the slices told, at
        most the rest are expected to be no worse than others (false-discovery rate).

    Returns
    -------
    tuple of WorstSlice
        At most ten, largest effect first; a pair of conditions is told only where it is worse
        than either alone.

    References
    ----------
    Chung et al., "Slice Finder: automated data slicing for model validation", ICDE 2019 (loss
    against the other rows, effect size, Welch's test). Benjamini and Hochberg, "Controlling the
    false discovery rate", JRSS B 57, 1995.
    """
    from scipy.stats import false_discovery_control

    score, label, _ = rows_of(holdout, "holdout")
    found = _literals(holdout, groups, policy.min_group_rows)
    if not found.names:
        return ()
    flagged = None if threshold is None else score >= threshold
    loss = (score - label) ** 2
    n = _shared(found.members, np.ones_like(loss))
    total, squares = _shared(found.members, loss), _shared(found.members, loss**2)
    first, second = np.triu_indices(len(found.names))
    other_column = np.array(
        [
            i == j or found.names[int(i)].column != found.names[int(j)].column
            for i, j in zip(first, second, strict=True)
        ]
    )
    inside = n[first, second]
    enough = (inside >= policy.min_group_rows) & (loss.size - inside >= policy.min_group_rows)
    kept = np.flatnonzero(enough & other_column)
    if not kept.size:
        return ()
    first, second = first[kept], second[kept]
    effect, p = _against_rest(n[first, second], total[first, second], squares[first, second], loss)
    adjusted = false_discovery_control(p)
    alone = {int(i): float(e) for i, j, e in zip(first, second, effect, strict=True) if i == j}
    told = []
    for place in np.argsort(-effect, kind="stable"):
        i, j = int(first[place]), int(second[place])
        if adjusted[place] > 1 - policy.confidence or effect[place] <= 0:
            continue
        if i != j and effect[place] <= max(alone.get(i, np.inf), alone.get(j, np.inf)):
            continue
        rows = found.members[:, [i]].multiply(found.members[:, [j]]).toarray().ravel() > 0
        conditions = (found.names[i],) if i == j else (found.names[i], found.names[j])
        told.append(
            WorstSlice(
                conditions=conditions,
                n=int(rows.sum()),
                violating=int(label[rows].sum()),
                loss=float(loss[rows].mean()),
                loss_elsewhere=float(loss[~rows].mean()),
                effect_size=float(effect[place]),
                p_adjusted=float(adjusted[place]),
                looked_at=int(kept.size),
                **({} if flagged is None else _rates(flagged[rows], label[rows])),
            )
        )
        if len(told) == _SHOWN:
            break
    return tuple(told)


def confident_errors(
    holdout: Any, threshold: float | FloatArray | None
) -> tuple[ConfidentError, ...]:
    """Return the rows whose score is furthest from their label: errors, or labels to look at.

    Parameters
    ----------
    holdout : DataFrame
        A scored table; without ``id`` the row number names a row. No text is read or returned.
    threshold : float, array or None
        One for all rows, or one a row. Only harmless rows at or above it and violating rows below
        it are errors; without one, 0.5 stands in.
    """
    score, label, _ = rows_of(holdout, "holdout")
    cut = 0.5 if threshold is None else threshold
    wrong = np.flatnonzero((score >= cut) != (label == 1))
    ids = holdout["id"].to_numpy() if "id" in holdout.columns else np.arange(len(holdout))
    found = []
    for side in (0, 1):
        own = wrong[label[wrong] == side]
        order = np.argsort(-np.abs(score[own] - side), kind="stable")[:_ERRORS_SHOWN]
        found += [
            ConfidentError(id=str(ids[row]), label=side, score=float(score[row]))
            for row in own[order]
        ]
    return tuple(found)


def _literals(holdout: Any, groups: Sequence[str], min_rows: int) -> _Literals:
    """Return the conditions that enough rows meet."""
    from scipy import sparse

    names: list[SliceCondition] = []
    blocks = []
    for column, title in _columns(holdout, groups):
        values, rows, codes = memberships(holdout[column])
        if len(values) > _MOST_VALUES:
            continue
        counts = np.bincount(codes, minlength=len(values))
        kept = [v for v, name in enumerate(values) if counts[v] >= min_rows and name != NO_GROUP]
        if not kept:
            continue
        shape = (len(holdout), len(values))
        block = sparse.csc_matrix((np.ones(rows.size), (rows, codes)), shape=shape)
        blocks.append(block[:, kept])
        names += [SliceCondition(column=title, value=values[v]) for v in kept]
    return _Literals(names, sparse.hstack(blocks).tocsc() if blocks else None)


def _columns(holdout: Any, groups: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from ((group, group) for group in groups)
    for column in map(str, holdout.columns):
        if column.startswith(SLICE_PREFIX) and column.removeprefix(SLICE_PREFIX) not in groups:
            yield column, column.removeprefix(SLICE_PREFIX)


def _shared(members: Any, values: FloatArray) -> FloatArray:
    """Sum a figure over the rows that meet both of every two conditions, shape (s, s)."""
    return np.asarray((members.T @ members.multiply(values[:, None])).todense(), dtype=np.float64)


def _against_rest(
    n: FloatArray, total: FloatArray, squares: FloatArray, loss: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return effect sizes and one-sided p-values of Welch's test, slices against the rest."""
    from scipy.special import stdtr

    rest = loss.size - n
    mean, other = total / n, (loss.sum() - total) / rest
    spread = np.maximum(squares / n - mean**2, 0.0)
    other_spread = np.maximum((float((loss**2).sum()) - squares) / rest - other**2, 0.0)
    effect = (mean - other) / np.sqrt(np.maximum((spread + other_spread) / 2, 1e-12))
    own, theirs = spread / np.maximum(n - 1, 1), other_spread / np.maximum(rest - 1, 1)
    error = np.maximum(own + theirs, 1e-18)
    freedom = error**2 / np.maximum(
        own**2 / np.maximum(n - 1, 1) + theirs**2 / np.maximum(rest - 1, 1), 1e-36
    )
    return effect, stdtr(np.maximum(freedom, 1.0), -(mean - other) / np.sqrt(error))


def _rates(flagged: npt.NDArray[np.bool_], label: FloatArray) -> dict[str, float | None]:
    sides = {"precision": flagged, "recall": label == 1, "fpr": label == 0}
    hits = {
        "precision": flagged & (label == 1),
        "recall": flagged & (label == 1),
        "fpr": flagged & (label == 0),
    }
    return {
        name: float(hits[name].sum() / rows.sum()) if rows.any() else None
        for name, rows in sides.items()
    }
