"""Which windows of a log are due, and what a monitor remembers of those that are done."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.records import MonitorState
from tidegate.serving.log_layout import HOUR, open_log_folder
from tidegate.store import read_record

_EPOCH = datetime(2000, 1, 3, tzinfo=UTC)  # a Monday
_FIRST, _LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Due(NamedTuple):
    """Ends of the windows to check now, oldest first; where the log begins; and what is not due."""

    begun_at: datetime | None
    ends: tuple[datetime, ...]
    says: str


def due_windows(
    log_uri: str, state: MonitorState | None, now: datetime, config: MonitorConfig
) -> Due:
    """Return the windows that are complete and not done.

    A window is complete once late rows had their time and the log goes on after its beginning:
    were the clock a year ahead for a moment, the windows to come would not be called empty and
    never looked at again. A clock that went back finds nothing due.
    """
    length = timedelta(days=config.window_days)
    start = _FIRST if state is None else datetime.fromisoformat(state.done_until)
    files = open_log_folder(log_uri).files(start, _LAST)
    if state is None:
        if not files:
            return Due(None, (), "the log holds no rows yet")
        first = files[0].hour - timedelta(hours=config.late_hours)
        start = _EPOCH + (first - _EPOCH) // length * length
        while start + length <= files[0].hour:
            # Rows may be older than their folder; a window without any rows is no beginning.
            start += length
    begun_at = start if state is None else datetime.fromisoformat(state.begun_at)
    if now < start:
        return Due(begun_at, (), f"the clock says {_text(now)}, before the last window's end")
    ends: list[datetime] = []
    newest = max((file.hour + HOUR for file in files), default=start)
    end = start + length
    while end + timedelta(hours=config.late_hours) <= now and newest > end - length:
        ends.append(end)
        end += length
    if newest <= end - length and end <= now:
        says = f"the log holds nothing since {_text(newest)}"
    else:
        due = end + timedelta(hours=config.late_hours)
        says = f"the window until {_text(end)} is due at {_text(due)}"
    return Due(begun_at, tuple(ends), says)


def read_state(path: Path, config: MonitorConfig) -> MonitorState | None:
    """Return what a monitor remembers; None before its first window.

    Raises
    ------
    BadInput
        If the file is not the state of a monitor, or of one with other windows.
    """
    try:
        state = read_record(path, MonitorState)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError):
        mend = "move it away; windows that the log still holds are then checked anew"
        raise BadInput(str(path), "is not the state of a monitor", mend) from None
    if state.window_days != config.window_days:
        raise BadInput(
            "monitor.window_days",
            f"is {config.window_days:g} and {path} goes on from windows of {state.window_days:g}",
            "keep the length, or name another state file",
        )
    return state


def _text(at: datetime) -> str:
    return at.isoformat(timespec="minutes")
