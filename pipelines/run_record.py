"""``run.json``: what became of one run."""

from collections.abc import Mapping
from typing import Literal

from tidegate.cost import RunCost
from tidegate.records import Record


class StepRecord(Record):
    """One step of a run."""

    name: str
    status: Literal["waiting", "running", "done", "cached", "failed", "skipped", "interrupted"]
    seconds: float | None = None


class RunRecord(Record):
    """``run.json``: one run from configuration to decision."""

    name: str
    status: Literal["running", "done", "failed", "interrupted"]
    started_at: str
    finished_at: str | None = None
    seconds: float | None = None
    run_digest: str
    config: Mapping[str, object]
    digests: Mapping[str, str]
    versions: Mapping[str, str]
    steps: tuple[StepRecord, ...]
    decision: Literal["promote", "hold", "insufficient_data"] | None = None
    reasons: tuple[str, ...] = ()
    metrics: Mapping[str, float | None] = {}
    cost: RunCost | None = None
    error: str | None = None
