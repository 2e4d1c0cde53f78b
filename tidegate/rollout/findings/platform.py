"""Faults that need no statistics: another model answers than was meant, or none does."""

from collections.abc import Iterator

from tidegate.config import OpsConfig
from tidegate.records import Finding, Verdict
from tidegate.rollout.evidence import PlatformFacts


def platform_findings(facts: PlatformFacts, config: OpsConfig) -> tuple[Finding, ...]:
    """Judge what the candidate is; what is not known is not judged."""
    return tuple(_found(facts, config))


def _found(facts: PlatformFacts, config: OpsConfig) -> Iterator[Finding]:
    if facts.restarts is not None and facts.restarts > config.max_restarts:
        yield _finding(
            "restarts",
            "rollback",
            f"the candidate restarted {facts.restarts} times, {config.max_restarts} are bearable",
        )
    elif facts.ready is False:
        yield _finding("readiness", "pause", "the candidate is not ready")
    if facts.served_versions and facts.version is not None:
        others = sorted(facts.served_versions - {facts.version})
        if others:
            says = f"version {others[0]} answers for the candidate, which is {facts.version}"
            yield _finding("served version", "rollback", says)
    if facts.served_thresholds and facts.thresholds is not None:
        strange = sorted(map(_number, facts.served_thresholds - facts.thresholds))
        if strange:
            meant = ", ".join(sorted(map(_number, facts.thresholds)))
            says = f"the candidate answers with threshold {strange[0]}, its manifest says {meant}"
            yield _finding("served threshold", "rollback", says)
    if facts.served_outputs is not None and facts.outputs is not None:
        lost = sorted(f"{name} ({kind})" for name, kind in facts.outputs - facts.served_outputs)
        if lost:
            says = f"the candidate's answers lack {', '.join(lost)}: their schema has changed"
            yield _finding("output schema", "rollback", says)


def _finding(name: str, verdict: Verdict, says: str) -> Finding:
    return Finding(source="platform", name=name, verdict=verdict, says=says)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
