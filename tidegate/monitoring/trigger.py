"""What is done about what was noticed: one request with its reason, however many alarms there are.

The smallest remedy that helps the cause: a moved prior needs a new threshold and no training,
moved inputs a refresh on fresh rows, a moved concept a new search, and what training did not end
needs a person. Everything is a function of the remembered state, the signals and the time; who
keeps the state only has to replace it as a whole (`TriggerStore`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from tidegate.config import Remedy, TriggerConfig
from tidegate.errors import Conflict
from tidegate.records import Cause, RemedyRequest, Signal, TriggerState, TriggerVerdict
from tidegate.store import digest_json

_ORDER: tuple[Remedy, ...] = (
    "nothing",
    "threshold_update",
    "light_refresh",
    "full_retrain",
    "page",
)
_REMEDIES: dict[Cause, Remedy] = {
    "prior_shift": "threshold_update",
    "stale_threshold": "threshold_update",
    "covariate_shift": "light_refresh",
    "schedule": "light_refresh",
    "new_labels": "light_refresh",
    "concept_drift": "full_retrain",
    "quality_loss": "full_retrain",
    "slipping_quality": "page",
    "unclear": "page",
    "hand": "full_retrain",
}
_RETRAINS = frozenset({"light_refresh", "full_retrain"})
#: Causes that come again although all is well.
_PLANNED = frozenset({"schedule", "new_labels", "hand"})
#: How many signals and requests are remembered, and how many signals wait; more say nothing new.
_SIGNALS_TOLD, _REQUESTS_TOLD, _MOST_WAITING = 1000, 100, 50
_TRIES = 20
_RUNS, _RENEWALS = "retrain-", "renewal-"


class TriggerStore(Protocol):
    """Keeps one model's state and replaces it as a whole."""

    def read(self) -> tuple[TriggerState | None, str | None]:
        """Return the state and its revision; None for both before the first write."""

    def write(self, state: TriggerState, *, revision: str | None) -> None:
        """Replace the state of this revision.

        Raises
        ------
        Conflict
            If the revision is not the present one.
        """


def decide(
    state: TriggerState, signals: Sequence[Signal], now: datetime, config: TriggerConfig
) -> tuple[TriggerState, TriggerVerdict]:
    """Turn what was noticed into at most one request.

    Parameters
    ----------
    state : TriggerState
        Of the model that all signals are about.
    signals : sequence of Signal
        What is new, in any order; may be empty.
    now : datetime
        With its time zone.

    Returns
    -------
    tuple
        The state to keep and the verdict. Until `ended` is told of a retrain, further signals
        wait; they are decided on together when it has ended or is overdue.
    """
    state = _without_overdue(state, now, config)
    known = _by_name(state.waiting) | _by_name(_with_schedule(state, signals, now, config))
    fresh = {name: signal for name, signal in known.items() if name not in state.told}
    waiting = _latest_renewal(tuple(fresh.values()))[:_MOST_WAITING]
    state = state.model_copy(update={"waiting": waiting})
    if not waiting:
        why = (
            "nothing was noticed that was not acted on already" if known else "nothing was noticed"
        )
        return state, _nothing(now, why)
    urgent = tuple(s for s in waiting if _remedy(s, state, config) == "page" or s.cause == "hand")
    if state.running is not None and not _pages(urgent, state, config):
        return state, _nothing(now, f"{state.running.name} still runs; {_waiting(waiting)}")
    if state.running is not None:
        waiting = _pages(urgent, state, config)
    rest = None if urgent else _rest(state, now, config)
    if rest is not None:
        renewals = tuple(signal for signal in waiting if signal.cause == "stale_threshold")
        if not renewals:
            return state, _nothing(now, f"{rest}; {_waiting(waiting)}")
        waiting = renewals
    waiting = _unmixed(waiting)
    rested = _not_before_rest(waiting, state, now, config)
    if not rested:
        return state, _nothing(
            now, f"the last retrain is too recent for a refresh; {_waiting(waiting)}"
        )
    waiting = rested
    request = _request(waiting, state, now, config)
    return _asked(state, request, waiting, now), TriggerVerdict(
        at=_text(now), request=request, why=request.says
    )


def ended(state: TriggerState, name: str, *, replaced_model: bool) -> TriggerState:
    """Take in how a request ended; one that does not run changes nothing.

    Where another model is in service now, what was noticed about the old one no longer waits,
    except what a person asked for. Another threshold answers what asked for one, and nothing else.
    """
    if state.running is None or state.running.name != name:
        return state
    kept = state.waiting
    if replaced_model and state.running.remedy == "threshold_update":
        kept = tuple(s for s in kept if _REMEDIES[s.cause] != "threshold_update")
    elif replaced_model:
        kept = tuple(signal for signal in kept if signal.cause == "hand")
    return state.model_copy(update={"running": None, "waiting": kept})


