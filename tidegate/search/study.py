"""Optuna's side of a search: which point of an algorithm's space to try next.

Katib's ``multivariate-tpe`` is the same sampler with the same settings.
"""

import warnings
from dataclasses import dataclass
from typing import Any

from tidegate.config import SearchConfig
from tidegate.models.interface import Algorithm
from tidegate.records import Params, TrialResult
from tidegate.search.medianstop import StopRule, stop_rule
from tidegate.search.space import suggest


@dataclass(frozen=True)
class Proposal:
    """A trial that should be run next."""

    algorithm: Algorithm
    params: Params
    stop_rule: StopRule | None
    handle: Any


class Study:
    """One algorithm's trials so far; the first proposal is its defaults."""

    def __init__(self, algorithm: Algorithm, config: SearchConfig) -> None:
        import optuna

        self._algorithm = algorithm
        self._config = config
        self._succeeded: list[list[float]] = []
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True, constant_liar=True, seed=config.seed
            )
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._study.enqueue_trial(dict(algorithm.defaults))

    def propose(self) -> Proposal:
        """Return the next trial; those still running count as poor (a constant liar)."""
        handle = self._study.ask()
        rule = stop_rule(
            self._succeeded,
            min_trials=self._config.median_stop_min_trials,
            start_step=self._config.median_stop_start_step,
        )
        params = suggest(self._algorithm.search_space, handle)
        return Proposal(self._algorithm, params, rule, handle)

    def learn(self, proposal: Proposal, result: TrialResult) -> None:
        """Take in how a proposed trial ended."""
        from optuna.trial import TrialState

        if result.average_precision is None:
            self._study.tell(proposal.handle, state=TrialState.FAIL)
            return
        self._study.tell(proposal.handle, result.average_precision)
        if result.status == "succeeded":
            reported = [point.validation_average_precision for point in result.curve]
            self._succeeded.append([*reported, result.average_precision])
