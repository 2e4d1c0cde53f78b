"""What a retrain learns from: the recent window, and a memory of the past so that nothing is lost.

Abuse comes back. A model of the last weeks alone forgets what was flagged before them, and authors
return to words that nobody flags any more. The memory keeps rows of every stratum of the past,
the rare ones as well as the common ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import DataConfig, MixConfig
from tidegate.errors import BadInput
from tidegate.records import CLASS, GROUP_PREFIX, LABEL, TIME

Places = npt.NDArray[np.int64]


def mix_training_rows(train: Any, config: DataConfig, how: MixConfig) -> tuple[Any, str]:
    """Return the rows that a retrain learns from, and the mix in words.

    Validation and holdout stay whole, so that retrains are judged by the same rows.

    Parameters
    ----------
    train : pandas.DataFrame
        Training rows of a snapshot, with their times; a row without one counts as old.
    config : DataConfig
        Says which columns are groups.
    how : MixConfig
        The mix.

    Raises
    ------
    BadInput
        If a stratum's column is missing, or one class is left.
    """
    import pandas as pd

    ordered = train.sort_values(TIME, kind="stable", na_position="first")
    begins = ordered[TIME].max() - pd.Timedelta(days=how.recent_days)
    is_recent = (ordered[TIME] > begins).to_numpy(bool)
    strata = pd.DataFrame({LABEL: ordered[LABEL]})
    if CLASS in ordered:
        strata[CLASS] = ordered[CLASS]
    for name in how.strata:
        column = f"{GROUP_PREFIX}{name}" if name in config.groups else name
        if column not in ordered:
            mend = "name a feature column or a group, or mend monitor.trigger.memory_strata"
            raise BadInput("data.mix.strata", f"the training rows have no column {name!r}", mend)
        # A cell may be a list of names.
        strata[f"stratum {name}"] = ordered[column].map(str)
    place = "row of the training table"
    places = strata.assign(**{place: np.arange(len(ordered))})
    chosen = mix(
        places[is_recent],
        places[~is_recent],
        memory_share=how.memory_share,
        strata=list(strata.columns),
        seed=how.seed,
    )[place].to_numpy()
    mixed = ordered.iloc[chosen].reset_index(drop=True)
    if mixed[LABEL].nunique() < 2:
        problem = f"the {len(mixed)} rows of the mix are all of one class"
        raise BadInput("data.mix", problem, "raise recent_days or memory_share")
    recent, past = int(is_recent.sum()), int((~is_recent).sum())
    return mixed, (
        f"training rows are the {recent} of the last {how.recent_days:g} days and "
        f"{len(mixed) - recent} of {past} before them (data.mix)"
    )


def mix(
    recent: Any,
    past: Any,
    *,
    memory_share: float,
    strata: Sequence[str],
    rows: int | None = None,
    seed: int = 0,
) -> Any:
    """Return the rows of a retrain: those of the past that are remembered, then the recent ones.

    Parameters
    ----------
    recent, past : pandas.DataFrame
        With the same columns, each from its oldest row to its newest.
    memory_share : float
        Share of the result that comes from the past, in [0, 1); fewer where the past has fewer.
    strata : sequence of str
        Columns, the label's first; each combination of their values is a stratum of the past.
    rows : int, optional
        Most rows of the result; the newest ones of the recent window are kept. None: all of the
        recent window.
    seed : int
        Of the draw from the past. The same tables and seed give the same rows.

    Returns
    -------
    pandas.DataFrame
        Past rows in their order, then recent rows in theirs, with a fresh index.

    Raises
    ------
    ValueError
        If a share, a number of rows or a column cannot be.
    """
    import pandas as pd

    if not 0 <= memory_share < 1:
        raise ValueError(f"memory_share must be in [0, 1), got {memory_share}; write 0.5")
    if rows is not None and rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    absent = [name for name in strata if name not in past.columns]
    if absent and len(past):
        raise ValueError(
            f"the past has no column {absent[0]!r}; mend monitor.trigger.memory_strata"
        )
    wanted = len(recent) * memory_share / (1 - memory_share)
    if rows is not None:
        wanted = min(wanted, rows * memory_share)
    remembered = min(len(past), round(wanted))
    if rows is not None:
        recent = recent.tail(rows - remembered)
    places = _stratified(past, strata, remembered, seed)
    return pd.concat([past.iloc[places], recent], ignore_index=True)


def allocate(sizes: Sequence[int], total: int) -> list[int]:
    """Share `total` rows among strata as evenly as their sizes allow.

    What a small stratum cannot fill goes to the larger ones; a remainder goes to the largest
    first. No two strata that have rows left differ by more than one.

    Examples
    --------
    >>> allocate([2, 50, 10], 20)
    [2, 9, 9]
    """
    given = [0] * len(sizes)
    left = min(total, sum(sizes))
    while left:
        open_strata = [i for i, size in enumerate(sizes) if given[i] < size]
        each = left // len(open_strata)
        if each == 0:
            for i in sorted(open_strata, key=lambda i: (-sizes[i], i))[:left]:
                given[i] += 1
            break
        for i in open_strata:
            more = min(each, sizes[i] - given[i])
            given[i] += more
            left -= more
    return given


def _stratified(past: Any, strata: Sequence[str], rows: int, seed: int) -> Places:
    """Return the places of the rows that are remembered, in their order."""
    if rows == 0:
        return np.empty(0, dtype=np.int64)
    if strata:
        number = past.groupby(list(strata), dropna=False, sort=False).ngroup().to_numpy()
    else:
        number = np.zeros(len(past), dtype=np.int64)
    members = [np.flatnonzero(number == stratum) for stratum in range(number.max() + 1)]
    rng = np.random.default_rng(seed)
    counts = allocate([len(places) for places in members], rows)
    drawn = [rng.permutation(places)[:count] for places, count in zip(members, counts, strict=True)]
    return np.sort(np.concatenate(drawn)).astype(np.int64)
