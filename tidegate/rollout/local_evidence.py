"""What a release on this machine is judged by, for tests and the demo only.

Counts come from the proxy, and copies of the requests that it forwarded are replayed to both
versions past it. A cluster has Prometheus and the payload log for this.
"""

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from tidegate.config import RunConfig
from tidegate.models.bundle import read_manifest
from tidegate.records import (
    BundleManifest,
    Observed,
    ReleaseState,
    ServedDecision,
    StepAnalysis,
)
from tidegate.rollout.analysis import analyse
from tidegate.rollout.evidence import Decisions, Evidence, OpsCounts, OpsEvidence, PlatformFacts
from tidegate.rollout.local_proxy import CopiedRequest, VersionCounts
from tidegate.rollout.local_servers import LocalServers
from tidegate.rollout.model_store import ModelStore

_PARALLEL = 4
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class _Row:
    """One row as a version answered it; a failure has no score."""

    score: float
    decision: ServedDecision
    threshold: float | None
    version: str | None
    failed: bool = False


_FAILED = _Row(math.nan, "leave", None, None, failed=True)


class LocalAnalyst:
    """Judges a step by the proxy's counts and by requests replayed to both versions.

    Parameters
    ----------
    servers : LocalServers
        What serves.
    store : ModelStore
        Holds the manifests.
    config : RunConfig
        The limits, in its sections rollout and policy.
    """

    def __init__(self, servers: LocalServers, store: ModelStore, config: RunConfig) -> None:
        self._servers = servers
        self._store = store
        self._config = config
        self._step: tuple[int, str] | None = None
        self._began: dict[str, VersionCounts] = {}
        self._replayed = 0
        self._facts = PlatformFacts()

    def analyse(
        self, state: ReleaseState, observed: Observed, now: datetime
    ) -> tuple[StepAnalysis, dict[str, object]]:
        """Return the analysis and the memory that the next one continues from."""
        if self._step != (state.step, state.step_began_at):
            self._step = (state.step, state.step_began_at)
            self._began = {v: c.copy() for v, c in self._servers.proxy.counts.items()}
        decisions = self._decisions(state)
        evidence = Evidence(
            step=state.step,
            percent=state.percent,
            ops=OpsEvidence(
                candidate=self._counts(state.candidate), baseline=self._counts(state.baseline)
            ),
            decisions=decisions,
            decisions_problem=None if decisions is not None else "no request has come",
            platform=self._facts,
        )
        return analyse(evidence, self._config.rollout, state.memory, policy=self._config.policy)

    def _counts(self, version: str) -> OpsCounts | None:
        now = self._servers.proxy.counts.get(version)
        if now is None:
            return None
        before = self._began.get(version, VersionCounts())
        if now.requests == before.requests:
            return None
        return OpsCounts(
            requests=float(now.requests - before.requests),
            errors=float(now.errors - before.errors),
            slower={edge: float(now.slower[edge] - before.slower[edge]) for edge in now.slower},
        )

    def _decisions(self, state: ReleaseState) -> Decisions | None:
        """Replay requests that came since the last look, the newest ones where they are many."""
        proxy = self._servers.proxy
        copies = proxy.copies_after(self._replayed)[-self._config.rollout.quality.replay_rows :]
        self._replayed = proxy.seen
        if not copies:
            return None
        inputs = [row for copy in copies for row in _inputs(copy)]
        candidate = self._answers(state.candidate, copies)
        baseline = self._answers(state.baseline, copies)
        manifest = self._manifest(state.candidate)
        answered = [row for row in candidate if not row.failed]
        self._facts = PlatformFacts(
            ready=self._servers.address(state.candidate) is not None,
            restarts=self._servers.restarts.get(state.candidate, 0),
            version=state.candidate,
            served_versions=frozenset(r.version for r in answered if r.version is not None) or None,
            served_thresholds=frozenset(r.threshold for r in answered) or None,
            thresholds=frozenset({manifest.threshold, *manifest.rule.segment_thresholds.values()}),
        )
        return Decisions(
            candidate_score=np.array([row.score for row in candidate]),
            baseline_score=np.array([row.score for row in baseline]),
            candidate_decision=[row.decision for row in candidate],
            baseline_decision=[row.decision for row in baseline],
            candidate_failed=np.array([row.failed for row in candidate]),
            baseline_failed=np.array([row.failed for row in baseline]),
            groups={
                column: [str(row.get(column)) for row in inputs]
                for column in self._config.rollout.group_columns
            },
            review_band=manifest.rule.review_threshold is not None,
        )

    def _answers(self, version: str, copies: Sequence[CopiedRequest]) -> list[_Row]:
        import httpx

        address = self._servers.address(version)
        with (
            httpx.Client(timeout=_TIMEOUT_SECONDS) as client,
            ThreadPoolExecutor(_PARALLEL) as pool,
        ):

            def answer(copy: CopiedRequest) -> list[_Row]:
                rows = len(_inputs(copy))
                try:
                    got = client.post(
                        f"{address}{copy.path}",
                        content=copy.body,
                        headers={"content-type": "application/json"},
                    )
                    if got.status_code >= 400:
                        return [_FAILED] * rows
                    found = _rows(got.json())
                except (httpx.HTTPError, ValueError, KeyError, TypeError):
                    return [_FAILED] * rows
                return found if len(found) == rows else [_FAILED] * rows

            return [row for rows in pool.map(answer, copies) for row in rows]

    def _manifest(self, version: str) -> BundleManifest:
        return read_manifest(self._store.folder_of(self._config.name) / "versions" / version)


def _inputs(copy: CopiedRequest) -> list[Mapping[str, Any]]:
    """Return the rows of a V1 or V2 request, a mapping from column to value each."""
    try:
        body = json.loads(copy.body)
        if "instances" in body:
            return [dict(row) for row in body["instances"]]
        tensors = {tensor["name"]: tensor["data"] for tensor in body["inputs"]}
    except (ValueError, KeyError, TypeError):
        return []
    count = max((len(data) for data in tensors.values()), default=0)
    return [
        {name: data[row] for name, data in tensors.items() if row < len(data)}
        for row in range(count)
    ]


def _rows(answer: Mapping[str, Any]) -> list[_Row]:
    """Read what a version answered, in V1 or V2."""
    if "predictions" in answer:
        return [
            _row(p["score"], p.get("decision"), p["flagged"], p["threshold"], p["model_version"])
            for p in answer["predictions"]
        ]
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    scores = found["score"]
    cuts = found.get("threshold", [None])
    flagged = found.get("flagged", [None] * len(scores))
    decisions = found.get("decision", [None] * len(scores))
    return [
        _row(score, decisions[i], flagged[i], cuts[min(i, len(cuts) - 1)], answer["model_version"])
        for i, score in enumerate(scores)
    ]


def _row(
    score: float | None,
    decision: ServedDecision | None,
    flagged: bool | None,
    threshold: float | None,
    version: str,
) -> _Row:
    return _Row(
        score=math.nan if score is None else float(score),
        decision=decision or ("flagged" if flagged else "leave"),
        threshold=threshold,
        version=version,
    )
