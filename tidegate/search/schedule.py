"""When which algorithm gets how many cores and seconds: one budget over all of them.

The benchmark model comes first, then every algorithm's defaults in the order of their expected
cost, then the bandit of `tidegate.search.allocation` decides. An algorithm that plans its training
by the seconds it has (`Algorithm.plans_by_seconds`) gets one long trial with every core instead:
the rest of the minutes, as soon as the others' share is spent or none of them is expected to
improve within it. Where it wins and ends long before they do, it runs again from another seed: two
that err differently make a better ensemble than anything the others could still find.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tidegate.config import SearchConfig
from tidegate.models.interface import Algorithm
from tidegate.records import TrialResult
from tidegate.search.allocation import Allocation
from tidegate.search.mitigate import mitigation_fits

#: What a long trial is not told of its time, as a share and in seconds: it must start, score
#: validation and write its model, and one that is ended a second too early leaves nothing.
_MARGIN_SHARE, _MARGIN_SECONDS, _LARGEST_MARGIN_SHARE = 0.1, 15.0, 0.25
#: Of the minutes, by which a long trial may overrun them.
_GRACE_SHARE = 0.05
#: What must be left, as a share of the seconds that a long trial took, for another one.
_WORTH_ANOTHER = 0.6
#: An algorithm's defaults are tried although a long trial waits, if they cost no more than this
#: share of what is left.
_CHEAP_START = 0.1
#: A rest of the minutes smaller than this share is not worth a trial that will hardly end in it.
_WORTH_A_GAMBLE = 0.05
#: Most of the minutes that cross-fitting may claim.
_MOST_FOR_FOLDS = 0.3
_A_YEAR_SECONDS = 365 * 24 * 3600.0


@dataclass(frozen=True)
class Turn:
    """The next trial: whose it is, and with how many threads and seconds.

    `again` asks for the algorithm's best point with another seed.
    """

    algorithm: str
    threads: int
    seconds: float | None
    again: bool = False


class Schedule:
    """The budget, and what has become of it.

    Parameters
    ----------
    algorithms : sequence of Algorithm
        Those that take part in the bandit.
    config : SearchConfig
        Minutes or trials, shares, seed.
    slots, cores : int
        How many trials run side by side, and on how many cores together.
    clock : callable
        Returns seconds; the budget starts now.
    """

    def __init__(
        self,
        algorithms: Sequence[Algorithm],
        config: SearchConfig,
        *,
        slots: int,
        cores: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._algorithms = {algorithm.name: algorithm for algorithm in algorithms}
        self._config = config
        self._slots, self._cores = slots, cores
        self._clock = clock
        self._started = clock()
        self._seconds = config.minutes * 60
        self._allocation = Allocation(
            {algorithm.name: algorithm.relative_cost for algorithm in algorithms}, seed=config.seed
        )
        by_time = [entry for entry in algorithms if entry.plans_by_seconds]
        longest = max(by_time, key=lambda entry: entry.relative_cost, default=None)
        #: The algorithm whose long trial is still to come.
        self._long = None if longest is None or self.is_counted else longest.name
        self._long_runs = False
        #: Those that had too little time; later they would have less.
        self._out_of_time: set[str] = set()
        self._best: TrialResult | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the budget is in trials, so that nothing may depend on seconds."""
        return self._config.trials is not None

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._started

    def seconds_left(self) -> float:
        """Return what is left of the whole budget."""
        return max(0.0, self._seconds - self.elapsed())

    def trial_seconds_left(self) -> float:
        """Return what is left of it for trials; the final stage keeps its part."""
        return max(0.0, self.seconds_left() - self._final_stage_seconds())

    def is_overdue(self, name: str) -> bool:
        """Say whether a running trial of that algorithm must end now.

        The long trial plans to end in time; one that is late is let be for a moment, because it
        has cost most of the minutes.
        """
        if self._long_runs and name == self._long:
            return self.elapsed() > (1 + _GRACE_SHARE) * self._seconds
        return self.trial_seconds_left() == 0

    def benchmark_turn(self, name: str) -> Turn:
        """Return the turn of the trial that comes before all others."""
        if name in self._algorithms:
            self._allocation.choose([name])
        return Turn(name, self._threads, None)

    def turn(self, running: int, among: Collection[str] = ()) -> Turn | None:
        """Return the next trial while `running` others run, None for none now.

        With a budget in trials `among` may say of which algorithms.
        """
        left = self.trial_seconds_left()
        if left == 0 or self._long_runs:
            return None
        if self.is_counted:
            name = self._allocation.choose(among or self._algorithms)
            timed = self._algorithms[name].plans_by_seconds and self._seconds < _A_YEAR_SECONDS
            return Turn(name, self._threads, left if timed else None)
        others = [name for name in self._algorithms if name not in {self._long, *self._out_of_time}]
        rest = left if self._long is None else left - self._config.long_share * self._for_trials()
        affordable = [
            name
            for name in others
            if self._allocation.expected_cost(name)
            <= (max(rest, _CHEAP_START * left) if self._allocation.is_fresh(name) else rest)
        ]
        if self._long is not None and (
            not affordable or self._allocation.has_levelled_off(rest, others)
        ):
            return self._long_turn(left) if running == 0 else None
        if not affordable and others and left > _WORTH_A_GAMBLE * self._seconds:
            affordable = [min(others, key=self._allocation.expected_cost)]
        if not affordable:
            return None
        return Turn(
            self._allocation.choose(affordable), self._threads, max(rest, _CHEAP_START * left)
        )

    def learn(self, result: TrialResult) -> None:
        """Take in a finished trial of an algorithm that takes part."""
        was_long = self._long_runs and result.algorithm == self._long
        algorithm = self._algorithms.get(result.algorithm)
        if algorithm is None:
            return
        self._allocation.learn(
            result.algorithm,
            cost=algorithm.relative_cost if self.is_counted else result.seconds,
            average_precision=result.average_precision,
        )
        better = self._best is None or (result.average_precision or 0.0) > (
            self._best.average_precision or 0.0
        )
        better = better and result.status == "succeeded"
        if better:
            self._best = result
        if algorithm.plans_by_seconds and result.status == "out_of_time":
            self._out_of_time.add(result.algorithm)
        if was_long:
            self._long_runs = False
            if not better or self.trial_seconds_left() < _WORTH_ANOTHER * result.seconds:
                self._long = None

    @property
    def _threads(self) -> int:
        return max(1, self._cores // self._slots)

    def _for_trials(self) -> float:
        return max(0.0, self._seconds - self._final_stage_seconds())

    def _long_turn(self, left: float) -> Turn:
        assert self._long is not None
        self._long_runs = True
        again = not self._allocation.is_fresh(self._long)
        name = self._allocation.choose([self._long])
        margin = max(_MARGIN_SHARE * left, min(_MARGIN_SECONDS, _LARGEST_MARGIN_SHARE * left))
        return Turn(name, self._cores, left - margin, again=again)

    def _final_stage_seconds(self) -> float:
        kept = self._config.reserve_share * self._seconds
        if self._seconds >= _A_YEAR_SECONDS:
            return 0.0
        if self._config.distill:
            kept *= 2
        if self._best is None or self._long is not None:
            # The winner's seconds are not known yet, and a long trial's will be many.
            more = self._config.crossfit_folds or self._config.mitigate
            return kept + (_MOST_FOR_FOLDS * self._seconds if more else 0)
        refits = self._config.crossfit_folds + mitigation_fits(self._config.mitigate)
        folds = refits * self._best.seconds / self._slots
        return kept + min(folds, _MOST_FOR_FOLDS * self._seconds)
