"""Which algorithm gets the next trial: a bandit over the algorithms' histories.

Every algorithm has its defaults tried once, cheap ones first. From then on an algorithm is drawn
with a probability inverse to its *estimated cost for improvement* (ECI), FLAML's rule: what its
latest improvement cost, or what it has spent since in vain, and for one behind the best also what
catching up costs at its speed so far. An algorithm whose curve still rises is cheap to improve; one
that has levelled off gets dearer with every trial in vain, but is never given up for good.

References
----------
Wang, Wu, Weimer and Zhu, "FLAML: a fast and lightweight AutoML library", MLSys 2021, section 4.2.
"""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

#: Keeps costs above 0 and speeds finite.
_LEAST = 1e-9


@dataclass
class _Arm:
    relative_cost: float
    started: int = 0
    spent: float = 0.0
    trials: int = 0
    best: float = 0.0
    best_before: float = 0.0
    spent_at_best: float = 0.0
    spent_at_best_before: float = 0.0


class Allocation:
    """What every algorithm has cost and reached so far.

    Parameters
    ----------
    relative_costs : mapping of str to float
        Expected cost of a trial of each algorithm's defaults, in any unit.
    seed : int
        Of the draws.
    """

    def __init__(self, relative_costs: Mapping[str, float], *, seed: int) -> None:
        self._arms = {name: _Arm(cost) for name, cost in relative_costs.items()}
        self._random = random.Random(seed)

    def is_fresh(self, name: str) -> bool:
        """Say whether no trial of an algorithm has started yet."""
        return not self._arms[name].started

    def choose(self, among: Collection[str]) -> str:
        """Return the algorithm of the next trial, which counts as started."""
        names = [name for name in self._arms if name in among]
        fresh = [name for name in names if not self._arms[name].started]
        if fresh:
            chosen = min(fresh, key=lambda name: self._arms[name].relative_cost)
        else:
            weights = [1 / self.improvement_cost(name) for name in names]
            chosen = self._random.choices(names, weights)[0]
        self._arms[chosen].started += 1
        return chosen

    def learn(self, name: str, *, cost: float, average_precision: float | None) -> None:
        """Take in a finished trial: what it cost and what it reached, None for nothing."""
        arm = self._arms[name]
        arm.trials += 1
        arm.started = max(arm.started, arm.trials)
        arm.spent += cost
        if average_precision is not None and average_precision > arm.best:
            arm.best_before, arm.best = arm.best, average_precision
            arm.spent_at_best_before, arm.spent_at_best = arm.spent_at_best, arm.spent

    def expected_cost(self, name: str) -> float:
        """Return what one more trial is expected to cost: the mean so far.

        Before the first one it is the relative cost, at the price that the others paid a unit.
        """
        arm = self._arms[name]
        if arm.trials:
            return arm.spent / arm.trials
        tried = [other for other in self._arms.values() if other.trials]
        units = sum(other.relative_cost * other.trials for other in tried)
        price = sum(other.spent for other in tried) / units if units else 1.0
        return arm.relative_cost * price

    def improvement_cost(self, name: str) -> float:
        """Return the algorithm's estimated cost for improvement, above 0."""
        arm = self._arms[name]
        if not arm.best:
            # Nothing but crashes so far: every further one makes the next less likely.
            return max(self.expected_cost(name), arm.spent * 2.0**arm.trials) + _LEAST
        cost = max(arm.spent - arm.spent_at_best, arm.spent_at_best - arm.spent_at_best_before)
        gap = max(other.best for other in self._arms.values()) - arm.best
        if gap > 0:
            since = arm.spent - arm.spent_at_best_before
            cost = max(cost, gap * since / max(arm.best - arm.best_before, _LEAST))
        return cost + _LEAST

    def has_levelled_off(self, within: float, among: Collection[str]) -> bool:
        """Say whether none of the algorithms is expected to improve at a cost of `within`."""
        return all(
            self._arms[name].trials and self.improvement_cost(name) > within for name in among
        )
