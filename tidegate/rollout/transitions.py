"""How a release moves: pure functions from one state to the next, and the events to tell."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from tidegate.config import RolloutConfig
from tidegate.errors import BadInput
from tidegate.records import Observed, ReleaseEvent, ReleaseState, StepAnalysis

Step = tuple[ReleaseState, tuple[ReleaseEvent, ...]]
Kind = Literal[
    "began", "approved", "advanced", "paused", "resumed", "rolled_back", "promoted", "note"
]

#: Who is named in events that nobody asked for.
CONTROLLER = "controller"


def begin(
    *,
    name: str,
    baseline: str,
    candidate: str,
    run_digest: str,
    config: RolloutConfig,
    actor: str,
    now: datetime,
) -> Step:
    """Return the state of a release that begins, at its first step or before its approval."""
    manual = config.approval == "manual"
    state = ReleaseState(
        name=name,
        baseline=baseline,
        candidate=candidate,
        run_digest=run_digest,
        steps=config.steps,
        step=0,
        phase="awaiting_approval" if manual else "progressing",
        began_at=_text(now),
        step_began_at=_text(now),
        reason="waits for an approval" if manual else "",
    )
    says = f"{candidate} against {baseline}, steps {', '.join(f'{s} %' for s in config.steps)}"
    return _told(state, "began", says, actor=actor, now=now)


def next_state(
    state: ReleaseState,
    analysis: StepAnalysis | None,
    observed: Observed,
    now: datetime,
    config: RolloutConfig,
) -> Step:
    """Return where a release stands after one look at it.

    A verdict of roll-back counts at once. Everything else waits until the step's traffic is seen
    in force: the versions answer, the place has settled, and the traffic read back is the
    state's. A candidate that answered and no longer does loses its traffic and is paused; one
    that stays away longer than `max_unready_seconds`, or goes away more than `max_outages`
    times, is rolled back. A step ends when an analysis says advance, `step_seconds` have passed
    and, where the step sends live requests, the candidate has answered `min_requests`.

    Parameters
    ----------
    state : ReleaseState
        Where it stood.
    analysis : StepAnalysis, optional
        A fresh analysis of this step; without it no step ends.
    observed : Observed
        What is in force.
    now : datetime
        With a time zone.
    config : RolloutConfig
        The durations and limits.
    """
    if state.is_over or state.phase == "awaiting_approval":
        return state, ()
    if analysis is not None:
        state = _with(state, last_analysis=analysis, analysed_at=_text(now))
        if analysis.verdict == "rollback":
            return _rolled_back(state, _worst(analysis), now=now, analysis=analysis)
    if not observed.candidate_ready:
        return _candidate_away(state, now, config)
    state, events = _arrived(state, observed, now, config)
    if state.is_over or not state.in_force or state.waiting_since is not None:
        return state, events
    state, more = _judged(state, analysis, now, config)
    return state, events + more


def approve(state: ReleaseState, *, by: str, reason: str, now: datetime) -> Step:
    """Let an awaiting release begin; the caller has verified the approval.

    Raises
    ------
    BadInput
        If it does not wait for one.
    """
    if state.phase != "awaiting_approval":
        raise _refusal(state, "waits for no approval")
    state = _with(state, phase="progressing", step_began_at=_text(now), reason="")
    return _told(state, "approved", f"approved: {reason}", actor=by, now=now)


def hold(state: ReleaseState, *, by: str, reason: str, now: datetime) -> Step:
    """Pause by hand: it stays at its step until somebody resumes it, unless it does harm.

    Raises
    ------
    BadInput
        If it is not under way.
    """
    _require_under_way(state)
    state = _with(
        state,
        phase="paused",
        held_by=by,
        paused_since=state.paused_since or _text(now),
        reason=reason,
    )
    return _told(state, "paused", f"held by hand: {reason}", actor=by, now=now)


def resume(state: ReleaseState, *, by: str, reason: str, now: datetime) -> Step:
    """End a pause; the next analysis decides again.

    Raises
    ------
    BadInput
        If it is not paused.
    """
    _require_under_way(state)
    if state.phase != "paused":
        raise _refusal(state, "is not paused")
    state = _with(state, phase="progressing", held_by=None, paused_since=None, reason="")
    return _told(state, "resumed", f"resumed by hand: {reason}", actor=by, now=now)


def advance(state: ReleaseState, *, by: str, reason: str, now: datetime) -> Step:
    """Go one step further on a person's word, whatever the clock and the analysis say.

    Raises
    ------
    BadInput
        If it is not under way, or its candidate does not answer.
    """
    _require_under_way(state)
    if state.withdrawn:
        raise _refusal(state, "has a candidate that does not answer")
    state = _with(state, phase="progressing", held_by=None, paused_since=None, reason="")
    return _one_step(state, f"advanced by hand: {reason}", actor=by, now=now, analysis=None)


def return_to(state: ReleaseState, version: str, *, by: str, reason: str, now: datetime) -> Step:
    """Give all traffic to a version, whatever the release's phase; the release is over."""
    state = _with(state, baseline=version)
    return _rolled_back(state, f"returned by hand: {reason}", now=now, actor=by)


def _require_under_way(state: ReleaseState) -> None:
    if state.phase == "awaiting_approval":
        raise _refusal(state, "waits for an approval")
    if state.is_over:
        raise _refusal(state, f"is over ({state.phase.replace('_', ' ')})")


def _refusal(state: ReleaseState, problem: str) -> BadInput:
    return BadInput(
        f"release of {state.name} {state.candidate}", problem, "see `tidegate rollout status`"
    )


def seconds_since(then: str, now: datetime) -> float:
    """Return how many seconds ago a time of a state was."""
    return (now - datetime.fromisoformat(then)).total_seconds()


