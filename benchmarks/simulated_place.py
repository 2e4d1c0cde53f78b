"""A place to serve, in memory, under its own clock; it can kill the controller at any call."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.errors import Conflict
from tidegate.records import Observed, ReleaseEvent, ReleaseState, Traffic
from tidegate.rollout.release_log import event_id

START = datetime(2026, 3, 1, tzinfo=UTC)


class Killed(BaseException):
    """The controller's process is gone; what it had in hand is lost."""


class SimulatedClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class SimulatedPlace:
    """Keeps state, lease, log and traffic in memory, as the protocol of a backend says.

    Parameters
    ----------
    clock : SimulatedClock
        Shared with the controller.
    baseline : str
        The version that gets all traffic at first.
    settle_seconds : float
        How long the place works on new traffic before it is in force.
    kill_at : int, optional
        Number of the half-call at which the controller dies: every call of the backend has one
        before it takes effect and one after.
    """

    def __init__(
        self,
        clock: SimulatedClock,
        baseline: str,
        *,
        settle_seconds: float = 0.0,
        kill_at: int | None = None,
    ) -> None:
        self.clock = clock
        self.settle_seconds = settle_seconds
        self.kill_at = kill_at
        self.half_calls = 0
        self.traffic = Traffic(baseline=baseline)
        self.routed_at = clock.now
        self.routes: list[Traffic] = []
        self.log: dict[str, ReleaseEvent] = {}
        self.states: list[ReleaseState] = []
        self.lease: tuple[str, datetime] | None = None
        self.answers: Callable[[str, datetime], bool] = lambda version, now: True
        self._state: tuple[ReleaseState, int] | None = None

    @property
    def events(self) -> list[ReleaseEvent]:
        """What the log holds, oldest first."""
        return list(self.log.values())

    def read_state(self) -> tuple[ReleaseState, str] | None:
        """Return the state and its revision."""
        return self._killable(
            lambda: None if self._state is None else (self._state[0], str(self._state[1]))
        )

    def write_state(self, state: ReleaseState, *, revision: str | None) -> str:
        """Replace the state of this revision."""

        def write() -> str:
            present = None if self._state is None else str(self._state[1])
            if present != revision:
                raise Conflict(f"revision {revision} is not {present}")
            # Through JSON, as a real place keeps it.
            kept = ReleaseState.model_validate_json(state.model_dump_json())
            self._state = (kept, int(revision or 0) + 1)
            self.states.append(kept)
            return str(self._state[1])

        return self._killable(write)

    def hold_lease(self, holder: str, now: datetime, *, seconds: float) -> bool:
        """Take or renew the lease."""

        def hold() -> bool:
            if self.lease is not None and self.lease[0] != holder and now < self.lease[1]:
                return False
            self.lease = (holder, now + timedelta(seconds=seconds))
            return True

        return self._killable(hold)

    def let_go_of_lease(self, holder: str) -> None:
        """Give the lease back."""
        if self.lease is not None and self.lease[0] == holder:
            self.lease = None

    def route(self, traffic: Traffic) -> None:
        """Put the traffic in force after `settle_seconds`."""

        def move() -> None:
            if traffic != self.traffic:
                self.traffic, self.routed_at = traffic, self.clock.now
                self.routes.append(traffic)

        self._killable(move)

    def observe(self) -> Observed:
        """Return what is in force."""

        def look() -> Observed:
            now, traffic = self.clock.now, self.traffic
            candidate = traffic.candidate
            return Observed(
                traffic=traffic,
                baseline_ready=self.answers(traffic.baseline, now),
                candidate_ready=candidate is not None and self.answers(candidate, now),
                settled=(now - self.routed_at).total_seconds() >= self.settle_seconds,
            )

        return self._killable(look)

    def record(self, event: ReleaseEvent) -> None:
        """Append an event once."""
        self._killable(lambda: self.log.setdefault(event_id(event), event))

    def _killable(self, call: Callable[[], Any]) -> Any:
        self._half_call()
        found = call()
        self._half_call()
        return found

    def _half_call(self) -> None:
        self.half_calls += 1
        if self.kill_at is not None and self.half_calls == self.kill_at:
            self.kill_at = None
            raise Killed
