"""A threshold for each segment of the content, all promises kept together.

The share of the risk that a segment may spend is its part of ``1 - confidence``, at first the
same for all (Bonferroni). A segment whose promise holds down to its last row has nothing left to
test: its share passes to the others in equal parts, and they are tested again at what they then
have. That is a graphical procedure, and keeps all promises together with `confidence` whatever the
segments have to do with each other.

References
----------
Bretz, Maurer, Brannath and Posch, "A graphical approach to sequentially rejective multiple test
procedures", Statistics in Medicine 28, 2009.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tidegate.config import PolicyConfig
from tidegate.decision_rule import segment_name
from tidegate.evaluation.crossfit import Rows
from tidegate.evaluation.objectives import Choice, choose
from tidegate.records import SegmentThreshold, Threshold


def choose_by_segment(
    rows: Rows, segments: Sequence[object] | npt.NDArray[np.object_], policy: PolicyConfig
) -> tuple[SegmentThreshold, ...]:
    """Choose a threshold for every segment under one risk budget.

    Parameters
    ----------
    rows : Rows
        Score, label and weight of the validation rows.
    segments : sequence, shape (n,)
        Each row's segment; rows without one (None, NaN) belong to the segment ``(none)``.
    policy : PolicyConfig
        The objective; `confidence` is for all segments together.

    Returns
    -------
    tuple of SegmentThreshold
        By name. A segment whose share of the risk shows nothing has no threshold: nothing is
        acted on there.
    """
    names = np.array([segment_name(value) for value in segments], dtype=object)
    members = {name: names == name for name in sorted(set(names))}
    parts = {
        name: (rows[0][inside], rows[1][inside], rows[2][inside])
        for name, inside in members.items()
    }
    found = choose_together(parts, dict.fromkeys(parts, policy))
    return tuple(
        SegmentThreshold(
            segment=name,
            rows=int(members[name].sum()),
            violating=int(rows[1][members[name]].sum()),
            risk=spent,
            threshold=choice.threshold,
            best_reachable=choice.best,
        )
        for name, (spent, choice) in sorted(found.items())
    )


def choose_together(
    parts: Mapping[str, Rows], policies: Mapping[str, PolicyConfig]
) -> dict[str, tuple[float, Choice]]:
    """Choose a threshold for each part, all promises together at the policies' one confidence.

    Parameters
    ----------
    parts : mapping
        Score, label and weight of each part's rows; parts may share rows.
    policies : mapping
        What each part's threshold must keep.

    Returns
    -------
    dict
        The risk that each part spent, and its choice.
    """
    found: dict[str, tuple[float, Choice]] = {}
    still_open = list(parts)
    risk = {name: (1 - policies[name].confidence) / len(still_open) for name in still_open}
    while still_open:
        for name in still_open:
            own = policies[name].model_copy(update={"confidence": 1 - risk[name]})
            found[name] = (risk[name], choose(parts[name], own))
        done = [
            name
            for name in still_open
            if policies[name].objective == "max_recall"
            and _exhausted(found[name][1].threshold, parts[name][0].size)
        ]
        still_open = [name for name in still_open if name not in done]
        if not done:
            break
        for name in still_open:
            risk[name] += sum(risk[other] for other in done) / len(still_open)
    return found


def _exhausted(threshold: Threshold | None, rows: int) -> bool:
    return threshold is not None and threshold.flagged == rows
