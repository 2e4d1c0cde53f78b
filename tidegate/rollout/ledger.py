"""What an event of a release leaves in the model store: the log, the pointer, the archive."""

from tidegate.records import ReleaseEvent, ReleaseState
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.release_log import ReleaseLog
from tidegate.rollout.transitions import CONTROLLER
from tidegate.store import write_json


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

    def write_down(self, event: ReleaseEvent, state: ReleaseState | None) -> None:
        """Append an event; an end moves the store's pointer or archives the candidate first.

        The line in the log says that all this was done, so a crash before it repeats it and a
        later release of another version is never undone.
        """
        if event in self.log.read():
            return
        if event.kind == "promoted" and state is not None:
            self._store.put_in_service(self._name, event.candidate, run_digest=state.run_digest)
            needed = frozenset({state.baseline, state.candidate})
            self._store.forget_old(self._name, kept_versions=self._kept_versions, needed=needed)
        elif event.kind == "rolled_back":
            if event.actor != CONTROLLER and state is not None:
                self._store.put_in_service(self._name, state.baseline)
            self._archive(event)
        self.log.append(event)

    def _archive(self, last: ReleaseEvent) -> None:
        events = [e for e in (*self.log.read(), last) if e.candidate == last.candidate]
        told = [event.model_dump(mode="json") for event in events]
        path = self._folder / "failed" / f"{last.candidate}.json"
        write_json(path, {"candidate": last.candidate, "events": told})
