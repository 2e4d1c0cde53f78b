"""A release on its way to traffic: its state, what was found at each step, and the events."""

from collections.abc import Mapping
from typing import Any, Literal

from tidegate.records.record import Record

Phase = Literal["awaiting_approval", "progressing", "paused", "promoted", "rolled_back"]
Verdict = Literal["advance", "pause", "rollback"]


class Traffic(Record):
    """Who gets requests. Without a candidate the baseline gets all; 0 percent is a shadow."""

    baseline: str
    candidate: str | None = None
    candidate_percent: int = 0


class Observed(Record):
    """What is in force: the traffic as read back, and whether each version answers.

    `settled` is False while the cluster still works on what it was told.
    """

    traffic: Traffic
    baseline_ready: bool
    candidate_ready: bool
    settled: bool
    notes: tuple[str, ...] = ()


class Finding(Record):
    """One thing that an analysis looked at.

    `bound` is the limit of the configuration; `interval` holds at any time it is read (see
    `tidegate.evaluation.sequential`).
    """

    source: Literal["ops", "decisions", "quality", "platform"]
    name: str
    verdict: Verdict
    says: str
    candidate: float | None = None
    baseline: float | None = None
    interval: tuple[float, float] | None = None
    bound: float | None = None
    rows: int | None = None


class StepAnalysis(Record):
    """What an analysis of one step found; its verdict is the worst finding's."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    candidate_requests: int


class ReleaseEvent(Record):
    """One line of the append-only log: who did what, on which figures, with which verdict.

    `page` names the root-cause page of a candidate that was rolled back, beside the log.
    """

    at: str
    actor: str
    kind: Literal[
        "began", "approved", "advanced", "paused", "resumed", "rolled_back", "promoted", "note"
    ]
    release: str
    candidate: str
    percent: int
    says: str
    analysis: StepAnalysis | None = None
    page: str | None = None


class ReleaseState(Record):
    """Everything a controller needs to go on after it was killed.

    `steps` is fixed when the release begins. `held_by` names who paused it by hand; then no
    analysis advances it. Times are UTC, ISO 8601. `memory` carries the sequential tests' sums
    from one analysis to the next. `in_force` says that the present step's traffic was seen in
    force (`step_began_at` is that time then), `waiting_since` since when it is not. A candidate
    that stops answering is `withdrawn` until it answers again; `outages` counts how often that
    happened. `outbox` holds the events of the last change until the log has them.
    """

    name: str
    baseline: str
    candidate: str
    run_digest: str
    steps: tuple[int, ...]
    step: int
    phase: Phase
    began_at: str
    step_began_at: str
    analysed_at: str | None = None
    paused_since: str | None = None
    held_by: str | None = None
    reason: str = ""
    last_analysis: StepAnalysis | None = None
    memory: Mapping[str, Any] = {}
    in_force: bool = False
    waiting_since: str | None = None
    withdrawn: bool = False
    outages: int = 0
    outbox: tuple[ReleaseEvent, ...] = ()

    @property
    def percent(self) -> int:
        """Share of traffic that the present step gives the candidate."""
        return self.steps[self.step]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to decide."""
        return self.phase in ("promoted", "rolled_back")

    @property
    def traffic(self) -> Traffic:
        """Who must get requests in this state."""
        if self.phase == "promoted":
            return Traffic(baseline=self.candidate)
        if self.phase in ("rolled_back", "awaiting_approval"):
            return Traffic(baseline=self.baseline)
        percent = 0 if self.withdrawn else self.percent
        return Traffic(baseline=self.baseline, candidate=self.candidate, candidate_percent=percent)


class HandedOver(Record):
    """A promoted candidate that a pipeline left for the release controller.

    `refusal` says why no release of it begins by itself; such a one is not kept in the store.
    """

    name: str
    candidate: str
    run_digest: str
    handed_over_at: str
    refusal: str = ""


class ApprovalRequest(Record):
    """What an approver signs for: one candidate of one run, and nothing else.

    `bundle_digest` is the SHA-256 of the kept bundle's manifest, which holds that of every file.
    """

    name: str
    run_digest: str
    candidate: str
    decision: str
    requested_at: str
    bundle_digest: str = ""


class SignedApproval(Record):
    """An approver's word over all fields but the signature, signed with ed25519 (RFC 8032)."""

    request: ApprovalRequest
    by: str
    reason: str
    approved_at: str
    signature: str
