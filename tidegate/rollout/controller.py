"""The release controller: one look at a time, killed and resumed at any point.

State is written first, under optimistic locking, with the events of the change inside it; then
the traffic is moved and the events are told. Whoever comes after a killed controller finds in the
state what was left to do, and doing it twice changes nothing.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from tidegate.config import RolloutConfig
from tidegate.errors import BadInput, Conflict
from tidegate.records import Finding, Observed, ReleaseState, StepAnalysis
from tidegate.rollout.backend import Analyst, ReleaseBackend
from tidegate.rollout.transitions import Step, next_state, seconds_since

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]

#: What came of a look: nothing to do, another controller's turn, somebody changed the state
#: meanwhile, or done.
Outcome = Literal["idle", "not_mine", "overtaken", "done"]


class Controller:
    """Takes a release through its steps.

    Parameters
    ----------
    backend : ReleaseBackend
        Where models serve.
    analyst : Analyst
        Judges a step.
    config : RolloutConfig
        Durations and limits.
    clock : callable
        Returns the time, with its zone.
    holder : str
        This controller's name in the lease.
    lease_seconds : float
        How long after its last sign of life another may take over.
    next_release : callable, optional
        From the state of the last release, None when there was none, to that of one that is to
        begin, its events in the outbox; asked while no release is under way.
    """

    def __init__(
        self,
        backend: ReleaseBackend,
        analyst: Analyst,
        config: RolloutConfig,
        clock: Clock,
        holder: str,
        *,
        lease_seconds: float = 30.0,
        next_release: Callable[[ReleaseState | None], ReleaseState | None] | None = None,
    ) -> None:
        self._next_release = next_release
        self._backend = backend
        self._analyst = analyst
        self._config = config
        self._clock = clock
        self._holder = holder
        self._lease_seconds = lease_seconds

    def tick(self) -> Outcome:
        """Look at the release once and do what is to be done."""
        try:
            return self._look()
        except Conflict:
            return "overtaken"

    def _look(self) -> Outcome:
        if not self._my_turn():
            return "not_mine"
        found = self._backend.read_state()
        if found is None:
            return self._begin(None, None)
        state, revision = found
        if state.is_over:
            if state.outbox:
                return _finish(self._backend, state, revision)
            return self._begin(state, revision)
        _carry_out(self._backend, state)
        observed = self._backend.observe()
        now = self._clock()
        after, events = next_state(state, None, observed, now, self._config)
        if self._is_due(after, now):
            analysis, memory = self._analyse(after, observed, now)
            after, more = next_state(
                after.model_copy(update={"memory": memory}), analysis, observed, now, self._config
            )
            events += more
        if after == state:
            return "done"
        if not self._my_turn():
            return "not_mine"
        after = after.model_copy(update={"outbox": events})
        revision = self._backend.write_state(after, revision=revision)
        if after.is_over:
            return _finish(self._backend, after, revision)
        _carry_out(self._backend, after)
        return "done"

    def _begin(self, last: ReleaseState | None, revision: str | None) -> Outcome:
        """Begin the release that waits, if there is one."""
        state = None if self._next_release is None else self._next_release(last)
        if state is None:
            return "idle"
        if not self._my_turn():
            return "not_mine"
        self._backend.write_state(state, revision=revision)
        _carry_out(self._backend, state)
        return "done"

    def _my_turn(self) -> bool:
        return self._backend.hold_lease(self._holder, self._clock(), seconds=self._lease_seconds)

    def _is_due(self, state: ReleaseState, now: datetime) -> bool:
        if state.is_over or not state.in_force:
            return False
        last = max(state.analysed_at or "", state.step_began_at)
        return seconds_since(last, now) >= self._config.interval_seconds

    def _analyse(
        self, state: ReleaseState, observed: Observed, now: datetime
    ) -> tuple[StepAnalysis, dict[str, object]]:
        """Return the analyst's word; an analysis that breaks is inconclusive, never a yes."""
        try:
            return self._analyst.analyse(state, observed, now)
        except Exception as error:
            logger.exception("the analysis failed")
            says = f"the analysis failed with {type(error).__name__}: {error}"
            finding = Finding(source="platform", name="analysis", verdict="pause", says=says)
            analysis = StepAnalysis(verdict="pause", findings=(finding,), candidate_requests=0)
            return analysis, dict(state.memory)


def command(
    backend: ReleaseBackend, change: Callable[[ReleaseState, datetime], Step], clock: Clock
) -> ReleaseState:
    """Write what a person ordered into the state, whoever else writes; return the new state.

    Parameters
    ----------
    backend : ReleaseBackend
        Where the state is kept.
    change : callable
        From the state and the time to the next state and its events, for example `hold`.
    clock : callable
        Returns the time, with its zone.

    Raises
    ------
    BadInput
        If no release ever began, or `change` refuses.
    """
    while True:
        found = backend.read_state()
        if found is None:
            raise BadInput("rollout", "no release has begun", "begin one: tidegate rollout start")
        state, revision = found
        after, events = change(state, clock())
        # Events of the change before may be untold yet.
        after = after.model_copy(update={"outbox": (*state.outbox, *events)})
        try:
            backend.write_state(after, revision=revision)
        except Conflict:
            continue
        return after


def apply(
    backend: ReleaseBackend, holder: str, clock: Clock, *, lease_seconds: float = 30.0
) -> Outcome:
    """Put the written state in force at once, without an analysis: after a command.

    ``not_mine`` means that a controller runs, which will do it at its next look.
    """
    if not backend.hold_lease(holder, clock(), seconds=lease_seconds):
        return "not_mine"
    try:
        found = backend.read_state()
        if found is None:
            return "idle"
        state, revision = found
        if state.is_over:
            return _finish(backend, state, revision)
        _carry_out(backend, state)
        return "done"
    finally:
        backend.let_go_of_lease(holder)


def watch(
    controller: Controller,
    is_over: Callable[[], bool],
    *,
    poll_seconds: float,
    patience_seconds: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look again and again until the release is over; a look that fails is tried again.

    Parameters
    ----------
    patience_seconds : float
        For how long bad input, as an InferenceService that is gone, is borne after a good look.

    Raises
    ------
    BadInput
        If the first look meets it, or it lasts.
    """
    refused_seconds = patience_seconds
    while True:
        try:
            controller.tick()
            if is_over():
                return
            refused_seconds = 0.0
        except BadInput as refused:
            if refused_seconds >= patience_seconds:
                raise
            refused_seconds += poll_seconds
            logger.warning("%s", refused)
        except Exception:
            logger.exception("a look at the release failed; trying again")
        sleep(poll_seconds)


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def _carry_out(backend: ReleaseBackend, state: ReleaseState) -> None:
    """Move the traffic where the state wants it and tell what the state has to tell."""
    backend.route(state.traffic)
    for event in state.outbox:
        backend.record(event)


def _finish(backend: ReleaseBackend, state: ReleaseState, revision: str) -> Outcome:
    """Carry out the end once; an empty outbox says that nothing is left to do."""
    if not state.outbox:
        return "idle"
    _carry_out(backend, state)
    try:
        backend.write_state(state.model_copy(update={"outbox": ()}), revision=revision)
    except Conflict:
        return "overtaken"
    return "done"
