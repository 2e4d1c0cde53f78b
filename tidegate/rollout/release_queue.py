"""Candidates that pipelines left for the release controller: one file each, in the store."""

import logging
from pathlib import Path

from pydantic import ValidationError

from tidegate.records import HandedOver
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_record, write_record

logger = logging.getLogger(__name__)


def put(store: ModelStore, handed: HandedOver) -> HandedOver:
    """Leave a candidate; when the same run left it already, what is there stays and is returned."""
    path = _path(store, handed)
    if path.exists():
        present = read_record(path, HandedOver)
        if present.run_digest == handed.run_digest:
            return present
    write_record(path, handed)
    return handed


def waiting(store: ModelStore, name: str) -> tuple[HandedOver, ...]:
    """Return the candidates whose release is not over, the one under way too, oldest first."""
    found = []
    for path in _folder(store, name).glob("*.json"):
        try:
            found.append(read_record(path, HandedOver))
        except FileNotFoundError:  # let go of meanwhile
            continue
        except ValidationError:
            logger.warning("%s is no candidate that was handed over; remove it", path)
    return tuple(sorted(found, key=lambda handed: handed.handed_over_at))


def let_go(store: ModelStore, handed: HandedOver) -> None:
    """Take a candidate out; its bundle stays for as long as the store keeps it."""
    _path(store, handed).unlink(missing_ok=True)


def _path(store: ModelStore, handed: HandedOver) -> Path:
    return _folder(store, handed.name) / f"{handed.candidate}.json"


def _folder(store: ModelStore, name: str) -> Path:
    return store.folder_of(name) / "rollout" / "handed_over"
