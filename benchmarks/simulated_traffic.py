"""Requests to two versions, drawn by a seed: what a release's analysis would see of them.

A service of 200 posts a second: 6 % violating, five languages of uneven size, log-normal latencies,
one failure in two thousand, a day's rhythm and noise that both versions share. A candidate is the
baseline retrained: another 2 % of rows change sides. A fault changes what the candidate does from
its second on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.simulated_place import START
from tidegate.config import OpsConfig, PolicyConfig, RolloutConfig
from tidegate.records import Observed, ReleaseState, ServedDecision, StepAnalysis
from tidegate.rollout.analysis import analyse
from tidegate.rollout.evidence import (
    Decisions,
    Evidence,
    GoldenRows,
    LabelledRows,
    OpsCounts,
    OpsEvidence,
    PlatformFacts,
    QualityEvidence,
)
from tidegate.rollout.prometheus import PrometheusOps

Floats = npt.NDArray[np.float64]

REQUESTS_PER_SECOND = 200.0
#: How often memory is read.
READING_SECONDS = 10.0
REPLAYED_ROWS, GOLDEN_ROWS, REVIEWED_SHARE = 500, 400, 0.02
THRESHOLD, REVIEW_THRESHOLD = 0.62, 0.35
EDGES_MS = (5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0)
LANGUAGES, SIZES = ("en", "es", "pt", "hi", "tl"), (0.55, 0.2, 0.13, 0.08, 0.04)
_VIOLATING, _MEDIAN_MS, _SPREAD, _ERROR_SHARE = 0.06, 12.0, 0.5, 0.0005


@dataclass(frozen=True)
class Behaviour:
    """How a candidate serves and decides; the defaults are a healthy one.

    `score` maps baseline scores, labels and languages to the candidate's scores.
    """

    error_share: float = _ERROR_SHARE
    latency_factor: float = 1.0
    score: Callable[[Floats, Any, Any], Floats] | None = None
    threshold: float = THRESHOLD
    review_threshold: float = REVIEW_THRESHOLD
    leak_per_second: float = 0.0
    restarts_every_seconds: float | None = None
    served_version: str = "new"
    served_outputs: frozenset[tuple[str, str]] = frozenset({("score", "FP64"), ("flagged", "BOOL")})
    metrics_problem: str | None = None
    prometheus: str | None = None
    breaks_analysis: bool = False


HEALTHY = Behaviour()


@dataclass
class SimulatedAnalyst:
    """Draws what was to be seen since the last analysis and has it judged by the real analysis.

    Parameters
    ----------
    config, policy : RolloutConfig, PolicyConfig
        The limits.
    seed : int
        Of all that is drawn.
    fault : Behaviour
        What the candidate does from `faulty_from` on.
    faulty_from : datetime, optional
        Never without it.
    same_model : bool
        Whether the candidate is the very same model; else one retrained.
    """

    config: RolloutConfig
    policy: PolicyConfig
    seed: int
    fault: Behaviour = HEALTHY
    faulty_from: datetime | None = None
    same_model: bool = False
    _totals: dict[str, Any] = field(default_factory=dict)
    _step: tuple[int, str] | None = None

    def behaviour(self, now: datetime) -> Behaviour:
        """Return what the candidate does at a time."""
        faulty = self.faulty_from is not None and now >= self.faulty_from
        return self.fault if faulty else HEALTHY

    def analyse(
        self, state: ReleaseState, observed: Observed, now: datetime
    ) -> tuple[StepAnalysis, dict[str, object]]:
        """Judge the step by what came since the last look."""
        behaviour = self.behaviour(now)
        if behaviour.breaks_analysis:
            raise ConnectionRefusedError("the payload log cannot be reached")
        last = datetime.fromisoformat(max(state.analysed_at or "", state.step_began_at))
        seconds = max(0.0, (now - last).total_seconds())
        rng = np.random.default_rng([self.seed, int((now - START).total_seconds())])
        evidence = Evidence(
            step=state.step,
            percent=state.percent,
            ops=self._ops(rng, state, seconds, now, behaviour),
            decisions=self._replayed(rng, behaviour),
            quality=self._quality(rng, state, seconds, behaviour),
            platform=self._platform(state, now, behaviour),
        )
        return analyse(evidence, self.config, state.memory, policy=self.policy)

    def _ops(
        self,
        rng: np.random.Generator,
        state: ReleaseState,
        seconds: float,
        now: datetime,
        behaviour: Behaviour,
    ) -> OpsEvidence:
        if behaviour.prometheus is not None:
            return PrometheusOps(OpsConfig(prometheus=behaviour.prometheus)).ops(state, now)
        if behaviour.metrics_problem is not None:
            return OpsEvidence(problem=behaviour.metrics_problem)
        if self._step != (state.step, state.step_began_at):
            self._totals, self._step = {}, (state.step, state.step_began_at)
        hours = (now - START).total_seconds() / 3600
        rate = REQUESTS_PER_SECOND * (1 + 0.4 * np.sin(hours * np.pi / 12))
        weather = float(np.exp(rng.normal(0, 0.05)))
        share = state.percent / 100
        self._count(rng, "new", rate * seconds * share, weather, behaviour)
        self._count(rng, "old", rate * seconds * (1 - share), weather, HEALTHY)
        began = datetime.fromisoformat(state.step_began_at)
        for version, who in (("new", behaviour), ("old", HEALTHY)):
            readings = self._totals.setdefault(f"{version} saturation", [])
            for ago in np.arange(seconds - READING_SECONDS, -1, -READING_SECONDS):
                at = now - timedelta(seconds=float(ago))
                leaking = 0.0
                if who.leak_per_second and self.faulty_from is not None:
                    leaking = who.leak_per_second * (at - self.faulty_from).total_seconds()
                level = min(1.0, 0.45 + max(0.0, leaking) + rng.normal(0, 0.01))
                readings.append(((at - began).total_seconds(), level))
        return OpsEvidence(candidate=self._counts("new"), baseline=self._counts("old"))

    def _count(
        self,
        rng: np.random.Generator,
        version: str,
        expected: float,
        weather: float,
        behaviour: Behaviour,
    ) -> None:
        requests = int(rng.poisson(expected))
        kept = self._totals.setdefault(version, np.zeros(2 + len(EDGES_MS)))
        kept[0] += requests
        kept[1] += rng.binomial(requests, behaviour.error_share)
        took = rng.lognormal(
            np.log(_MEDIAN_MS * weather * behaviour.latency_factor), _SPREAD, requests
        )
        kept[2:] += (took[:, None] > np.array(EDGES_MS)).sum(axis=0)

    def _counts(self, version: str) -> OpsCounts | None:
        kept = self._totals.get(version)
        if kept is None or kept[0] == 0:
            return None
        return OpsCounts(
            requests=float(kept[0]),
            errors=float(kept[1]),
            slower=dict(zip(EDGES_MS, kept[2:].tolist(), strict=True)),
            saturation=tuple(self._totals[f"{version} saturation"]),
        )

    def _rows(self, rng: np.random.Generator, rows: int, behaviour: Behaviour) -> Mapping[str, Any]:
        """Draw rows with their labels, languages and both versions' scores."""
        label = rng.random(rows) < _VIOLATING
        language = rng.choice(LANGUAGES, size=rows, p=SIZES)
        logit = np.where(label, rng.normal(2.0, 1.3, rows), rng.normal(-4.0, 1.3, rows))
        old = 1 / (1 + np.exp(-logit))
        new = old if self.same_model else 1 / (1 + np.exp(-logit - rng.normal(0, 0.4, rows)))
        if behaviour.score is not None:
            new = behaviour.score(new, label, language)
        return {"label": label, "language": language, "old": old, "new": new}

    def _replayed(self, rng: np.random.Generator, behaviour: Behaviour) -> Decisions:
        rows = self._rows(rng, REPLAYED_ROWS, behaviour)
        failed = rng.random(REPLAYED_ROWS) < behaviour.error_share
        failed_there = rng.random(REPLAYED_ROWS) < _ERROR_SHARE
        return Decisions(
            candidate_score=np.where(failed, np.nan, rows["new"]),
            baseline_score=np.where(failed_there, np.nan, rows["old"]),
            candidate_decision=_decided(
                rows["new"], behaviour.threshold, behaviour.review_threshold
            ),
            baseline_decision=_decided(rows["old"], THRESHOLD, REVIEW_THRESHOLD),
            candidate_failed=failed,
            baseline_failed=failed_there,
            groups={"language": [str(one) for one in rows["language"]]},
            review_band=True,
        )

    def _quality(
        self,
        rng: np.random.Generator,
        state: ReleaseState,
        seconds: float,
        behaviour: Behaviour,
    ) -> QualityEvidence:
        golden = self._rows(np.random.default_rng(7), GOLDEN_ROWS, behaviour)
        count = int(rng.poisson(REQUESTS_PER_SECOND * seconds * REVIEWED_SHARE))
        rows = self._rows(rng, count, behaviour)
        mine = rng.random(count) < state.percent / 100
        score = np.where(mine, rows["new"], rows["old"])
        cut = np.where(mine, behaviour.threshold, THRESHOLD)
        return QualityEvidence(
            golden=GoldenRows(
                label=golden["label"],
                candidate_flagged=golden["new"] >= behaviour.threshold,
                baseline_flagged=golden["old"] >= THRESHOLD,
            ),
            labels=LabelledRows(
                by_candidate=mine,
                flagged=score >= cut,
                label=rows["label"],
                weight=np.ones(count),
                groups={"language": [str(one) for one in rows["language"]]},
            ),
        )

    def _platform(self, state: ReleaseState, now: datetime, behaviour: Behaviour) -> PlatformFacts:
        restarts = 0
        if behaviour.restarts_every_seconds is not None and self.faulty_from is not None:
            restarts = int(
                (now - self.faulty_from).total_seconds() / behaviour.restarts_every_seconds
            )
        return PlatformFacts(
            ready=True,
            restarts=restarts,
            served_versions=frozenset({behaviour.served_version}),
            version=state.candidate,
            served_thresholds=frozenset({behaviour.threshold}),
            thresholds=frozenset({THRESHOLD}),
            served_outputs=behaviour.served_outputs,
            outputs=HEALTHY.served_outputs,
        )


