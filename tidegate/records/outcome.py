"""How a run on a cluster ended."""

from tidegate.records.record import Record


class RunOutcome(Record):
    """``outcomes/RUN.json`` of the workspace: how a run on the cluster ended."""

    run: str
    state: str
    error: str | None
    recorded_at: str