def _candidate_away(state: ReleaseState, now: datetime, config: RolloutConfig) -> Step:
    """Wait for a candidate that starts; withdraw one that stopped answering."""
    waiting_since = state.waiting_since or _text(now)
    had_answered = state.in_force or (state.step > 0 and not state.withdrawn)
    state = _with(state, waiting_since=waiting_since)
    if seconds_since(waiting_since, now) > config.max_unready_seconds:
        says = f"{state.candidate} has not answered for {config.max_unready_seconds:g} s"
        return _rolled_back(state, says, now=now)
    if not had_answered:
        return state, ()
    state = _with(state, withdrawn=True, in_force=False, outages=state.outages + 1)
    if state.outages > config.max_outages:
        says = f"{state.candidate} stopped answering {state.outages} times"
        return _rolled_back(state, says, now=now)
    return _paused(state, f"{state.candidate} stopped answering; its traffic is withdrawn", now)


def _arrived(state: ReleaseState, observed: Observed, now: datetime, config: RolloutConfig) -> Step:
    """Note that the step's traffic is in force, or since when it is not."""
    state = _with(state, withdrawn=False)
    if not observed.baseline_ready:
        state = _with(state, waiting_since=state.waiting_since or _text(now))
        return _paused(state, f"the baseline {state.baseline} does not answer", now)
    if not (observed.settled and observed.traffic == state.traffic):
        state = _with(state, waiting_since=state.waiting_since or _text(now))
        if seconds_since(state.waiting_since or "", now) <= config.max_unready_seconds:
            return state, ()
        says = f"the traffic of this step was not in force for {config.max_unready_seconds:g} s"
        return _rolled_back(state, says, now=now)
    began = state.step_began_at if state.in_force else _text(now)
    return _with(state, in_force=True, waiting_since=None, step_began_at=began), ()


def _judged(
    state: ReleaseState, analysis: StepAnalysis | None, now: datetime, config: RolloutConfig
) -> Step:
    """Do what a fresh analysis of a step in force allows."""
    paused_since = state.paused_since
    if (
        state.phase == "paused"
        and state.held_by is None
        and (analysis is None or analysis.verdict == "pause")
        and paused_since is not None
        and seconds_since(paused_since, now) > config.max_pause_seconds
    ):
        says = f"inconclusive for longer than {config.max_pause_seconds:g} s: {state.reason}"
        return _rolled_back(state, says, now=now, analysis=state.last_analysis)
    if analysis is None:
        return state, ()
    if analysis.verdict == "pause":
        return _paused(state, _worst(analysis), now, analysis)
    if state.held_by is not None:
        return state, ()
    events: tuple[ReleaseEvent, ...] = ()
    if state.phase == "paused":
        state = _with(state, phase="progressing", paused_since=None, reason="")
        state, events = _told(
            state, "resumed", "the analysis is conclusive again", now=now, analysis=analysis
        )
    long_enough = seconds_since(state.step_began_at, now) >= config.step_seconds
    enough = state.percent == 0 or analysis.candidate_requests >= config.min_requests
    if not (long_enough and enough):
        return state, events
    says = f"{analysis.candidate_requests} requests answered, no finding against it"
    state, more = _one_step(state, says, now=now, analysis=analysis)
    return state, events + more


def _one_step(
    state: ReleaseState,
    says: str,
    *,
    now: datetime,
    analysis: StepAnalysis | None,
    actor: str = CONTROLLER,
) -> Step:
    if state.step + 1 == len(state.steps):
        state = _with(state, phase="promoted", reason=says)
        return _told(state, "promoted", says, now=now, analysis=analysis, actor=actor)
    state = _with(
        state, step=state.step + 1, step_began_at=_text(now), in_force=False, waiting_since=None
    )
    return _told(state, "advanced", says, now=now, analysis=analysis, actor=actor)


def _paused(
    state: ReleaseState, says: str, now: datetime, analysis: StepAnalysis | None = None
) -> Step:
    """Pause, or stay paused; a pause by hand and its reason stay as they are."""
    if state.held_by is not None:
        return state, ()
    already = state.phase == "paused"
    state = _with(state, phase="paused", paused_since=state.paused_since or _text(now), reason=says)
    return (state, ()) if already else _told(state, "paused", says, now=now, analysis=analysis)


def _rolled_back(
    state: ReleaseState,
    says: str,
    *,
    now: datetime,
    analysis: StepAnalysis | None = None,
    actor: str = CONTROLLER,
) -> Step:
    at = state.percent
    state = _with(state, phase="rolled_back", held_by=None, paused_since=None, reason=says)
    return _told(state, "rolled_back", says, now=now, analysis=analysis, actor=actor, percent=at)


def _told(
    state: ReleaseState,
    kind: Kind,
    says: str,
    *,
    now: datetime,
    actor: str = CONTROLLER,
    analysis: StepAnalysis | None = None,
    percent: int | None = None,
) -> Step:
    event = ReleaseEvent(
        at=_text(now),
        actor=actor,
        kind=kind,
        release=state.name,
        candidate=state.candidate,
        percent=state.percent if percent is None else percent,
        says=says,
        analysis=analysis,
    )
    return state, (event,)


def _worst(analysis: StepAnalysis) -> str:
    """Return what the findings that carry the verdict say."""
    said = [f.says for f in analysis.findings if f.verdict == analysis.verdict]
    return "; ".join(said) or f"the analysis says {analysis.verdict}"


def _with(state: ReleaseState, **changes: Any) -> ReleaseState:
    update: Mapping[str, Any] = changes
    return state.model_copy(update=update)


def _text(now: datetime) -> str:
    return now.isoformat(timespec="microseconds")
