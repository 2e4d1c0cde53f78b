"""A fault matrix for releases: every fault must be rolled back or paused within one interval.

The real controller and the real analysis run in a simulated place under a simulated clock
(`benchmarks/simulated_place.py`, `simulated_traffic.py`): a matrix of faults, releases of equal
models, of which none may be rolled back, and controllers that are killed at random points. Then
model-server processes on this machine are sabotaged. Run as ``python -m benchmarks.faults``.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from benchmarks.simulated_place import Killed, SimulatedClock, SimulatedPlace
from benchmarks.simulated_traffic import HEALTHY, Behaviour, SimulatedAnalyst, faults
from tidegate.config import PolicyConfig, RolloutConfig
from tidegate.records import Traffic
from tidegate.rollout.controller import Controller
from tidegate.rollout.transitions import begin

CONFIG = RolloutConfig(group_columns=("language",))
POLICY = PolicyConfig(review_capacity=1_500_000, posts_per_day=17_280_000)
POLL_SECONDS = 10.0
AA_INTERVAL_SECONDS = 300.0
# Ten times what the steps last at least: a release that takes longer counts as stuck.
_LONGEST = 10 * CONFIG.step_seconds * len(CONFIG.steps)


@dataclass(frozen=True)
class Played:
    """How a release went; seconds since it began."""

    phase: str
    reason: str
    traffic: Traffic
    told: tuple[tuple[str, int], ...]
    seconds: float
    fault_began: float | None
    stopped_after: float | None
    half_calls: int
    controllers: int


def play(
    seed: int,
    *,
    fault: Behaviour = HEALTHY,
    at_percent: int | None = None,
    from_start: bool = False,
    same_model: bool = False,
    kill_at: int | None = None,
    config: RolloutConfig = CONFIG,
) -> Played:
    """Take one release through; a fault begins in the middle of the step at `at_percent`.

    With `from_start` it begins with that step.
    """
    clock = SimulatedClock()
    place = SimulatedPlace(clock, "old", settle_seconds=20)
    analyst = SimulatedAnalyst(config, POLICY, seed, fault=fault, same_model=same_model)
    began = clock.now
    state, events = begin(
        name="posts",
        baseline="old",
        candidate="new",
        run_digest="run",
        config=config,
        actor="pipeline",
        now=began,
    )
    place.write_state(state.model_copy(update={"outbox": events}), revision=None)
    place.half_calls, place.kill_at = 0, kill_at
    if fault.restarts_every_seconds is not None:
        every = fault.restarts_every_seconds

        def answers(version: str, now: object) -> bool:
            since = analyst.faulty_from
            away = since is not None and int((clock.now - since).total_seconds() / every) % 2 == 0
            return version != "new" or not away

        place.answers = answers
    controllers = 1
    controller = Controller(place, analyst, config, clock, "controller-1")
    stopped_after = None
    while (clock.now - began).total_seconds() < _LONGEST:
        try:
            controller.tick()
        except Killed:
            controllers += 1
            controller = Controller(place, analyst, config, clock, f"controller-{controllers}")
        now = place.states[-1]
        stopped = now.phase in ("paused", "rolled_back")
        if analyst.faulty_from is not None and stopped_after is None and stopped:
            stopped_after = (clock.now - analyst.faulty_from).total_seconds()
            if kill_at is None:
                break
        if now.is_over and not now.outbox:
            break
        if now.percent == at_percent and analyst.faulty_from is None and now.in_force:
            half_way = _age(now.step_began_at, clock) >= config.step_seconds / 2
            # Right after a look, so that the next one is the first that can see it.
            looked = now.analysed_at == _text(clock) and half_way
            if looked or (from_start and now.step_began_at == _text(clock)):
                analyst.faulty_from = clock.now
        clock.pass_seconds(POLL_SECONDS)
    last = place.states[-1]
    faulty_from = analyst.faulty_from
    return Played(
        phase=last.phase,
        reason=last.reason,
        traffic=place.traffic,
        told=tuple((event.kind, event.percent) for event in place.events),
        seconds=(clock.now - began).total_seconds(),
        fault_began=None if faulty_from is None else (faulty_from - began).total_seconds(),
        stopped_after=stopped_after,
        half_calls=place.half_calls,
        controllers=controllers,
    )


def fault_matrix(seed: int) -> tuple[int, int]:
    """Play every fault once; return how many there are and how many were stopped in time."""
    allowed = CONFIG.interval_seconds + POLL_SECONDS
    found, handled = faults(), 0
    print(f"{'fault':<40} {'at':>5} {'then':<12} {'after':>7}  because")
    for number, (name, (percent, fault)) in enumerate(found.items()):
        played = play(
            seed + number,
            fault=fault,
            at_percent=percent,
            # A leak is as old as the traffic that feeds it.
            from_start=fault.leak_per_second > 0,
        )
        after = played.stopped_after
        in_time = after is not None and after <= allowed
        handled += in_time
        told = "never" if after is None else f"{after:.0f} s"
        late = "" if in_time else "  LATE"
        print(
            f"{name:<40} {percent:>3} % {played.phase:<12} {told:>7}  {played.reason[:96]}{late}",
            flush=True,
        )
    return len(found), handled


def _release_of_an_equal_model(seed: int) -> Played:
    # Fewer looks than by default, for the time they take here.
    config = CONFIG.model_copy(update={"interval_seconds": AA_INTERVAL_SECONDS})
    return play(seed, same_model=seed % 2 == 0, config=config)


def equal_models(releases: int, seed: int) -> tuple[int, int]:
    """Release models as good as the one in service; return how many, and how many rolled back."""
    with ProcessPoolExecutor(2) as pool:
        seeds = range(seed, seed + releases)
        played = list(pool.map(_release_of_an_equal_model, seeds, chunksize=5))
    arrived = [p for p in played if p.phase == "promoted"]
    rolled_back = [p for p in played if p.phase == "rolled_back"]
    pauses = sum(kind == "paused" for p in played for kind, _ in p.told)
    hours = np.array([p.seconds for p in arrived]) / 3600
    least = CONFIG.step_seconds * len(CONFIG.steps) / 3600
    stuck = releases - len(arrived) - len(rolled_back)
    print(
        f"\n{releases} releases of equal models: {len(arrived)} promoted, "
        f"{len(rolled_back)} rolled back, {stuck} stuck; {pauses} pauses on the way"
    )
    for one in rolled_back:
        print(f"  rolled back: {one.reason}")
    if arrived:
        print(
            f"from shadow to promoted: median {np.median(hours):.2f} h, "
            f"longest {hours.max():.2f} h (the steps alone last {least:.2f} h)"
        )
    return len(played), len(rolled_back)


def _killed(arguments: tuple[int, int | None, bool]) -> Played:
    seed, kill_at, harmful = arguments
    fault = faults()["5xx: 8 % of requests fail"][1] if harmful else HEALTHY
    quick = CONFIG.model_copy(update={"step_seconds": 300.0})
    return play(
        seed, fault=fault, at_percent=25 if harmful else None, kill_at=kill_at, config=quick
    )


def kills(count: int, seed: int) -> tuple[int, int]:
    """Kill the controller at random points; return how often, and how often the end was the same.

    Half of the releases are good, half go bad at 25 %.
    """
    rng = np.random.default_rng(seed)
    with ProcessPoolExecutor(2) as pool:
        whole = list(pool.map(_killed, [(seed, 0, False), (seed, 0, True)]))
        jobs = []
        for number in range(count):
            harmful = number % 2 == 1
            jobs.append((seed, int(rng.integers(1, whole[harmful].half_calls)), harmful))
        played = list(pool.map(_killed, jobs, chunksize=2))
    resumed = 0
    for job, one in zip(jobs, played, strict=True):
        wanted = whole[job[2]]
        same = (one.phase, one.traffic, _milestones(one)) == (
            wanted.phase,
            wanted.traffic,
            _milestones(wanted),
        )
        resumed += same and one.controllers == 2
        if not same:
            print(f"  killed at call {job[1]}: {one.phase}, {one.told}")
    print(
        f"\n{count} controllers killed at random calls: {resumed} releases went on to the same end"
    )
    return count, resumed


def _milestones(played: Played) -> list[tuple[str, int]]:
    """Return what was told but for pauses, which chance may add or leave out."""
    return [told for told in played.told if told[0] not in ("paused", "resumed")]


def _age(then: str, clock: SimulatedClock) -> float:
    return (clock.now - datetime.fromisoformat(then)).total_seconds()


def _text(clock: SimulatedClock) -> str:
    return clock.now.isoformat(timespec="microseconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=200, help="of equal models")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=20_260)
    parser.add_argument("--no-processes", action="store_true", help="leave the real servers out")
    given = parser.parse_args()
    began = time.monotonic()
    found, handled = fault_matrix(given.seed)
    if not given.no_processes:
        from benchmarks.process_faults import process_faults

        more, more_handled = process_faults()
        found, handled = found + more, handled + more_handled
    releases, rolled_back = equal_models(given.releases, given.seed)
    killed, resumed = kills(given.kills, given.seed)
    print(f"took {time.monotonic() - began:.0f} s")
    print(
        json.dumps(
            {
                "faults": found,
                "handled": handled,
                "aa_releases": releases,
                "aa_rollbacks": rolled_back,
                "kills": killed,
                "resumed": resumed,
            }
        )
    )


if __name__ == "__main__":
    main()
