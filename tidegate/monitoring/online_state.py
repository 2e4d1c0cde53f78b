"""One step of the online detectors: what they remember and new rows in, what they then know out."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.online import OnlineEngine, follow, streams_of
from tidegate.monitoring.online_view import Rows, View
from tidegate.records import OnlineAlarm, OnlineState
from tidegate.store import digest_bytes, read_record

_REMEMBERED = 200
# So many of the reference's rows must be left to simulate streams from.
_FEWEST_WINDOWS = 5


class Stepped(NamedTuple):
    """The state after some rows, and the alarms in between."""

    state: OnlineState
    alarms: tuple[OnlineAlarm, ...]


def fewest_rows(config: MonitorConfig) -> int:
    """Return how many rows a reference must have for online detectors."""
    return _FEWEST_WINDOWS * config.online.window_rows[-1]


def step(
    state: OnlineState | None,
    reference: Any,
    rows: Any,
    *,
    until: str,
    engine: OnlineEngine,
    config: MonitorConfig,
    threshold: float | None,
    bundle_version: str,
) -> Stepped:
    """Read rows in their order.

    Parameters
    ----------
    state : OnlineState or None
        What is remembered. Thresholds are simulated without it, or if it is of another bundle or
        of other settings.
    reference : DataFrame
        Watched columns.
    rows : DataFrame
        The same of new rows, and ``id`` and ``time`` (text).
    until : str
        Up to where the log has then been read.
    engine : OnlineEngine
        Whose statistics.
    config : MonitorConfig
        Its `online` section, `max_rows` and `seed`.
    threshold : float or None
        From which on a row is flagged.
    bundle_version : str
    """
    online = config.online
    view = View(
        reference,
        threshold=threshold,
        window=online.window_rows[-1],
        kernel_rows=config.max_rows,
        seed=config.seed,
    )
    seen = view.of(rows, rows["id"].astype(str).tolist())
    settings = f"{online.model_dump_json()} {config.max_rows} {config.seed} {threshold} {view.rows}"
    digest = digest_bytes(settings.encode())
    usable = state is not None and (state.bundle_version, state.settings_digest) == (
        bundle_version,
        digest,
    )
    if state is not None and usable:
        streams, latest = state.streams, _rows(state, view)
    else:
        streams, latest = streams_of(view, online, seed=config.seed), seen.cut(0, 0)
    found = follow(
        streams,
        latest,
        seen,
        rows["time"].astype(str).tolist(),
        view=view,
        engine=engine,
        config=online,
    )
    before = () if state is None else state.alarms
    after = OnlineState(
        bundle_version=bundle_version,
        settings_digest=digest,
        read_until=until,
        rows=len(rows) + (0 if state is None else state.rows),
        streams=found.streams,
        latest={name: _cells(part) for name, part in found.latest._asdict().items()},
        alarms=(*before, *found.alarms)[-_REMEMBERED:],
    )
    return Stepped(after, found.alarms)


def read_online_state(path: Path) -> OnlineState | None:
    """Return what the online detectors remember; None before their first row.

    Raises
    ------
    BadInput
        If the file is not such a state.
    """
    try:
        return read_record(path, OnlineState)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError):
        mend = "move it away; rows that the log still holds are then read anew"
        raise BadInput(str(path), "is not the state of online detectors", mend) from None


def _rows(state: OnlineState, view: View) -> Rows:
    widths = {"points": view.components, "places": len(view.numbers), "marks": len(view.shares)}
    return Rows(
        **{
            name: np.array(state.latest[name], dtype=np.float64).reshape(-1, width)
            if width
            else np.empty((len(state.latest[name]), 0))
            for name, width in widths.items()
        }
    )


def _cells(part: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in part.tolist())