def _decided(scores: Floats, threshold: float, review_threshold: float) -> list[ServedDecision]:
    return [
        "flagged" if score >= threshold else "review" if score >= review_threshold else "leave"
        for score in scores.tolist()
    ]


def faults() -> Mapping[str, tuple[int, Behaviour]]:
    """Return the faults by name, each with the percent of traffic at which it begins."""
    healthy = HEALTHY

    def one_language(score: Floats, label: Any, language: Any) -> Floats:
        return np.where(language == "hi", 1 - score, score)

    def inverted(score: Floats, label: Any, language: Any) -> Floats:
        return 1 - score

    def not_a_number(score: Floats, label: Any, language: Any) -> Floats:
        return np.where(np.arange(score.size) % 50 == 0, np.nan, score)

    return {
        "5xx: 8 % of requests fail": (5, replace(healthy, error_share=0.08)),
        "latency x 3": (5, replace(healthy, latency_factor=3.0)),
        "crash loop": (5, replace(healthy, restarts_every_seconds=15.0)),
        "NaN scores, 2 % of rows": (0, replace(healthy, score=not_a_number)),
        "inverted labels in training": (0, replace(healthy, score=inverted)),
        "another threshold than its manifest's": (5, replace(healthy, threshold=0.2)),
        "answers of another schema": (
            5,
            replace(healthy, served_outputs=frozenset({("probability", "FP32")})),
        ),
        "memory leak": (25, replace(healthy, leak_per_second=0.003)),
        "stale model: an old version answers": (5, replace(healthy, served_version="older")),
        "one language harmed": (0, replace(healthy, score=one_language)),
        "review flood": (0, replace(healthy, review_threshold=0.02)),
        "metrics of the candidate missing": (
            25,
            replace(healthy, metrics_problem="none of the candidate's"),
        ),
        # Nobody listens there; this one is asked for real.
        "Prometheus down": (50, replace(healthy, prometheus="http://127.0.0.1:9")),
        "payload log unreachable": (0, replace(healthy, breaks_analysis=True)),
    }
