"""Which rows of a reference a window is compared with: those of the same season, where it can be.

A Monday noon window differs from a year's average without anything having changed. Reference rows
are thinned until their weekdays and hours (else their weekdays) come in the window's proportions;
that keeps them real rows, which tests that know no weights can read.
"""

from typing import Any, NamedTuple

import numpy as np

_DAY_HOURS, _BLOCK_HOURS = 24, 6
# A reference of one week has each weekday once: a busy Monday would stand for all. Rows of whole
# weeks span a little less than these.
_FEWEST_DAYS, _SLACK_DAYS = 14.0, 0.25


class Norm(NamedTuple):
    """The rows to compare with, and which these are in words."""

    rows: Any
    says: str


def matching_rows(reference: Any, times: Any, *, min_rows: int, seed: int) -> Norm:
    """Return the reference rows whose season is that of a window.

    Parameters
    ----------
    reference : DataFrame
        With `time` where the snapshot had it.
    times : Series of datetime
        Of the window's rows, UTC.
    min_rows : int
        A thinned reference has at least so many rows and half as many as the window, or all rows
        are taken.
    seed : int
        Of the thinning.
    """
    import pandas as pd

    if "time" not in reference or not len(times):
        return Norm(reference, "all reference rows: they have no time")
    known = pd.to_datetime(reference["time"], utc=True, errors="coerce")
    span = (known.max() - known.min()) / pd.Timedelta(days=1)
    if not span + _SLACK_DAYS >= _FEWEST_DAYS:
        return Norm(reference, "all reference rows: they span under two weeks")
    seen = pd.Series(pd.to_datetime(np.asarray(times), utc=True))
    fewest = max(min_rows, min(len(seen), len(reference)) // 2)
    for name, keys in (
        ("weekday and quarter of a day", _weekdays_and_blocks),
        ("weekday", _weekdays),
    ):
        there, here = keys(known), keys(seen)
        if _alike(there, here, known, seen):
            return _whole_weeks(reference, known, span, name)
        chosen = _thinned(there, here, seed=seed)
        if len(chosen) >= fewest:
            return Norm(
                reference.iloc[chosen].reset_index(drop=True),
                f"{len(chosen):,} of {len(reference):,} reference rows, of the same {name}",
            )
    return Norm(reference, "all reference rows: too few are of the same weekdays")


def _whole_weeks(reference: Any, known: Any, span: float, name: str) -> Norm:
    """Leave out the oldest rows, which would count some weekdays once more than others."""
    import pandas as pd

    weeks = int((span + _SLACK_DAYS) / 7)
    first = known.max() - pd.Timedelta(days=7 * weeks)
    rows = reference[(known > first).to_numpy()]
    if len(rows) == len(reference):
        return Norm(reference, f"all reference rows: each {name} comes as often as in them")
    return Norm(
        rows.reset_index(drop=True),
        f"{len(rows):,} of {len(reference):,} reference rows: the latest {weeks} whole weeks",
    )


def _weekdays_and_blocks(times: Any) -> Any:
    blocks = times.dt.hour // _BLOCK_HOURS
    return (times.dt.dayofweek * (_DAY_HOURS // _BLOCK_HOURS) + blocks).fillna(-1).astype(int)


def _weekdays(times: Any) -> Any:
    return times.dt.dayofweek.fillna(-1).astype(int)


def _alike(there: Any, here: Any, known: Any, seen: Any) -> bool:
    """Whether a window spans whole weeks, which a season cannot tell from the reference."""
    days = (seen.max() - seen.min()).total_seconds() / 86_400
    strata = len(set(here)) >= len(set(there))
    weeks = round(days / 7)
    return bool(strata and weeks >= 1 and abs(days / 7 - weeks) < 1 / 7)


def _thinned(there: Any, here: Any, *, seed: int) -> np.ndarray:
    """Return places of rows whose strata come in the window's proportions, as many as there can."""
    shares = here.value_counts(normalize=True)
    counts = there.value_counts().reindex(shares.index).fillna(0)
    most = float((counts / shares).min())
    rng = np.random.default_rng(seed)
    strata = there.to_numpy()
    kept = [
        rng.choice(np.flatnonzero(strata == stratum), size=int(most * share), replace=False)
        for stratum, share in shares.items()
        if int(most * share) > 0
    ]
    return np.sort(np.concatenate(kept)) if kept else np.array([], dtype=int)
