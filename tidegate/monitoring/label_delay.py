"""How long labels take to come back, as a stream that is watched: a queue that grows shows here.

Labels are compared by when they came, not by when their posts were made: of recent posts only the
quick labels are there, which would look like a change whenever one looks. Delays beyond
`monitor.label_days` are left out on both sides, and nothing is said before the log is old enough
to hold all others.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.check import compare_tables
from tidegate.records import LABEL_DELAY, LabelDelay
from tidegate.serving.log_reader import read_log

_ID, _ROW, _TIME, _ARRIVED = "event_id", "row_id", "time", "labelled_at"
_AT_ONCE = timedelta(days=1)


def read_arrivals(source: str) -> Any:
    """Return when labels came, a Series of UTC times under their ids, the first of an id.

    None where the table has no column ``labelled_at``.

    Raises
    ------
    BadInput
        If there is no such table, or most of the column is not a time.
    """
    import pandas as pd

    from tidegate.data.ingest import read_source

    table = read_source([source], as_text=(_ROW, _ID, "id"))
    key = next((name for name in (_ROW, _ID, "id") if name in table), None)
    if key is None or _ARRIVED not in table:
        return None
    at = pd.to_datetime(table[_ARRIVED], utc=True, errors="coerce", format="ISO8601")
    told = table[_ARRIVED].notna()
    if told.any() and at[told].isna().mean() > 0.5:
        raise BadInput(f"{source}: {_ARRIVED}", "is not a time", "write times as 2026-01-31T05:00Z")
    known = (at.notna() & table[key].notna()).to_numpy(bool)
    ids = pd.Index(table[key][known].astype(str))
    found = pd.Series(pd.DatetimeIndex(at[known]), index=ids).sort_values(kind="stable")
    return found[~found.index.duplicated()]


def check_label_delay(
    log_uri: str,
    arrivals: Any,
    window: tuple[datetime, datetime],
    *,
    begun_at: datetime,
    level: float,
    config: MonitorConfig,
    bundle_version: str,
    python: Path,
) -> LabelDelay | None:
    """Test the delays of labels that came in a window against those of the weeks before.

    Parameters
    ----------
    log_uri : str
        The payload log, which says when a post was made, whatever version judged it.
    arrivals : Series
        See `read_arrivals`.
    window : tuple of datetime
        Its beginning and end.
    begun_at : datetime
        Where the log begins.
    level : float
        Of this test.
    config : MonitorConfig
        `label_days` is how far the reference reaches back, and the longest delay.
    bundle_version : str
    python : Path
        Interpreter of the drift environment.

    Returns
    -------
    LabelDelay or None
        None while there are too few labels, or the log is too young.
    """
    import pandas as pd

    since, until = window
    longest = timedelta(days=config.label_days)
    start = max(since - longest, begun_at + longest)
    if start >= since:
        return None
    came = arrivals[(arrivals >= start) & (arrivals < until)]
    posted = _posted(log_uri, start - longest, until, came.index, config)
    came = came.reindex(posted.index)
    delay = came - posted
    fair = (delay >= pd.Timedelta(0)) & (delay <= longest)
    hours = delay[fair] / pd.Timedelta(hours=1)
    late = came[fair] >= since
    before, after = hours[~late], hours[late]
    if min(len(before), len(after)) < config.min_rows:
        return None
    tables = [pd.DataFrame({LABEL_DELAY: side.to_numpy()}) for side in (before, after)]
    report = compare_tables(
        tables[0],
        tables[1],
        bundle_version=bundle_version,
        config=config,
        python=python,
        level=level,
    )
    return LabelDelay(
        test=report.tests[0],
        labels=len(after),
        reference_labels=len(before),
        median_hours=float(after.median()),
        reference_median_hours=float(before.median()),
    )


def _posted(log_uri: str, since: datetime, until: datetime, ids: Any, config: MonitorConfig) -> Any:
    """Return when the posts of some labels were made, under their ids, the first time of each."""
    import pandas as pd

    found = []
    for start, end in _days(since, until):
        late = 3600 * config.late_hours
        rows, _ = read_log(log_uri, start, end, [_ID, _ROW, _TIME], late_seconds=late)
        names = rows[_ROW].where(rows[_ROW].notna(), rows[_ID]).astype(str)
        wanted = names.isin(ids).to_numpy(bool)
        times = pd.DatetimeIndex(pd.to_datetime(rows[_TIME][wanted], utc=True))
        found.append(pd.Series(times, index=pd.Index(names[wanted])))
    joined = pd.concat(found)
    return joined[~joined.index.duplicated()]


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    while since < until:
        yield since, min(since + _AT_ONCE, until)
        since += _AT_ONCE
