"""The payload log as one stream: every row of the served version once, in the order of time.

Rows of an hour are read once late ones had their time. What is remembered is written whole after
they were read, so a monitor that stops reads them again from where it began.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.config import MonitorConfig
from tidegate.monitoring.check import step_online
from tidegate.monitoring.online_state import fewest_rows
from tidegate.monitoring.online_view import chance
from tidegate.monitoring.served_window import read_served
from tidegate.monitoring.window import read_watched
from tidegate.records import SCORE, OnlineAlarm, OnlineReading, OnlineState
from tidegate.serving.log_layout import HOUR, hour_of, open_log_folder

_AT_ONCE = timedelta(days=1)
_LAST = datetime(9000, 1, 1, tzinfo=UTC)
_ALL_ROWS = 2**31


class Stream(NamedTuple):
    """What one call read, and what is to be remembered; None where nothing was read."""

    reading: OnlineReading
    state: OnlineState | None


def read_stream(
    bundle: Any,
    reference: Path,
    log_uri: str,
    state: OnlineState | None,
    begun_at: datetime | None,
    *,
    now: datetime,
    config: MonitorConfig,
    python: Path,
) -> Stream | None:
    """Read the hours of a log that are complete and not read yet; None without detectors.

    Parameters
    ----------
    bundle : Bundle
        That serves.
    reference : Path
        Of this bundle.
    log_uri : str
        The payload log.
    state : OnlineState or None
        See `tidegate.monitoring.online_state.read_online_state`.
    begun_at : datetime or None
        Where to begin without a state; None where the log is empty.
    now : datetime
        With a time zone.
    config : MonitorConfig
        Its `online` section.
    python : Path
        Interpreter of the drift environment.

    Raises
    ------
    BadInput
        If the log or the reference cannot be read.
    """
    online = config.online
    if not online.detectors:
        return None
    expected = online.expected_run_rows
    start = begun_at if state is None else datetime.fromisoformat(state.read_until)
    until = None if state is None else state.read_until
    if start is None:
        return Stream(_reading(until, 0, expected, "the log holds no rows yet"), None)
    norm = read_watched(reference, min_rows=config.min_rows)
    if len(norm) < fewest_rows(config):
        says = f"the reference has {len(norm):,} rows, online detectors need {fewest_rows(config)}"
        return Stream(_reading(until, 0, expected, says), None)
    rows = 0
    alarms: tuple[OnlineAlarm, ...] = ()
    for since, end in _spans(log_uri, start, now.astimezone(UTC), config):
        seen = _chosen(bundle, log_uri, since, end, config)
        stepped = step_online(
            state,
            norm,
            seen,
            until=end.isoformat(),
            config=config,
            threshold=bundle.manifest.threshold,
            bundle_version=bundle.manifest.version,
            python=python,
        )
        state, alarms, rows = stepped.state, (*alarms, *stepped.alarms), rows + len(seen)
    read_until = None if state is None else state.read_until
    says = f"{rows:,} rows read" if rows else "no rows to read"
    reading = OnlineReading(
        read_until=read_until, rows=rows, expected_run_rows=expected, says=says, alarms=alarms
    )
    return Stream(reading, state)


def _spans(
    log_uri: str, start: datetime, now: datetime, config: MonitorConfig
) -> Iterator[tuple[datetime, datetime]]:
    """Return whole hours that are complete, up to a day at a time.

    None that the log has not gone beyond: a clock that is ahead for a moment skips no row.
    """
    files = open_log_folder(log_uri).files(start, _LAST)
    newest = max((file.hour + HOUR for file in files), default=start)
    end = min(hour_of(now - timedelta(hours=config.late_hours)), newest)
    while start < end:
        last = min(start + _AT_ONCE, end)
        yield start, last
        start = last


def _chosen(
    bundle: Any, log_uri: str, since: datetime, until: datetime, config: MonitorConfig
) -> Any:
    """Return what is watched of at most so many rows an hour, always the same, by time."""
    import pandas as pd

    from tidegate.models.watched import watched_table

    served = read_served(
        log_uri,
        since,
        until,
        columns=bundle.manifest.inputs,
        versions=bundle.manifest.same_scores,
        late_hours=config.late_hours,
        max_rows=_ALL_ROWS,
        seed=config.seed,
    )
    frame = served.frame if not served.reading.absent_columns else served.frame.iloc[:0]
    ids = frame.index.astype(str).tolist()
    times = pd.to_datetime(frame["time"], utc=True)
    lot = pd.DataFrame({"hour": times.dt.floor("h").to_numpy(), "lot": chance(ids, "row")})
    kept = lot.groupby("hour")["lot"].rank(method="first") <= config.online.rows_per_hour
    frame, times = frame[kept.to_numpy(bool)], times[kept.to_numpy(bool)]
    inputs = frame.reset_index(drop=True)
    watched = watched_table(
        bundle.featurizer, bundle.manifest.inputs, inputs, inputs[SCORE].to_numpy()
    )
    said = [at.isoformat() for at in times]
    return watched.assign(id=frame.index.astype(str).to_numpy(object), time=said)


def _reading(until: str | None, rows: int, expected: float, says: str) -> OnlineReading:
    return OnlineReading(read_until=until, rows=rows, expected_run_rows=expected, says=says)
