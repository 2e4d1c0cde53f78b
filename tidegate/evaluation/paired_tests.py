"""Two models at their operating points on the same rows: what only one of them gets right."""

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.intervals import FloatArray, exact_tail
from tidegate.records import Discordance


def mcnemar(
    flagged: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], label: FloatArray
) -> dict[str, Discordance]:
    """Count the rows that one model gets right and the other wrong, with an exact p-value.

    Parameters
    ----------
    flagged, other : arrays of bool, shape (n,)
        What the candidate flags, what the baseline flags. Rows are counted, not weighted.
    label : array, shape (n,)
        0 or 1.

    Returns
    -------
    dict
        ``violating`` (who catches more), ``harmless`` (who flags fewer wrongly), ``all``.

    References
    ----------
    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12, 1947; the exact binomial form.
    """
    key = flagged * np.int8(4) + other * np.int8(2) + label.astype(np.int8)
    # Axes: the candidate flags, the baseline flags, the post violates.
    counts = np.bincount(key, minlength=8).reshape(2, 2, 2)
    sides: dict[str, tuple[int, ...]] = {
        "violating": (counts[1, 0, 1], counts[0, 1, 1], counts[..., 1].sum()),
        "harmless": (counts[0, 1, 0], counts[1, 0, 0], counts[..., 0].sum()),
    }
    violating, harmless = sides.values()
    sides["all"] = tuple(a + b for a, b in zip(violating, harmless, strict=True))
    found = {}
    for name, (candidate, baseline, rows) in sides.items():
        differing = int(candidate + baseline)
        tail = float(exact_tail(max(candidate, baseline), differing, 0.5)) if differing else 1.0
        found[name] = Discordance(
            rows=int(rows),
            candidate_right=int(candidate),
            baseline_right=int(baseline),
            p_value=min(1.0, 2 * tail),
        )
    return found
