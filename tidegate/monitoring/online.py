"""Online detectors: rows one after the other, each once, and a stated run between false alarms.

All that a detector remembers are its latest rows and how many it has read since it began or last
alarmed, so reading a stream in parts is reading it whole.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tidegate.config import OnlineConfig
from tidegate.monitoring.online_statistics import cvm, fet, gaussian, mmd
from tidegate.monitoring.online_thresholds import threshold_for
from tidegate.monitoring.online_view import Rows, View
from tidegate.records import OnlineAlarm, OnlineStream

Values = npt.NDArray[np.float64]

_LENGTH, _AT_ONCE, _BLOCK = 1000, 50, 500
# Simulated rows: as many as give this many false alarms, between these bounds.
_ALARMS, _FEWEST, _MOST = 80, 100_000, 1_000_000
_TIES = 1e-3
_MORE, _LESS = " more", " less"


class OnlineEngine(Protocol):
    """Statistics of a stream's rows; `config.window_rows` latest ones are looked at."""

    name: str

    def statistic(self, stream: OnlineStream, view: View, rows: Rows) -> Values:
        """Return a stream's statistic at each of its rows, the first of which began it."""


class OpenOnline:
    """Statistics by NumPy and scipy; see `tidegate.monitoring.online_statistics`."""

    name = "open"

    def __init__(self, config: OnlineConfig) -> None:
        self._windows = config.window_rows

    def statistic(self, stream: OnlineStream, view: View, rows: Rows) -> Values:
        """See `OnlineEngine`."""
        if stream.detector == "mmd":
            points = np.concatenate([view.first, rows.points])
            found = self._mmd(view, points[None, :, :])[0]
            return np.asarray(found[len(view.first) :])
        if stream.detector == "cvm":
            places = rows.places[:, view.numbers.index(stream.feature)]
            return np.asarray(cvm(places[None, :], view.rows, self._windows)[0])
        name, more = direction_of(stream)
        marks = rows.marks[:, view.shares.index(name)]
        return np.asarray(
            fet(marks[None, :], view.marked[name], view.rows, self._windows, more=more)[0]
        )

    def _mmd(self, view: View, points: Values) -> Values:
        window = self._windows[-1]
        kernel = np.stack([gaussian(rows, rows, view.width) for rows in points])
        cross = np.stack([gaussian(rows, view.norm, view.width).mean(axis=1) for rows in points])
        lags = np.zeros((*cross.shape, window - 1), dtype=np.float32)
        for lag in range(1, min(window, points.shape[1])):
            lags[:, lag:, lag - 1] = np.diagonal(kernel, -lag, axis1=1, axis2=2)
        return mmd(cross, lags, window, view.within)


class Followed(NamedTuple):
    """Streams and latest rows after some more rows, and the alarms in between."""

    streams: tuple[OnlineStream, ...]
    latest: Rows
    alarms: tuple[OnlineAlarm, ...]


def streams_of(view: View, config: OnlineConfig, *, seed: int) -> tuple[OnlineStream, ...]:
    """Return what is followed, with thresholds from simulated streams.

    The detectors share the false alarms evenly, and each one's streams share its part: with one
    in `expected_run_rows` rows, k detectors have one in k times as many each.
    """
    named: dict[str, list[str]] = {
        "mmd": ["components"] if view.components else [],
        "cvm": list(view.numbers),
        "fet": [f"{name}{side}" for name in view.shares for side in (_MORE, _LESS)],
    }
    used = [detector for detector in config.detectors if named[detector]]
    rng = np.random.default_rng(seed)
    found = []
    for detector in used:
        run_rows = config.expected_run_rows * len(used) * len(named[detector])
        shared: float | None = None
        for feature in named[detector]:
            stream = OnlineStream(
                detector=detector, feature=feature, threshold=0.0, run_rows=run_rows
            )
            # A rank statistic is of any feature alike.
            if shared is None or detector == "fet":
                shared = _threshold(stream, view, config, rng)
            found.append(stream.model_copy(update={"threshold": shared}))
    return tuple(found)


