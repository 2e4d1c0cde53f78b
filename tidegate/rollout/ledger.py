"""What an event of a release leaves in the model store: the log, the pointer, the archive."""

import logging

from pydantic import ValidationError

from tidegate.errors import BadInput
from tidegate.records import ReleaseEvent, ReleaseState
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.release_log import ReleaseLog
from tidegate.rollout.release_queue import waiting
from tidegate.rollout.transitions import CONTROLLER
from tidegate.store import read_json, write_json

logger = logging.getLogger(__name__)


def release_under_way(store: ModelStore, name: str) -> str | None:
    """Return the candidate of a stepped release that is not over, on this machine or a cluster."""
    folder = store.folder_of(name) / "rollout"
    if (folder / "state.json").is_file():
        state = ReleaseState.model_validate(read_json(folder / "state.json")["state"])
        return None if state.is_over else state.candidate
    # A cluster keeps the state; the log here has what it told.
    told = [e for e in ReleaseLog(folder / "events.jsonl").read() if e.kind != "note"]
    if not told or told[-1].kind in ("promoted", "rolled_back"):
        return None
    return told[-1].candidate


class Ledger:
    """Writes down events, under ``NAME/rollout/`` of the store, and what they mean for it.

    Parameters
    ----------
    store : ModelStore
        Holds the bundles; a promoted candidate becomes its version in service.
    name : str
        The model.
    kept_versions : int
        Versions that stay in the store after a promotion.
    """

    def __init__(self, store: ModelStore, name: str, *, kept_versions: int) -> None:
        self._store = store
        self._name = name
        self._kept_versions = kept_versions
        self._folder = store.folder_of(name) / "rollout"
        self.log = ReleaseLog(self._folder / "events.jsonl")

    def write_down(self, event: ReleaseEvent, state: ReleaseState | None) -> ReleaseEvent:
        """Append an event; an end moves the store's pointer or archives the candidate first.

        The line in the log says that all this was done, so a crash before it repeats it and a
        later release of another version is never undone.

        Returns
        -------
        ReleaseEvent
            As the log has it: it names the page of a candidate that was rolled back.
        """
        for known in self.log.read():
            if known.model_copy(update={"page": event.page}) == event:
                return known
        if event.kind == "promoted" and state is not None:
            self._store.put_in_service(self._name, event.candidate, run_digest=state.run_digest)
            queue = {handed.candidate for handed in waiting(self._store, self._name)}
            needed = frozenset({state.baseline, state.candidate, *queue})
            self._store.forget_old(self._name, kept_versions=self._kept_versions, needed=needed)
        elif event.kind == "rolled_back":
            if state is not None:
                if event.actor != CONTROLLER:
                    self._store.put_in_service(self._name, state.baseline)
                event = event.model_copy(update={"page": self._explain(event, state)})
            self._archive(event)
        self.log.append(event)
        return event

    def _explain(self, event: ReleaseEvent, state: ReleaseState) -> str | None:
        """Write the root-cause page; return its place beside the log, None without both bundles."""
        from tidegate.rollout.root_cause import read_made, root_cause, write_root_cause

        if event.candidate == state.baseline:
            return None
        home = self._store.folder_of(self._name)
        try:
            candidate, baseline = (
                read_made(home / "versions" / version, home / "made" / version)
                for version in (event.candidate, state.baseline)
            )
            cause = root_cause(state, event.analysis, candidate, baseline)
            page = write_root_cause(self._folder / "failed" / event.candidate, cause)
        except (BadInput, OSError, ValidationError, ValueError):
            # The roll-back itself must not wait for its explanation.
            logger.exception("the root-cause page of %s could not be written", event.candidate)
            return None
        return str(page.relative_to(self._folder))

    def _archive(self, last: ReleaseEvent) -> None:
        events = [e for e in (*self.log.read(), last) if e.candidate == last.candidate]
        told = [event.model_dump(mode="json") for event in events]
        path = self._folder / "failed" / f"{last.candidate}.json"
        write_json(path, {"candidate": last.candidate, "events": told})
