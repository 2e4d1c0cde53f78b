"""From the evidence of a test over several horizons to one verdict."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tidegate.records import Verdict
from tidegate.rollout.budget import Sums

VERDICTS: tuple[Verdict, ...] = ("advance", "pause", "rollback")


@dataclass(frozen=True)
class Reading:
    """A test over one horizon: its sums, the log evidence of harm, and whether harm counts.

    `counts` is what must hold beside the evidence: the rows themselves exceed the limit.
    """

    sums: Sums
    log_evidence: float
    counts: bool = True

    @property
    def excess(self) -> float:
        """How far the evidence is past what it needs; negative where it is not there."""
        past = self.log_evidence + float(np.log(self.sums.error))
        return past if self.counts else min(past, -1e-9)


def judge(
    readings: Iterable[Reading], *, log_doubt: float, doubt_share: float
) -> tuple[Verdict, Sums]:
    """Return the verdict, and the sums that it goes by.

    Parameters
    ----------
    readings : iterable of Reading
        Of one test; the first is the one that is told when nothing is found.
    log_doubt : float
        Log evidence that the limit is exceeded, whatever the baseline does.
    doubt_share : float
        How often that may wrongly cause a pause.
    """
    every = tuple(readings)
    worst = max(every, key=lambda reading: reading.excess)
    if worst.excess >= 0:
        return "rollback", worst.sums
    if log_doubt >= -np.log(doubt_share):
        return "pause", every[0].sums
    return "advance", every[0].sums


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts; none at all is no objection."""
    return max(verdicts, key=VERDICTS.index, default="advance")