def is_overdue(request: RemedyRequest, now: datetime, config: TriggerConfig) -> bool:
    """Say whether a request runs for so long that others no longer wait for it."""
    longest = timedelta(hours=config.longest_run_hours)
    return now - datetime.fromisoformat(request.asked_at) >= longest


def settled(state: TriggerState, causes: Sequence[Cause]) -> TriggerState:
    """Take in a window in which none of these causes was seen: their count begins anew."""
    left = {cause: count for cause, count in state.in_a_row.items() if cause not in causes}
    return state.model_copy(update={"in_a_row": left})


def pull(
    store: TriggerStore,
    model: str,
    signals: Sequence[Signal],
    now: datetime,
    config: TriggerConfig,
    act: Callable[[RemedyRequest], None],
) -> TriggerVerdict:
    """Decide under optimistic locking, and act on what this caller was the one to decide.

    The request is remembered before it is acted on; `act` submits under the request's own name,
    so that one who was killed in between can be repeated (see `repeat`) and asks for one run.

    Raises
    ------
    Conflict
        If others kept changing the state.
    """
    for _ in range(_TRIES):
        kept, revision = store.read()
        state, verdict = decide(kept or TriggerState(model=model), signals, now, config)
        if state == kept:
            return verdict
        try:
            store.write(state, revision=revision)
        except Conflict:
            continue
        if verdict.request is not None:
            act(verdict.request)
        return verdict
    raise Conflict(
        f"the trigger of {model} was changed {_TRIES} times while it was read; try again"
    )


def repeat(store: TriggerStore, act: Callable[[RemedyRequest], None]) -> RemedyRequest | None:
    """Act once more on the request that runs; acting is idempotent by its name."""
    state, _ = store.read()
    if state is None or state.running is None:
        return None
    act(state.running)
    return state.running


def _remedy(signal: Signal, state: TriggerState, config: TriggerConfig) -> Remedy:
    if signal.wants is not None:
        return signal.wants
    remedy = _REMEDIES[signal.cause]
    in_vain = state.in_a_row.get(signal.cause, 0) >= config.page_after
    if in_vain and remedy in _RETRAINS and signal.cause not in _PLANNED:
        return "page"
    if remedy == "light_refresh" and state.light_in_a_row >= config.full_after_refreshes:
        return "full_retrain"
    return remedy


def _pages(
    signals: Sequence[Signal], state: TriggerState, config: TriggerConfig
) -> tuple[Signal, ...]:
    return tuple(signal for signal in signals if _remedy(signal, state, config) == "page")


def _latest_renewal(signals: tuple[Signal, ...]) -> tuple[Signal, ...]:
    """Leave out what was said of a stale threshold before the latest window."""
    windows = [signal.window for signal in signals if signal.cause == "stale_threshold"]
    return tuple(
        signal
        for signal in signals
        if signal.cause != "stale_threshold" or signal.window == max(windows)
    )


def _unmixed(signals: tuple[Signal, ...]) -> tuple[Signal, ...]:
    """Keep a page for an unclear change from taking the place of others' remedies; hands first."""
    unclear = tuple(signal for signal in signals if signal.cause == "unclear")
    if not any(signal.cause == "hand" for signal in signals):
        return unclear or signals
    return tuple(signal for signal in signals if signal.cause != "unclear")


def _request(
    signals: Sequence[Signal], state: TriggerState, now: datetime, config: TriggerConfig
) -> RemedyRequest:
    """Merge signals into the strongest of their remedies."""
    strongest = max(signals, key=lambda s: _ORDER.index(_remedy(s, state, config)))
    remedy = _remedy(strongest, state, config)
    assert remedy != "nothing"
    causes = tuple(dict.fromkeys(s.cause for s in (strongest, *signals)))
    others = Counter(s.cause for s in signals if s is not strongest)
    beside = ", ".join(f"{n} {cause}" for cause, n in sorted(others.items()))
    says = f"{remedy} for {strongest.cause}: {strongest.says}"
    return RemedyRequest(
        name=_name(strongest, remedy),
        model=strongest.model,
        window=strongest.window,
        remedy=remedy,
        causes=causes,
        says=f"{says} (with {beside})" if beside else says,
        asked_at=_text(now),
        evidence=strongest.evidence,
    )


