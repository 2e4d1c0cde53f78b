"""Releases on this machine, for tests and the demo only: files in the model store's folder.

Under ``NAME/rollout/`` of the store: ``state.json`` (the release and its revision),
``lease.json`` and what `tidegate.rollout.ledger` writes: ``events.jsonl`` and
``failed/VERSION.json``, a candidate that was rolled back, with every event of its releases. The
traffic is moved by a `LocalTraffic`, where one runs.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from tidegate.errors import Conflict
from tidegate.records import Observed, ReleaseEvent, ReleaseState, Traffic
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_json, write_json


class LocalTraffic(Protocol):
    """Server processes and a proxy on this machine (`tidegate.rollout.local_servers`)."""

    def route(self, traffic: Traffic) -> None:
        """Start the servers that the traffic needs and set the weights."""

    def observe(self) -> Observed:
        """Return the traffic in force and which versions answer."""


class LocalBackend:
    """Keeps a release in files and moves the traffic of local processes.

    Parameters
    ----------
    store : ModelStore
        Holds the bundles; a promoted candidate becomes its version in service.
    name : str
        The model.
    traffic : LocalTraffic, optional
        Without it nothing is served: commands change the state only.
    kept_versions : int
        Versions that stay in the store after a promotion.
    """

    def __init__(
        self,
        store: ModelStore,
        name: str,
        traffic: LocalTraffic | None = None,
        *,
        kept_versions: int = 5,
    ) -> None:
        self._name = name
        self._traffic = traffic
        self.folder = self._folder = store.folder_of(name) / "rollout"
        self._ledger = Ledger(store, name, kept_versions=kept_versions)
        self.log = self._ledger.log

    def read_state(self) -> tuple[ReleaseState, str] | None:
        """Return the state and its revision; None when no release ever began."""
        try:
            found = read_json(self._folder / "state.json")
        except FileNotFoundError:
            return None
        return ReleaseState.model_validate(found["state"]), str(found["revision"])

    def write_state(self, state: ReleaseState, *, revision: str | None) -> str:
        """Replace the state that has this revision; return the new one.

        Raises
        ------
        Conflict
            If the revision is not the present one.
        """
        with self._locked():
            present = self.read_state()
            if (None if present is None else present[1]) != revision:
                raise Conflict(f"revision {revision} of {self._name} is not the present one")
            new = str(int(revision or 0) + 1)
            content = {"revision": new, "state": state.model_dump(mode="json")}
            write_json(self._folder / "state.json", content)
            return new

    def hold_lease(self, holder: str, now: datetime, *, seconds: float) -> bool:
        """Take or renew the lease; False while another holder's has not run out."""
        with self._locked():
            held = self._lease()
            if held is not None and held[0] != holder and now.timestamp() < held[1]:
                return False
            until = now.timestamp() + seconds
            write_json(self._folder / "lease.json", {"holder": holder, "until": until})
            return True

    def let_go_of_lease(self, holder: str) -> None:
        """Give the lease back, if it is this holder's."""
        with self._locked():
            held = self._lease()
            if held is not None and held[0] == holder:
                (self._folder / "lease.json").unlink()

    def route(self, traffic: Traffic) -> None:
        """Put the traffic in force, where servers run."""
        if self._traffic is not None:
            self._traffic.route(traffic)

    def observe(self) -> Observed:
        """Return what is in force; without servers, that nothing answers."""
        if self._traffic is not None:
            return self._traffic.observe()
        found = self.read_state()
        baseline = "" if found is None else found[0].baseline
        return Observed(
            traffic=Traffic(baseline=baseline),
            baseline_ready=False,
            candidate_ready=False,
            settled=False,
            notes=("nothing is served",),
        )

    def record(self, event: ReleaseEvent) -> None:
        """Write an event down; a promotion moves the store's pointer, a failure is archived."""
        found = self.read_state()
        self._ledger.write_down(event, None if found is None else found[0])

    def lease_holder(self) -> str | None:
        """Return who took the lease last, if nobody gave it back."""
        held = self._lease()
        return None if held is None else held[0]

    def _lease(self) -> tuple[str, float] | None:
        try:
            found = read_json(self._folder / "lease.json")
        except FileNotFoundError:
            return None
        return str(found["holder"]), float(found["until"])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
