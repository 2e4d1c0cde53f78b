"""A release under way in a simulated place, and an analyst that says what it is told."""

from dataclasses import dataclass, field

from benchmarks.simulated_place import Killed, SimulatedClock, SimulatedPlace
from tidegate.config import RolloutConfig
from tidegate.records import Finding, StepAnalysis
from tidegate.rollout.controller import Controller
from tidegate.rollout.transitions import begin


def analysis(verdict="advance", requests=1000, says="as told"):
    finding = Finding(source="ops", name="errors", verdict=verdict, says=says)
    return StepAnalysis(verdict=verdict, findings=(finding,), candidate_requests=requests)


@dataclass
class ToldAnalyst:
    """Answers with `verdict`, or what the callable `verdict` says of a state; counts analyses."""

    verdict: object = "advance"
    requests: int = 1000
    fails: Exception | None = None
    seen: list = field(default_factory=list)

    def analyse(self, state, observed, now):
        self.seen.append(state)
        if self.fails is not None:
            raise self.fails
        verdict = self.verdict(state, now) if callable(self.verdict) else self.verdict
        return analysis(verdict, self.requests), {"analyses": state.memory.get("analyses", 0) + 1}


CONFIG = RolloutConfig(
    steps=(0, 5, 50, 100),
    step_seconds=300,
    interval_seconds=60,
    min_requests=200,
    max_pause_seconds=3600,
    max_unready_seconds=600,
    max_outages=2,
)


class Scene:
    """A release that has begun, its place, its clock, and controllers for it."""

    def __init__(self, config=CONFIG, *, settle_seconds=0.0, kill_at=None):
        self.config = config
        self.clock = SimulatedClock()
        self.place = SimulatedPlace(self.clock, "old", settle_seconds=settle_seconds)
        self.analyst = ToldAnalyst()
        state, events = begin(
            name="toy",
            baseline="old",
            candidate="new",
            run_digest="run",
            config=config,
            actor="pat",
            now=self.clock(),
        )
        self.place.write_state(state.model_copy(update={"outbox": events}), revision=None)
        self.place.half_calls, self.place.kill_at = 0, kill_at
        self.controllers = 0
        self.controller = self.new_controller()

    def new_controller(self):
        self.controllers += 1
        holder = f"controller-{self.controllers}"
        return Controller(self.place, self.analyst, self.config, self.clock, holder)

    @property
    def state(self):
        return self.place.states[-1]

    def run(self, seconds, *, every=10.0):
        """Tick for a while; a killed controller is followed by another."""
        for _ in range(int(seconds / every)):
            try:
                self.controller.tick()
            except Killed:
                self.controller = self.new_controller()
            self.clock.pass_seconds(every)

    def told(self):
        return [(event.kind, event.percent) for event in self.place.events]
