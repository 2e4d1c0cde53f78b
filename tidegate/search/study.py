"""Optuna's side of a search: which point of an algorithm's space to try next.

Katib's ``multivariate-tpe`` is the same sampler with the same settings.
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.models.interface import Algorithm
from tidegate.records import Params, TrialResult
from tidegate.search.medianstop import StopRule, stop_rule
from tidegate.search.space import grid_points, suggest


@dataclass(frozen=True)
class Proposal:
    """A trial that should be run next."""

    algorithm: Algorithm
    params: Params
    stop_rule: StopRule | None
    handle: Any


class Study:
    """One algorithm's trials so far; its defaults come first, then the points of a warm start.

    A refresh tries the latter alone. A grid's points follow in their order, and random ones when
    it is through.

    Raises
    ------
    BadInput
        If the configuration's strategy runs on Katib alone.
    """

    def __init__(
        self, algorithm: Algorithm, config: SearchConfig, warm: Sequence[Params] = ()
    ) -> None:
        import optuna

        self._algorithm = algorithm
        self._config = config
        self._succeeded: list[list[float]] = []
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = _sampler(config)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        if not (config.refresh and warm):
            self._study.enqueue_trial(dict(algorithm.defaults))
        #: How many points of a refresh have not been proposed yet.
        self.points_left = len(warm) if config.refresh else 0
        for point in warm:
            self._study.enqueue_trial(dict(point), skip_if_exists=True)
        if config.strategy == "grid" and config.trials is not None:
            points = grid_points(algorithm.search_space, algorithm.defaults, config.trials)
            for values in itertools.product(*points.values()):
                self._study.enqueue_trial(dict(zip(points, values, strict=True)))

    def propose(self, *, again: bool = False) -> Proposal:
        """Return the next trial; those still running count as poor (a constant liar).

        `again` proposes the best point so far once more.
        """
        if again:
            self._study.enqueue_trial(self._study.best_params)
        handle = self._study.ask()
        self.points_left = max(0, self.points_left - 1)
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


def _sampler(config: SearchConfig) -> Any:
    import optuna

    if config.strategy == "multivariate-tpe":
        return optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=config.seed)
    if config.strategy in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=config.seed)
    raise BadInput(
        "search.strategy",
        f"{config.strategy} runs on Katib alone",
        "write backend: katib, or strategy: multivariate-tpe, random or grid",
    )
