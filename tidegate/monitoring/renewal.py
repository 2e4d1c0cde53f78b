"""Whether the threshold in service is still the one for the posts that come next.

The share of violating posts moves from week to week without anything being wrong: no alarm, and yet
this week's flagged posts miss the floor, or too few are flagged. A threshold for the next window
costs no label (`tidegate.evaluation.next_window`), so it may be asked for at the end of each.
"""

from typing import Any

from tidegate.config import PolicyConfig
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.next_window import next_window_threshold
from tidegate.records import SCORE, NextWindow, Signal, WindowCheck


def next_window(
    reference: Any, window: Any, *, policy: PolicyConfig, threshold: float | None
) -> NextWindow | None:
    """Return the threshold for a window like this one; None where the policy fixes no precision.

    Parameters
    ----------
    reference : DataFrame
        Labelled rows of the bundle's reference, both classes among them.
    window : DataFrame
        What was served, scored; the next window is expected to hold as many rows.
    policy : PolicyConfig
        Its floor and confidence, here of the window's own precision.
    threshold : float or None
        In service.
    """
    if policy.objective != "max_recall":
        return None
    found = next_window_threshold(
        rows_of(reference, "drift reference"),
        window[SCORE],
        upcoming=len(window),
        min_precision=policy.min_precision,
        confidence=policy.confidence,
    )
    return NextWindow(
        threshold=found.threshold,
        precision=found.precision,
        precision_lower_bound=found.precision_lower_bound,
        recall=found.recall,
        flagged=int((window[SCORE] >= found.threshold).sum()),
        flagged_in_service=0 if threshold is None else int((window[SCORE] >= threshold).sum()),
    )


def renewal_signal(check: WindowCheck, *, changed: float | None) -> Signal | None:
    """Ask for the next window's threshold where it decides otherwise about enough posts.

    Parameters
    ----------
    check : WindowCheck
        The latest one.
    changed : float or None
        The least difference in flagged posts, as a share of the larger number; None: never ask.
    """
    found = None if check.diagnosis is None else check.diagnosis.next_window
    if changed is None or found is None or check.segment is not None:
        return None
    more = found.flagged - found.flagged_in_service
    if abs(more) <= changed * max(found.flagged, found.flagged_in_service):
        return None
    return Signal(
        model=check.model,
        window=check.until,
        cause="stale_threshold",
        says=f"in a window like this the threshold in service flags {found.flagged_in_service:,} "
        f"of {check.rows:,} posts, the one for the next window {found.flagged:,}",
    )
