"""The sums that tests carry from look to look, and the share of the error that each may spend.

Over all tests, steps and looks of one release the shares add up to at most the whole, so that a
release of an equal model is rolled back no more often than that (Bonferroni over tests, evidence
that holds at any time over looks).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tidegate.config import RolloutConfig

#: What is tested; each family has an equal part.
Family = Literal[
    "errors",
    "latency",
    "replay failures",
    "flips",
    "group flips",
    "score shift",
    "review volume",
    "golden precision",
    "golden recall",
    "precision",
    "group precision",
    "appeals",
]
_FAMILIES = 12

#: How far back rows count. A fault that begins late is seen in its own interval, one that is small
#: adds up; streams that are compared across versions count within a step, where the split of
#: traffic stays, so that a rate that moves with the time of day harms neither version.
Horizon = Literal["release", "step", "interval"]


@dataclass(frozen=True)
class Sums:
    """A test's sums over one horizon and the error it may spend there."""

    horizon: Horizon
    values: tuple[float, ...]
    error: float


class Budget:
    """Adds fresh sums to those of earlier looks and shares out the error.

    Parameters
    ----------
    config : RolloutConfig
        `false_rollback_share` is what is shared out.
    memory : mapping
        What `memory` gave at the look before; empty at the first.
    step : int
        Which step this look is in.
    """

    def __init__(self, config: RolloutConfig, memory: Mapping[str, Any], *, step: int) -> None:
        self._config = config
        self._looks = int(memory.get("looks", 0)) + 1
        self._step = step
        same_step = memory.get("step") == step
        self._release: dict[str, list[float]] = dict(memory.get("release", {}))
        self._within_step: dict[str, list[float]] = (
            dict(memory.get("within_step", {})) if same_step else {}
        )
        self._members: dict[str, list[str]] = {
            family: list(names) for family, names in memory.get("members", {}).items()
        }

    @property
    def memory(self) -> dict[str, object]:
        """What the next look continues from, as JSON values."""
        return {
            "looks": self._looks,
            "step": self._step,
            "release": self._release,
            "within_step": self._within_step,
            "members": self._members,
        }

    def add(
        self,
        family: Family,
        fresh: Sequence[float],
        *,
        horizons: Sequence[Horizon],
        member: str = "",
        of: int | None = None,
    ) -> tuple[Sums, ...]:
        """Return the sums of a test over each horizon, with this look's added.

        Parameters
        ----------
        member : str
            Which of the family's tests it is: a group, a limit.
        of : int, optional
            How many members there are, where that is known before the release; else a member's
            part shrinks with the order in which members were met.
        """
        key = f"{family}/{member}"
        part = self._config.false_rollback_share / _FAMILIES / len(horizons)
        part *= self._part_of(family, member) if of is None else 1 / of
        found = []
        for horizon in horizons:
            kept = {"release": self._release, "step": self._within_step}.get(horizon, {})
            values = _add(kept, key, fresh)
            found.append(Sums(horizon, values, part * self._part_over_time(horizon)))
        return tuple(found)

    def members(self, family: Family) -> tuple[str, ...]:
        """Return the members of a family that were met, in that order."""
        return tuple(self._members.get(family, ()))

    def once(self, family: Family, values: Sequence[float]) -> Sums:
        """Return a test of rows that every look sees again: nothing adds up."""
        error = self._config.false_rollback_share / _FAMILIES
        return Sums("release", tuple(float(value) for value in values), error)

    def step_sums(self, key: str, fresh: Sequence[float]) -> tuple[float, ...]:
        """Return sums over the step that no test spends error on."""
        return _add(self._within_step, key, fresh)

    def release_sums(self, key: str, fresh: Sequence[float]) -> tuple[float, ...]:
        """Return sums over the whole release that no test spends error on."""
        return _add(self._release, key, fresh)

    def since_last_look(self, key: str, totals: Sequence[float]) -> tuple[float, ...]:
        """Return what totals of the step have grown by; a total that fell has not grown."""
        before = self._within_step.get(key, [0.0] * len(totals))
        self._within_step[key] = [max(float(a), b) for a, b in zip(totals, before, strict=True)]
        return tuple(max(0.0, float(a) - b) for a, b in zip(totals, before, strict=True))

    def _part_of(self, family: str, member: str) -> float:
        met = self._members.setdefault(family, [])
        if member not in met:
            met.append(member)
        place = met.index(member) + 1
        return 1 / (place * (place + 1))

    def _part_over_time(self, horizon: Horizon) -> float:
        if horizon == "release":
            return 1.0
        steps = len(self._config.steps)
        if horizon == "step":
            return 1 / steps
        # Half is for the looks that a release takes when nothing holds it up, alike; the other
        # half for all that may follow, ever less.
        planned = steps * math.ceil(self._config.step_seconds / self._config.interval_seconds)
        if self._looks <= planned:
            return 0.5 / planned
        late = self._looks - planned
        return 0.5 / (late * (late + 1))


def _add(kept: dict[str, list[float]], key: str, fresh: Sequence[float]) -> tuple[float, ...]:
    before = kept.get(key, [0.0] * len(fresh))
    kept[key] = [a + float(b) for a, b in zip(before, fresh, strict=True)]
    return tuple(kept[key])
