"""Which rows train, validate and test: published columns and time, group and random rules."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.config import SplitRule
from tidegate.errors import BadInput
from tidegate.records import SPLITS

#: Position of a split in `SPLITS`; `UNDECIDED` marks a row that belongs to none.
Codes = npt.NDArray[np.int8]
TRAIN, VALIDATION, HOLDOUT = range(3)
UNDECIDED = -1

_SPELLINGS = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "test": HOLDOUT,
    "holdout": HOLDOUT,
}


def read_published(values: Sequence[object], column: str) -> Codes:
    """Read a column that names the split of every row, whatever its case.

    Returns
    -------
    Codes
        `UNDECIDED` where the value is missing or not a split's name.

    Raises
    ------
    BadInput
        If no row names a split.
    """
    codes = np.fromiter(
        (_SPELLINGS.get(str(value).strip().casefold(), UNDECIDED) for value in values),
        dtype=np.int8,
        count=len(values),
    )
    if len(codes) and (codes == UNDECIDED).all():
        raise BadInput(
            "data.split",
            f"no row of column {column!r} says train, validation or test",
            "name another column, or write a rule such as split: {by: random}",
        )
    return codes


def split_by_time(times: npt.NDArray[np.int64], rule: SplitRule) -> Codes:
    """Give the oldest rows to training and the newest to the holdout; equal times stay together.

    Parameters
    ----------
    times : ndarray of int64, shape (rows,)
        Any count that grows with time.
    """
    ordered = np.sort(times)
    rows = len(ordered)
    first_validation = _nearest_edge(ordered, round(rows * (1 - rule.validation - rule.holdout)))
    first_holdout = _nearest_edge(ordered, round(rows * (1 - rule.holdout)))
    codes = np.full(rows, TRAIN, dtype=np.int8)
    if first_validation < rows:
        codes[times >= ordered[first_validation]] = VALIDATION
    if first_holdout < rows:
        codes[times >= ordered[first_holdout]] = HOLDOUT
    return codes


def _nearest_edge(ordered: npt.NDArray[np.int64], position: int) -> int:
    """Move a cut to the nearest place between two different times."""
    if position <= 0 or position >= len(ordered):
        return position
    before = int(np.searchsorted(ordered, ordered[position], side="left"))
    after = int(np.searchsorted(ordered, ordered[position], side="right"))
    return before if position - before <= after - position else after


def split_by_group(groups: Sequence[str], rule: SplitRule) -> Codes:
    """Keep rows of one group together, with sizes within one group of the asked shares.

    Groups come in the order of a keyed hash and each goes to the split that lacks most rows, so
    the result depends on the values and the seed, not on the order of the rows.
    """
    positions, names = pd.factorize(np.asarray(groups, dtype=object))
    counts = np.bincount(positions, minlength=len(names))
    missing = np.array(_shares(rule)) * len(positions)
    draws = _draws(names, rule.seed)
    of_group = np.empty(len(names), dtype=np.int8)
    for index in np.argsort(draws, kind="stable"):
        target = int(np.argmax(missing))
        of_group[index] = target
        missing[target] -= counts[index]
    codes: Codes = of_group[positions]
    return codes


def split_at_random(ids: Sequence[str], rule: SplitRule) -> Codes:
    """Draw a split for each row from a keyed hash of its id, so that new rows move no old one."""
    draws = _draws(ids, rule.seed)
    train, validation, _ = _shares(rule)
    codes = np.full(len(draws), HOLDOUT, dtype=np.int8)
    codes[draws < train + validation] = VALIDATION
    codes[draws < train] = TRAIN
    return codes


def _shares(rule: SplitRule) -> tuple[float, float, float]:
    return (1 - rule.validation - rule.holdout, rule.validation, rule.holdout)


def _draws(keys: Sequence[str], seed: int) -> npt.NDArray[np.float64]:
    """Return one number in [0, 1) a key."""
    secret = str(seed).encode()
    digests = b"".join(
        hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=secret, digest_size=8).digest()
        for key in keys
    )
    # 53 bits are what a double holds exactly.
    return (np.frombuffer(digests, dtype=">u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


_MENDS = {
    "time": "give that part a larger share, add labelled rows, or write split: {by: random}",
    "group": "give that part a larger share, add labelled groups, or change split.seed",
    "random": "give that part a larger share, add labelled rows, or change split.seed",
    "column": "mend the split column, or write a rule such as split: {by: random}",
}


def require_both_classes(codes: Codes, labels: npt.NDArray[np.int8], rule: str) -> None:
    """Raise `BadInput` when a split has no row or lacks a class.

    Parameters
    ----------
    rule : str
        ``time``, ``group``, ``random`` or ``column``: how the splits were made.
    """
    for code, name in enumerate(SPLITS):
        here = labels[codes == code]
        violating = int(here.sum())
        if violating and violating < len(here):
            continue
        lacking = "rows" if not len(here) else "violating rows" if not violating else "benign rows"
        raise BadInput("data.split", f"the {name} part has no {lacking}", _MENDS[rule])
