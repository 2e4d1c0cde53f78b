"""What a filter before a heavy model does to scores, and how far load may open it.

Evaluation measures with these functions what serving will do with them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tidegate.records import PassThroughPoint

FloatArray = npt.NDArray[np.float64]


def stops(light: FloatArray, pass_through: float) -> npt.NDArray[np.bool_]:
    """Return which rows the heavy model never sees: those whose light score is below."""
    # A comparison with NaN is false: a row without a light score goes to the heavy model.
    return np.asarray(light < pass_through, dtype=np.bool_)


def filtered_scores(light: FloatArray, heavy: FloatArray, pass_through: float) -> FloatArray:
    """Return the cascade's scores: the light one of a row that stops, else the heavy one.

    The light model learned to say what the heavy one would, so both are on one scale. A stopped
    row scores below `pass_through`, which lies at or below the threshold: it is never flagged.
    """
    return np.where(stops(light, pass_through), light, heavy)


def pass_through_at(curve: Sequence[PassThroughPoint], load: float) -> float:
    """Return from which light score on rows pass at a load.

    Between two points of the curve the line between them is taken: it stops no more rows than
    the point of the higher load, so that the promise of that point holds.

    Parameters
    ----------
    curve : sequence of PassThroughPoint
        By ascending load, from 0 to 1; pass-through scores never fall.
    load : float
        0 is the promise itself, 1 the most that overload may cost; beyond both ends the end holds.
    """
    loads = [point.load for point in curve]
    return float(np.interp(load, loads, [point.pass_through for point in curve]))


def load_of_queue(waiting: int, *, comfortable: int, full: int) -> float:
    """Return the load that a queue stands for: 0 up to `comfortable` rows, 1 from `full` on.

    Examples
    --------
    >>> load_of_queue(30, comfortable=20, full=40)
    0.5
    """
    return float(np.clip((waiting - comfortable) / max(1, full - comfortable), 0.0, 1.0))
