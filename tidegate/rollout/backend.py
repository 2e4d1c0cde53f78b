"""What the release controller needs of the place where models serve.

Two places exist: KServe on a cluster, and processes on this machine for tests and the demo.
"""

from datetime import datetime
from typing import Protocol

from tidegate.records import Observed, ReleaseEvent, ReleaseState, StepAnalysis, Traffic


class ReleaseBackend(Protocol):
    """Keeps a release's state, its lease and its log, and moves traffic."""

    def read_state(self) -> tuple[ReleaseState, str] | None:
        """Return the state and its revision; None when no release ever began."""

    def write_state(self, state: ReleaseState, *, revision: str | None) -> str:
        """Replace the state that has this revision (None: there is none yet); return the new one.

        Raises
        ------
        Conflict
            If the revision is not the present one.
        """

    def hold_lease(self, holder: str, now: datetime, *, seconds: float) -> bool:
        """Take or renew the lease; False while another holder's has not run out."""

    def let_go_of_lease(self, holder: str) -> None:
        """Give the lease back, if it is this holder's."""

    def route(self, traffic: Traffic) -> None:
        """Put the traffic in force; telling the same again changes nothing."""

    def observe(self) -> Observed:
        """Return what is in force."""

    def record(self, event: ReleaseEvent) -> None:
        """Append an event to the log; an event told twice is kept once."""


class Analyst(Protocol):
    """Judges a step by what the two versions did since it began."""

    def analyse(
        self, state: ReleaseState, observed: Observed, now: datetime
    ) -> tuple[StepAnalysis, dict[str, object]]:
        """Return the analysis and the memory that the next one continues from."""
