"""From a pipeline to the release controller: a promoted candidate waits in the store for its turn.

A pipeline step needs no right on the model servers for that. It writes a file beside the bundle;
the controller begins the release when none is under way and the version in service answers.
Whatever is killed or repeated on either side, one candidate is released once.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tidegate.config import RunConfig
from tidegate.errors import BadInput
from tidegate.models.bundle import read_manifest
from tidegate.records import (
    ApprovalRequest,
    HandedOver,
    Release,
    ReleaseEvent,
    ReleaseState,
    Traffic,
)
from tidegate.rollout.approval import read_approval, release_or_ask, request_folder
from tidegate.rollout.backend import ReleaseBackend
from tidegate.rollout.inference_service import PLACEHOLDER
from tidegate.rollout.ledger import release_under_way
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.release_log import ReleaseLog
from tidegate.rollout.release_queue import let_go, put, waiting
from tidegate.rollout.transitions import CONTROLLER, approve, begin

logger = logging.getLogger(__name__)

#: Who begins a release that a pipeline handed over.
PIPELINE = "pipeline"

#: From a candidate that was handed over to the state of its release when that is over, None
#: where there was nothing to step.
Wait = Callable[[HandedOver], ReleaseState | None]


def release_on_cluster(
    store: ModelStore, bundle: Path, config: RunConfig, *, run_digest: str, wait: Wait
) -> Release | ApprovalRequest | HandedOver | ReleaseState:
    """Let a promoted bundle begin its way to traffic; what the pipeline's release step does.

    The version in service stays until the controller says that the release is promoted. A first
    version is in service at once: there is nothing to step from, and the controller starts the
    model server with it.

    Parameters
    ----------
    config : RunConfig
        `rollout.approval` and `rollout.controller` say what happens.
    wait : callable
        Steps the release in this very process until it is over (``controller: step``).

    Returns
    -------
    Release or ApprovalRequest or HandedOver or ReleaseState
        What is in service, what was asked, what waits, or how the release ended.

    Raises
    ------
    BadInput
        If the bundle is not whole.
    """
    rollout = config.rollout
    if rollout.approval != "auto" or rollout.controller == "none":
        return release_or_ask(store, bundle, run_digest=run_digest, approval=rollout.approval)
    manifest = read_manifest(bundle)
    current = store.current(manifest.name)
    if current is None:
        current = store.release(bundle, run_digest=run_digest)
    elif current.version != manifest.version:
        store.keep(bundle)
    handed = hand_over(store, manifest.name, manifest.version, run_digest=run_digest)
    if handed.refusal:
        logger.warning("%s is not released: %s", handed.candidate, handed.refusal)
        return handed
    if rollout.controller == "step":
        return wait(handed) or store.current(manifest.name) or current
    return current if current.version == manifest.version else handed


def hand_over(
    store: ModelStore, name: str, candidate: str, *, run_digest: str, now: datetime | None = None
) -> HandedOver:
    """Leave a kept candidate for the controller; told again, what was told first stays.

    A version that was rolled back is refused: the same content would fail again, every week.
    """
    told = [e for e in _log(store, name).read() if e.candidate == candidate and e.kind != "note"]
    handed = HandedOver(
        name=name,
        candidate=candidate,
        run_digest=run_digest,
        handed_over_at=(now or datetime.now(UTC)).isoformat(timespec="microseconds"),
    )
    if told and told[-1].kind == "rolled_back":
        says = f"it was rolled back on {told[-1].at[:10]}: {told[-1].says}; to try it again: "
        return handed.model_copy(update={"refusal": says + "tidegate rollout start"})
    return put(store, handed)


def next_release(
    store: ModelStore, config: RunConfig, backend: ReleaseBackend, *, clock: Callable[[], datetime]
) -> Callable[[ReleaseState | None], ReleaseState | None]:
    """Return what a `Controller` asks for the next release while none is under way.

    The newest candidate is the next; those that it overtook are let go of. It begins when the
    version in service is in force and answers: a release steps from there.
    """

    def ask(last: ReleaseState | None) -> ReleaseState | None:
        if last is None:
            _end_what_lost_its_state(store, config.name, backend, clock)
        for handed in waiting(store, config.name):
            if last is not None and is_of(last, handed):
                let_go(store, handed)
        for handed in waiting(store, config.name):
            if handed.candidate not in store.versions(config.name):
                logger.warning("%s is kept no more: its release cannot begin", handed.candidate)
                let_go(store, handed)
        queue = waiting(store, config.name)
        if not queue:
            return None
        handed = queue[-1]
        current = store.current(config.name)
        if current is None or current.version == handed.candidate:
            _serve_the_first(current, backend)
            let_go(store, handed)
            return None
        observed = backend.observe()
        if observed.traffic != Traffic(baseline=current.version) or not observed.baseline_ready:
            logger.warning(
                "%s waits: %s is to be in service and answer; in force is %s %s",
                handed.candidate,
                current.version,
                observed.traffic.baseline,
                "; ".join(observed.notes),
            )
            return None
        try:
            state = _begun(store, config, current.version, handed, clock())
        except BadInput as refused:
            logger.warning("%s waits: %s", handed.candidate, refused)
            return None
        for overtaken in queue[:-1]:
            logger.info("%s is overtaken by %s", overtaken.candidate, handed.candidate)
            let_go(store, overtaken)
        return state

    return ask


def begin_release(
    store: ModelStore,
    config: RunConfig,
    *,
    baseline: str,
    candidate: str,
    run_digest: str,
    actor: str,
    now: datetime,
    asked: Path | None = None,
) -> ReleaseState:
    """Return the state of a release that begins, approved where the configuration demands it.

    Parameters
    ----------
    asked : Path, optional
        Has the request and its approval [the store's folder for the run].

    Raises
    ------
    BadInput
        If it is to be approved and is not: nothing begins.
    """
    state, events = begin(
        name=config.name,
        baseline=baseline,
        candidate=candidate,
        run_digest=run_digest,
        config=config.rollout,
        actor=actor,
        now=now,
    )
    if state.phase == "awaiting_approval":
        folder = asked or request_folder(store, config.name, run_digest)
        signed = read_approval(folder, config.rollout.approvers)
        if signed.request.candidate != candidate:
            problem = f"the approval is for {signed.request.candidate}, not {candidate}"
            raise BadInput(str(folder), problem, "approve this run: tidegate approve RUN")
        state, more = approve(state, by=signed.by, reason=signed.reason, now=now)
        events += more
    return state.model_copy(update={"outbox": events})


def _begun(
    store: ModelStore, config: RunConfig, baseline: str, handed: HandedOver, now: datetime
) -> ReleaseState:
    return begin_release(
        store,
        config,
        baseline=baseline,
        candidate=handed.candidate,
        run_digest=handed.run_digest,
        actor=PIPELINE,
        now=now,
    )


def _serve_the_first(current: Release | None, backend: ReleaseBackend) -> None:
    """Start model servers that wait for their first version."""
    if current is not None and backend.observe().traffic.baseline == PLACEHOLDER:
        backend.route(Traffic(baseline=current.version))


def _end_what_lost_its_state(
    store: ModelStore, name: str, backend: ReleaseBackend, clock: Callable[[], datetime]
) -> None:
    """Write the end of a release into the log whose state went with the InferenceService."""
    on_this_machine = (store.folder_of(name) / "rollout" / "state.json").is_file()
    candidate = None if on_this_machine else release_under_way(store, name)
    if candidate is None:
        return
    says = "its state is gone, as when the InferenceService was deleted; the release is over"
    at = clock().isoformat(timespec="microseconds")
    event = ReleaseEvent(
        at=at, actor=CONTROLLER, kind="rolled_back", release=name, candidate=candidate,
        percent=0, says=says,
    )  # fmt: skip
    backend.record(event)


def is_of(state: ReleaseState, handed: HandedOver) -> bool:
    """Say whether a state is of the release of this candidate of this run."""
    return (state.candidate, state.run_digest) == (handed.candidate, handed.run_digest)


def _log(store: ModelStore, name: str) -> ReleaseLog:
    return ReleaseLog(store.folder_of(name) / "rollout" / "events.jsonl")