def _asked(
    state: TriggerState, request: RemedyRequest, signals: Sequence[Signal], now: datetime
) -> TriggerState:
    """Remember a request, and that these signals led to it."""
    names = {_signal_name(signal): _text(now) for signal in signals}
    told, asked = {**state.told, **names}, {**state.asked, request.name: _text(now)}
    changes: dict[str, object] = {
        "told": dict(list(told.items())[-_SIGNALS_TOLD:]),
        "asked": dict(list(asked.items())[-_REQUESTS_TOLD:]),
        "waiting": tuple(s for s in state.waiting if _signal_name(s) not in names),
    }
    if request.remedy != "page":
        # A threshold update runs too: what waits for it must see the new threshold.
        changes["running"] = request
    if request.remedy in _RETRAINS:
        light = request.remedy == "light_refresh"
        changes["last_retrain_at"] = _text(now)
        changes["light_in_a_row"] = state.light_in_a_row + 1 if light else 0
        in_a_row = dict(state.in_a_row)
        for cause in request.causes:
            in_a_row[cause] = in_a_row.get(cause, 0) + 1
        changes["in_a_row"] = in_a_row
    return state.model_copy(update=changes)


def _without_overdue(state: TriggerState, now: datetime, config: TriggerConfig) -> TriggerState:
    if state.running is None or not is_overdue(state.running, now, config):
        return state
    return state.model_copy(update={"running": None})


def _with_schedule(
    state: TriggerState, signals: Sequence[Signal], now: datetime, config: TriggerConfig
) -> tuple[Signal, ...]:
    """Add the schedule's own signal when it is due."""
    if config.schedule_days is None or state.last_retrain_at is None:
        return tuple(signals)
    since = now - datetime.fromisoformat(state.last_retrain_at)
    if since < timedelta(days=config.schedule_days):
        return tuple(signals)
    days = since / timedelta(days=1)
    says = f"the last retrain was {days:.1f} days ago and one is due every {config.schedule_days:g}"
    due = Signal(model=state.model, window=_text(now)[:10], cause="schedule", says=says)
    return (*signals, due)


def _rest(state: TriggerState, now: datetime, config: TriggerConfig) -> str | None:
    """Say why nothing may be asked for now; renewed thresholds neither rest nor count."""
    asked = sorted(
        datetime.fromisoformat(at) for name, at in state.asked.items() if name.startswith(_RUNS)
    )
    if not asked:
        return None
    cooled = asked[-1] + timedelta(hours=config.cooldown_hours)
    if now < cooled:
        return f"cooling down until {_text(cooled)}"
    today = [at for at in asked if at > now - timedelta(days=1)]
    if len(today) >= config.max_per_day:
        return f"{len(today)} requests within a day, and {config.max_per_day} are allowed"
    return None


def _not_before_rest(
    signals: tuple[Signal, ...], state: TriggerState, now: datetime, config: TriggerConfig
) -> tuple[Signal, ...]:
    """Leave out those that ask for a refresh while the last retrain is young, hands excepted."""
    if state.last_retrain_at is None:
        return signals
    young = timedelta(hours=config.refresh_rest_hours)
    if now - datetime.fromisoformat(state.last_retrain_at) >= young:
        return signals
    return tuple(
        signal
        for signal in signals
        if _REMEDIES[signal.cause] != "light_refresh"
        or signal.wants is not None
        or _remedy(signal, state, config) == "page"
    )


def _by_name(signals: Sequence[Signal]) -> dict[str, Signal]:
    return {_signal_name(signal): signal for signal in signals}


def _signal_name(signal: Signal) -> str:
    return "signal-" + _digest(signal.model, signal.window, signal.cause, signal.wants or "")


def _name(signal: Signal, remedy: Remedy) -> str:
    """Return a name that Kubernetes takes for an object."""
    kind = _RENEWALS if signal.cause == "stale_threshold" else _RUNS
    digest = _digest(signal.model, signal.window, signal.cause, remedy)
    return f"{'page-' if remedy == 'page' else kind}{signal.model}-{digest}"


def _digest(*parts: str) -> str:
    return digest_json(parts)[:12]


def _nothing(now: datetime, why: str) -> TriggerVerdict:
    return TriggerVerdict(at=_text(now), request=None, why=why)


def _waiting(signals: Sequence[Signal]) -> str:
    return "1 signal waits" if len(signals) == 1 else f"{len(signals)} signals wait"


def _text(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