def follow(
    streams: Sequence[OnlineStream],
    latest: Rows,
    rows: Rows,
    times: Sequence[str],
    *,
    view: View,
    engine: OnlineEngine,
    config: OnlineConfig,
) -> Followed:
    """Read rows in their order and tell of every alarm; a detector that alarmed begins anew.

    Parameters
    ----------
    streams : sequence of OnlineStream
        As they were left.
    latest : Rows
        The latest rows before these.
    rows : Rows
    times : sequence of str
        Of each of these rows, for alarms.
    view, engine, config
        How they are seen and judged.
    """
    keep = 2 * config.window_rows[-1]
    alarms: list[OnlineAlarm] = []
    for start in range(0, len(times), _BLOCK):
        part = rows.cut(start, start + _BLOCK)
        after = []
        for stream in streams:
            left, found = _read(stream, latest, part, view, engine, keep)
            after.append(left)
            for place, since, statistic in found:
                alarms.append(
                    OnlineAlarm(
                        detector=stream.detector,
                        feature=stream.feature,
                        at=times[start + place],
                        rows=since,
                        statistic=statistic,
                        threshold=stream.threshold,
                    )
                )
        streams = after
        latest = latest.joined(part)
        latest = latest.cut(max(0, len(latest.points) - keep))
    return Followed(tuple(streams), latest, tuple(sorted(alarms, key=lambda alarm: alarm.at)))


def direction_of(stream: OnlineStream) -> tuple[str, bool]:
    """Return the share that a Fisher stream follows, and whether it looks for more of it."""
    name, _, side = stream.feature.rpartition(" ")
    return name, side == _MORE.strip()


def _read(
    stream: OnlineStream, latest: Rows, part: Rows, view: View, engine: OnlineEngine, keep: int
) -> tuple[OnlineStream, list[tuple[int, int, float]]]:
    """Return a stream after some rows; of each alarm its place, the rows read, the statistic."""
    found: list[tuple[int, int, float]] = []
    known = min(stream.rows, len(latest.points), keep)
    since, start, total = stream.rows, 0, len(part.points)
    before = latest.cut(len(latest.points) - known)
    while start < total:
        history = before.joined(part.cut(start))
        seen = engine.statistic(stream, view, history)[len(before.points) :]
        over = np.flatnonzero(seen > stream.threshold)
        if not len(over):
            since += total - start
            break
        place = int(over[0])
        found.append((start + place, since + place + 1, float(seen[place])))
        start, since, before = start + place + 1, 0, before.cut(0, 0)
    return stream.model_copy(update={"rows": since}), found


def _threshold(
    stream: OnlineStream, view: View, config: OnlineConfig, rng: np.random.Generator
) -> float:
    """Return where a stream alarms once in `run_rows` rows, if nothing changes."""
    simulated = np.concatenate(list(_simulated(stream, view, config, rng)))
    if stream.detector == "fet":
        found = threshold_for(
            stream.run_rows,
            simulated,
            to_line=lambda value: -np.log(max(1 - value, 1e-15)),
            from_line=lambda value: float(1 - np.exp(-value)),
        )
        # The statistic has few values: one that is as high as this may not alarm by its rounding.
        return found + max(_TIES * (1 - found), 1e-7)
    return threshold_for(stream.run_rows, simulated)


def _simulated(
    stream: OnlineStream, view: View, config: OnlineConfig, rng: np.random.Generator
) -> Iterator[Values]:
    """Return statistics of streams without change, shape (streams, rows), some at a time."""
    windows, n = config.window_rows, view.rows
    simulated = min(max(_ALARMS * stream.run_rows, _FEWEST), _MOST)
    for _ in range(round(simulated / (_LENGTH * _AT_ONCE))):
        shape = (_AT_ONCE, _LENGTH)
        if stream.detector == "cvm":
            # Another reference would have been as good: each stream has its own.
            known = np.sort(rng.random((_AT_ONCE, n)), axis=1)
            seen = rng.random(shape)
            below = [np.searchsorted(k, s) for k, s in zip(known, seen, strict=True)]
            yield cvm(np.array(below) - 0.5, n, windows)
        elif stream.detector == "fet":
            name, more = direction_of(stream)
            marked = view.marked[name]
            share = rng.beta(marked + 1, n - marked + 1, size=(_AT_ONCE, 1))
            marks = (rng.random(shape) < share).astype(np.float64)
            yield fet(marks, marked, n, windows, more=more)
        else:
            yield _simulated_mmd(view, windows[-1], rng)


def _simulated_mmd(view: View, window: int, rng: np.random.Generator) -> Values:
    """Draw streams from reference rows that the detector is not compared with."""
    others = gaussian(view.others, view.others, view.width)
    to_norm = gaussian(view.others, view.norm, view.width).mean(axis=1)
    drawn = rng.integers(len(view.others), size=(_AT_ONCE, _LENGTH))
    lags = np.zeros((*drawn.shape, window - 1), dtype=np.float32)
    for lag in range(1, window):
        lags[:, lag:, lag - 1] = others[drawn[:, lag:], drawn[:, :-lag]]
    return mmd(to_norm[drawn], lags, window, view.within)
