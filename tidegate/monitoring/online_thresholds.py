"""Where an online detector alarms, so that false alarms are as far apart as is stated.

Streams without any change are simulated, and each is followed to its first alarm: rows followed
over alarms is the run time that a threshold has. Run times beyond what is simulated come from the
line that the tails of these statistics follow: thresholds rise with the logarithm of the run time.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

#: A simulation's run times are trusted where so many streams alarmed.
_FEWEST_ALARMS = 40
_TAIL = (40, 60, 90, 135, 200)
_HALVINGS = 40


def run_rows_at(threshold: float, statistics: Values) -> float:
    """Return the mean number of rows to an alarm at a threshold; infinity where none alarms.

    Parameters
    ----------
    threshold : float
    statistics : array, shape (streams, rows)
        Without change. A stream that does not alarm was followed to its end: rows over alarms is
        the mean of run times that are as good as memoryless.
    """
    alarmed = statistics > threshold
    first = np.where(alarmed.any(axis=1), alarmed.argmax(axis=1) + 1, statistics.shape[1])
    alarms = int(alarmed.any(axis=1).sum())
    return float(first.sum()) / alarms if alarms else float("inf")


def threshold_for(
    run_rows: float,
    statistics: Values,
    *,
    to_line: Callable[[float], float] = float,
    from_line: Callable[[float], float] = float,
) -> float:
    """Return the smallest threshold whose mean run is at least so many rows.

    Parameters
    ----------
    run_rows : float
        Mean rows from the start, or the last alarm, to the next false alarm.
    statistics : array, shape (streams, rows)
        Of simulated streams without change.
    to_line, from_line : callable
        To the scale on which thresholds rise with the logarithm of the run time, and back.
    """
    enough = statistics.size / _FEWEST_ALARMS
    if run_rows <= enough:
        return _solved(run_rows, statistics)
    runs = [statistics.size / alarms for alarms in _TAIL if alarms < len(statistics)]
    if len(runs) < 2:
        raise ValueError("too few streams were simulated")
    at = [to_line(_solved(run, statistics)) for run in runs]
    slope, base = np.polyfit(np.log(runs), at, 1)
    return from_line(float(base + max(slope, 0.0) * np.log(run_rows)))


def _solved(run_rows: float, statistics: Values) -> float:
    low, high = 0.0, float(statistics[np.isfinite(statistics)].max())
    most = statistics.max(axis=1)
    order = np.sort(most)
    low = min(low, float(order[0]))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if run_rows_at(middle, statistics) >= run_rows:
            high = middle
        else:
            low = middle
    return high
