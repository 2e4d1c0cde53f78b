"""Every version that the model store knows of: what it serves, keeps, and keeps the evidence of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.release_log import ReleaseLog
from tidegate.rollout.release_queue import waiting

Standing = Literal["in service", "was in service", "failed", "waits", "kept"]


@dataclass(frozen=True)
class KnownVersion:
    """One version.

    Parameters
    ----------
    at : str or None
        When it came to that standing: put in service, rolled back, or handed over.
    says : str
        Why it failed.
    is_kept : bool
        Whether its bundle is there, so that one can return to it.
    page : Path or None
        The root-cause page of a failed one.
    """

    version: str
    standing: Standing
    at: str | None
    says: str
    is_kept: bool
    page: Path | None


def known_versions(store: ModelStore, name: str) -> tuple[KnownVersion, ...]:
    """Return every version of a name, oldest first; a failed one stays when its bundle is gone."""
    folder = store.folder_of(name) / "rollout"
    kept = store.versions(name)
    current = store.current(name)
    served = {release.version: release.released_at for release in store.history(name)}
    ended = {
        event.candidate: event
        for event in ReleaseLog(folder / "events.jsonl").read()
        if event.kind in ("rolled_back", "promoted")
    }
    queue = {handed.candidate: handed.handed_over_at for handed in waiting(store, name)}
    archived = {path.stem for path in (folder / "failed").glob("*.json")}

    def known(version: str) -> KnownVersion:
        end = ended.get(version)
        failed = end is not None and end.kind == "rolled_back"
        page = folder / end.page if end is not None and end.page is not None else None
        standing: Standing
        at: str | None
        if current is not None and version == current.version:
            standing, at = "in service", current.released_at
        elif version in queue:
            standing, at = "waits", queue[version]
        elif failed and end is not None:
            standing, at = "failed", end.at
        elif version in served:
            standing, at = "was in service", served[version]
        else:
            standing, at = "kept", None
        says = end.says if end is not None and standing == "failed" else ""
        return KnownVersion(version, standing, at, says, version in kept, page)

    found = [known(version) for version in dict.fromkeys((*kept, *served, *sorted(archived)))]
    return tuple(sorted(found, key=lambda one: one.at or ""))
