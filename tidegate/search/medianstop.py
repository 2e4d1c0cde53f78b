"""Katib's medianstop: stop a trial whose beginning is worse than that of most before it.

Katib calls it a median and takes a mean; Optuna's ``MedianPruner`` means something else. This is
Katib's meaning (its ``pkg/earlystopping/v1beta1/medianstop``), so that a search on a laptop stops
the trials that a search on a cluster would.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StopRule:
    """What a trial must have reached by its `start_step`-th report.

    Parameters
    ----------
    floor : float
        Fixed when the trial starts; a best value below it stops the trial.
    start_step : int
        The only report at which the rule looks.
    """

    floor: float
    start_step: int

    def stops(self, reported: Sequence[float]) -> bool:
        """Say whether a trial ends after these reports, the latest one last."""
        return len(reported) == self.start_step and max(reported) < self.floor


def stop_rule(
    succeeded: Sequence[Sequence[float]], *, min_trials: int, start_step: int
) -> StopRule | None:
    """Return the rule for the next trial of an algorithm, None while too few have succeeded.

    Parameters
    ----------
    succeeded : sequence of sequences of float
        The reported values of every succeeded trial, in order; higher is better.
    min_trials : int
        How many succeeded trials the rule needs.
    start_step : int
        How many of each trial's first reports are averaged.
    """
    if not succeeded or len(succeeded) < min_trials:
        return None
    averages = [sum(values[:start_step]) / len(values[:start_step]) for values in succeeded]
    return StopRule(sum(averages) / len(averages), start_step)
