"""The analyst of a release that is under way: it asks its sources, then judges.

A source that is not given is not asked; what it would have told is missing, and the analysis says
what that means for the step.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from tidegate.config import PolicyConfig, RolloutConfig
from tidegate.records import BundleManifest, Observed, ReleaseState, StepAnalysis
from tidegate.rollout.analysis import analyse
from tidegate.rollout.evidence import (
    Decisions,
    Evidence,
    OpsEvidence,
    PlatformFacts,
    QualityEvidence,
)
from tidegate.rollout.replay import LoggedRequests, Replayed, replay
from tidegate.rollout.version_client import VersionClient


class OpsSource(Protocol):
    """Where the serving's figures come from."""

    def ops(self, state: ReleaseState, now: datetime) -> OpsEvidence:
        """Return what both versions did since the step began."""


class ShadowSource(Protocol):
    """Replays logged requests."""

    def shadow(
        self, state: ReleaseState, now: datetime
    ) -> tuple[Decisions | None, str | None, PlatformFacts]:
        """Return rows both versions answered since the last analysis, or why there are none.

        The facts are what the candidate's answers say of it.
        """


class QualitySource(Protocol):
    """Where labels come from."""

    def quality(self, state: ReleaseState, now: datetime) -> QualityEvidence:
        """Return what is known of right and wrong since the last analysis."""


class LiveAnalyst:
    """Judges each step by what its sources tell.

    Parameters
    ----------
    config : RolloutConfig
    policy : PolicyConfig, optional
        Says how many posts people can review.
    ops, shadow, quality : optional
        The sources.
    restarts : callable, optional
        From a version to how often it has restarted since the release began; None is not known.
    """

    def __init__(
        self,
        config: RolloutConfig,
        *,
        policy: PolicyConfig | None = None,
        ops: OpsSource | None = None,
        shadow: ShadowSource | None = None,
        quality: QualitySource | None = None,
        restarts: Callable[[str], int | None] | None = None,
    ) -> None:
        self._config = config
        self._policy = policy
        self._ops, self._shadow, self._quality = ops, shadow, quality
        self._restarts = restarts

    def analyse(
        self, state: ReleaseState, observed: Observed, now: datetime
    ) -> tuple[StepAnalysis, dict[str, object]]:
        """Return the analysis and the memory that the next one continues from."""
        decisions, problem, facts = None, None, PlatformFacts()
        restarts = None if self._restarts is None else self._restarts(state.candidate)
        # Metrics are read first: what the replay adds belongs to the next look.
        ops = None if self._ops is None else self._ops.ops(state, now)
        quality = QualityEvidence()
        if observed.candidate_ready:
            if self._shadow is not None:
                decisions, problem, facts = self._shadow.shadow(state, now)
            if self._quality is not None:
                quality = self._quality.quality(state, now)
        else:
            problem = "the candidate is not ready"
        evidence = Evidence(
            step=state.step,
            percent=state.percent,
            ops=ops,
            decisions=decisions,
            decisions_problem=problem,
            quality=quality,
            platform=PlatformFacts(
                ready=observed.candidate_ready,
                restarts=restarts,
                served_versions=facts.served_versions,
                version=state.candidate,
                served_thresholds=facts.served_thresholds,
                thresholds=facts.thresholds,
                served_outputs=facts.served_outputs,
                outputs=facts.outputs,
            ),
        )
        return analyse(evidence, self._config, state.memory, policy=self._policy)


class ReplayedShadow:
    """The shadow: rows of a log, sent to both versions at a bounded rate.

    Parameters
    ----------
    config : RolloutConfig
    requests : LoggedRequests
        The log.
    client : callable
        From a version to a client of it; None while it is not served.
    manifest : callable
        From a version to its bundle's manifest; None where that is not known.
    deadline_seconds : float
        How long one replay may take; it is shorter than a controller's lease.
    """

    def __init__(
        self,
        config: RolloutConfig,
        requests: LoggedRequests,
        client: Callable[[str], VersionClient | None],
        manifest: Callable[[str], BundleManifest | None],
        *,
        deadline_seconds: float = 15.0,
    ) -> None:
        self._config = config
        self._requests = requests
        self._client, self._manifest = client, manifest
        self._deadline_seconds = deadline_seconds

    def shadow(
        self, state: ReleaseState, now: datetime
    ) -> tuple[Decisions | None, str | None, PlatformFacts]:
        """Replay what was logged since the last analysis; before the first, a step's time."""
        since = now - timedelta(seconds=self._config.step_seconds)
        if state.analysed_at is not None:
            since = min(datetime.fromisoformat(state.analysed_at), now - timedelta(seconds=1))
        rows = self._requests.rows(since, now, self._config.quality.replay_rows)
        candidate, baseline = self._client(state.candidate), self._client(state.baseline)
        if candidate is None or baseline is None:
            return None, "a version has no address to send requests to", PlatformFacts()
        manifests = [self._manifest(version) for version in (state.candidate, state.baseline)]
        try:
            outputs, reference = candidate.outputs(), baseline.outputs()
            found = replay(
                rows,
                candidate,
                baseline,
                rows_per_second=self._config.quality.replay_rows_per_second,
                deadline_seconds=self._deadline_seconds,
                review_band=any(m and m.rule.review_threshold is not None for m in manifests),
            )
        finally:
            candidate.close()
            baseline.close()
        facts = _facts(found, manifests[0], outputs, reference)
        return found.decisions, None, facts


def _facts(
    found: Replayed,
    manifest: BundleManifest | None,
    outputs: frozenset[tuple[str, str]] | None,
    reference: frozenset[tuple[str, str]] | None,
) -> PlatformFacts:
    """Return what answers and metadata say of the candidate.

    It must answer what its manifest promises, or, where that is not known, what the baseline does.
    """
    reference = reference if manifest is None else promised_outputs(manifest)
    mine = [answer for answer in found.candidate_answers if not answer.failed]
    lacking = any(answer.lacks_score for answer in mine)
    if lacking and not any(answer.lacks_score for answer in found.baseline_answers):
        reference = (reference or frozenset()) | {("score", "FP64")}
        outputs = (outputs or frozenset()) - {("score", "FP64")}
    scored = [a for a in mine if not a.lacks_score and math.isfinite(a.score)]
    return PlatformFacts(
        served_versions=frozenset(a.version for a in scored if a.version is not None) or None,
        served_thresholds=frozenset(a.threshold for a in scored) or None,
        thresholds=None if manifest is None else thresholds_of(manifest),
        served_outputs=outputs,
        outputs=reference,
    )


def promised_outputs(manifest: BundleManifest) -> frozenset[tuple[str, str]]:
    """Return names and types of the outputs that every answer of this bundle has."""
    from tidegate.serving.answer import output_types

    target = manifest.target
    names = () if target.kind == "binary" else target.outputs
    return frozenset((o["name"], o["datatype"]) for o in output_types(manifest, names))


def thresholds_of(manifest: BundleManifest) -> frozenset[float | None]:
    """Return every threshold that an answer of this bundle may name."""
    rule = manifest.rule
    cuts = {manifest.threshold, *rule.segment_thresholds.values(), *rule.class_thresholds.values()}
    return frozenset(cuts | {None} if rule.class_thresholds else cuts)
