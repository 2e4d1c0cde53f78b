"""Quality that slips quietly: every retrain passes its gate, and each is a little worse.

Each decision holds a candidate against the one before it, within a margin; a long series can lose
many margins. The history of every retrain on the same fixed rows shows it.
"""

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from tidegate.records import PastEvaluation, Signal

#: With fewer retrains even a steady fall could be chance at the levels that are asked for.
FEWEST = 5
# Up to so many values all orders are looked at; beyond, so many are drawn.
_EXACT, _DRAWS = 7, 20_000


def slope_test(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """Return the slope a step of a series, and how often chance alone falls as steeply.

    The p-value is one-sided and exact up to 7 values, a Monte Carlo one beyond: the share of
    orders of the same values whose least-squares slope is at most the observed one. It assumes
    no distribution, only that without a trend every order is equally likely.

    References
    ----------
    Phipson and Smyth, "Permutation p-values should never be zero", Statistical Applications in
    Genetics and Molecular Biology 9, 2010.

    Examples
    --------
    >>> slope, p_value = slope_test([0.9, 0.8, 0.7, 0.6, 0.5])
    >>> round(slope, 3), round(p_value * 120)
    (-0.1, 1)
    """
    series = np.asarray(values, dtype=np.float64)
    if series.size < 2:
        return 0.0, 1.0
    steps = np.arange(series.size) - (series.size - 1) / 2
    observed = float(steps @ series)
    slope = observed / float(steps @ steps)
    # Equal values in another order give the same sum up to rounding.
    tolerance = 1e-12 * max(1.0, float(np.abs(series).sum()))
    if series.size <= _EXACT:
        orders = np.array(list(permutations(range(series.size))))
        falls = int((series[orders] @ steps <= observed + tolerance).sum())
        return slope, falls / math.factorial(series.size)
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(series, (_DRAWS, 1)), axis=1)
    falls = int((drawn @ steps <= observed + tolerance).sum())
    return slope, (1 + falls) / (1 + _DRAWS)


def slipping_quality(
    history: Sequence[PastEvaluation], *, model: str, confidence: float
) -> Signal | None:
    """Say that retrains get worse on the rows that the latest one was judged by, or None.

    Parameters
    ----------
    history : sequence of PastEvaluation
        Oldest first, as `tidegate.evaluation.history.read_history` returns it. Where the latest
        has a golden set, its figures are compared, else the holdout's; retrains on other rows
        are left out.
    model : str
    confidence : float
        One minus the chance of a false alarm at one retrain.
    """
    if not history:
        return None
    latest = history[-1]
    if latest.golden is not None:
        rows, digest = "golden set", latest.golden.digest
        same = [e for e in history if e.golden is not None and e.golden.digest == digest]
        values = [e.golden.average_precision for e in same if e.golden is not None]
    else:
        rows, digest = "holdout", latest.holdout_digest
        same = [e for e in history if e.holdout_digest == digest]
        values = [e.average_precision for e in same]
    if len(values) < FEWEST:
        return None
    slope, p_value = slope_test(values)
    if slope >= 0 or p_value > 1 - confidence:
        return None
    return Signal(
        model=model,
        window=latest.run_digest,
        cause="slipping_quality",
        says=f"average precision on the same {rows} fell from {values[0]:.3f} to {values[-1]:.3f} "
        f"over {len(values)} retrains ({slope:+.4f} each, p = {p_value:.4f})",
        evidence={
            "rows": rows,
            "digest": digest,
            "average_precision": values,
            "evaluated_at": [entry.evaluated_at for entry in same],
            "slope": slope,
            "p_value": p_value,
        },
    )
