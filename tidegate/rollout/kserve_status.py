"""What is in force on a cluster, from the objects that KServe makes of an InferenceService.

The InferenceService's own status is not enough. Its ``observedGeneration`` is that of the stable
Deployment (or of the Knative Service) and not its own, and its ``Ready`` may be from before the
last change. So readiness is read from the objects that hold the pods, each held against its own
generation and against the version that it must serve, and shares from the route.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.config import RunConfig
from tidegate.records import Observed, Traffic
from tidegate.rollout.inference_service import STOP, Document, deployment_name, version_of
from tidegate.rollout.kserve_traffic import spec_traffic

REVISION_LABEL = "serving.knative.dev/revision"


@dataclass(frozen=True)
class Revision:
    """A revision of a Knative Service: the version that it serves, and whether it can."""

    version: str | None
    ready: bool


def observe_standard(
    config: RunConfig,
    service: Document,
    deployments: Mapping[str, Document | None],
    route: Document | None,
    pods: Iterable[Document] = (),
) -> Observed:
    """Return what is in force in Standard mode.

    Parameters
    ----------
    deployments : mapping
        By name, those of `serving_deployments`; None for one that is not there.
    route : dict or None
        The HTTPRoute of the InferenceService's name.
    pods : iterable of dict
        Those of the InferenceService, for their restarts.
    """
    asked = spec_traffic(config, service, "Standard")
    stable, *others = serving_deployments(service)
    waits = _stopped(service)
    baseline_wait = _unready(config, deployments.get(stable), stable, asked.baseline)
    waits += [baseline_wait] if baseline_wait else []
    candidate_ready, percent = False, 0
    if asked.candidate is not None:
        [name] = others
        wait = _unready(config, deployments.get(name), name, asked.candidate)
        candidate_ready = wait is None
        waits += [wait] if wait else []
        if route is None:
            waits.append(
                "no HTTPRoute: canary shares have no effect unless KServe's "
                "ingress.enableGatewayApi is on"
            )
    if route is not None:
        # REST and gRPC have rules of their own; a candidate has the most that any gives it.
        rules = shares_of(route)
        percent = max((rule.get(name, 0) for rule in rules for name in others), default=0)
        wanted = {stable: 100 - asked.candidate_percent}
        wanted |= dict.fromkeys(others, asked.candidate_percent)
        waits += sorted({told for rule in rules for told in _misrouted(rule, wanted)})
        waits += _unaccepted(route)
    named = {f"isvc.{name}": name for name in (stable, *others)}
    return Observed(
        traffic=asked.model_copy(update={"candidate_percent": percent}),
        baseline_ready=baseline_wait is None,
        candidate_ready=candidate_ready,
        settled=not waits,
        notes=(*waits, *_restarts(pods, "app", named)),
    )


def observe_knative(
    config: RunConfig,
    service: Document,
    knative: Document | None,
    revisions: Mapping[str, Revision],
    pods: Iterable[Document] = (),
) -> Observed:
    """Return what is in force in Knative mode.

    Parameters
    ----------
    knative : dict or None
        The Knative Service of the predictor.
    revisions : mapping
        By name, those that KServe and Knative speak of.
    """
    present = spec_traffic(config, service, "Knative")
    status = (knative or {}).get("status") or {}
    waits = _stopped(service)
    if knative is None:
        waits.append("the Knative Service is not there yet")
    elif _stale(knative):
        waits.append("the Knative Service's status is older than its spec")
    shares: dict[str, int] = {}
    for entry in status.get("traffic") or []:
        found = revisions.get(entry.get("revisionName", ""))
        version = _version(found) if found else "nothing"
        shares[version] = shares.get(version, 0) + int(entry.get("percent") or 0)
    latest = revisions.get(status.get("latestCreatedRevisionName") or "")
    latest_ready = latest is not None and latest.ready and latest.version == present.baseline
    waits += [] if latest_ready else [f"the revision of {present.baseline} is not ready"]
    baseline, candidate = present.baseline, None
    rolled_out, before = (revisions.get(name or "") for name in rolled_out_revisions(service))
    if present.candidate is not None and rolled_out is not None:
        # A candidate that has everything counts as rolled out already.
        whole = present.candidate_percent == 100 and _version(rolled_out) == present.candidate
        baseline = _version(before if whole and before else rolled_out)
        candidate = present.candidate if baseline != present.candidate else None
    percent = shares.get(candidate, 0) if candidate else 0
    share = present.candidate_percent if candidate else 0
    wanted = {baseline: 100 - share} | ({candidate: share} if candidate else {})
    waits += _misrouted(shares, wanted)
    named = {name: found.version or name for name, found in revisions.items()}
    return Observed(
        traffic=Traffic(baseline=baseline, candidate=candidate, candidate_percent=percent),
        baseline_ready=any(r.ready and r.version == baseline for r in revisions.values()),
        candidate_ready=candidate is not None and latest_ready,
        settled=not waits,
        notes=(*waits, *_restarts(pods, REVISION_LABEL, named)),
    )


def serving_deployments(service: Document) -> list[str]:
    """Return the Deployments of a spec: the predictor's and, if there is one, the candidate's."""
    spec, name = service["spec"], service["metadata"]["name"]
    canaries = [entry["predictor"] for entry in spec.get("canary") or []]
    return [deployment_name(name, p.get("name")) for p in (spec["predictor"], *canaries)]


def rolled_out_revisions(service: Document) -> tuple[str | None, str | None]:
    """Return the revisions that KServe remembers: who had all requests last, and before that."""
    components = (service.get("status") or {}).get("components") or {}
    found = components.get("predictor") or {}
    return found.get("latestRolledoutRevision"), found.get("previousRolledoutRevision")


def read_revision(config: RunConfig, revision: Document) -> Revision:
    """Return what a Knative Revision serves and whether it is ready."""
    conditions = (revision.get("status") or {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    version = version_of(config, revision["spec"].get("containers") or [])
    return Revision(version=version, ready=ready and not _stale(revision))


def _version(revision: Revision) -> str:
    return revision.version or "another store's bundle"


def _stopped(service: Document) -> list[str]:
    annotations = service["metadata"].get("annotations") or {}
    return [f"stopped by {STOP}"] if annotations.get(STOP, "").lower() == "true" else []


def _stale(document: Document) -> bool:
    seen = int((document.get("status") or {}).get("observedGeneration") or 0)
    return seen < int(document["metadata"].get("generation") or 0)


def _unready(config: RunConfig, found: Document | None, name: str, version: str) -> str | None:
    """Return why a Deployment does not serve a version yet; None when it does."""
    if found is None:
        return f"Deployment {name} is not there"
    if _stale(found):
        return f"the status of Deployment {name} is older than its spec"
    serves = version_of(config, found["spec"]["template"]["spec"]["containers"])
    if serves != version:
        return f"Deployment {name} serves {serves or 'another store'} and not {version}"
    status: dict[str, Any] = found.get("status") or {}
    if status.get("updatedReplicas", 0) != status.get("replicas", 0):
        return f"Deployment {name} still has pods of before"
    if status.get("availableReplicas", 0) < 1:
        told = [c for c in status.get("conditions") or [] if c.get("status") == "False"]
        why = f": {told[0].get('message', '')[:200]}" if told else ""
        return f"Deployment {name} has no available pod{why}"
    return None


def _misrouted(shares: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    return [
        f"the route gives {name} {shares.get(name, 0)} percent and not {wanted.get(name, 0)}"
        for name in sorted(shares.keys() | wanted.keys())
        if shares.get(name, 0) != wanted.get(name, 0)
    ]


def shares_of(route: Document) -> list[dict[str, int]]:
    """Return the percent of each backend, for each rule."""
    found: list[dict[str, int]] = []
    for rule in route["spec"].get("rules") or []:
        weights: dict[str, int] = {}
        for backend in rule.get("backendRefs") or []:
            weight = backend.get("weight")
            weights[backend["name"]] = weights.get(backend["name"], 0) + (
                1 if weight is None else int(weight)
            )
        total = sum(weights.values())
        found.append({name: round(100 * w / total) for name, w in weights.items() if total})
    return found


def _unaccepted(route: Document) -> list[str]:
    parents = (route.get("status") or {}).get("parents") or []
    if not parents:
        return ["no gateway has taken the route up yet"]
    generation = int(route["metadata"].get("generation") or 0)
    conditions = [c for parent in parents for c in parent.get("conditions") or []]
    refused = [c for c in conditions if c.get("status") == "False"]
    if refused:
        return [f"the gateway refuses the route: {refused[0].get('reason', '')}"]
    if any(int(c.get("observedGeneration") or 0) < generation for c in conditions):
        return ["the gateway has not taken up the route's last change"]
    return []


def restarts_by(pods: Iterable[Document], label: str) -> dict[str, int]:
    """Return how often the containers of pods have restarted, by a label's value."""
    counts: dict[str, int] = {}
    for pod in pods:
        value = (pod["metadata"].get("labels") or {}).get(label)
        if value is None:
            continue
        containers = (pod.get("status") or {}).get("containerStatuses") or []
        restarts = sum(int(container.get("restartCount") or 0) for container in containers)
        counts[value] = counts.get(value, 0) + restarts
    return counts


def _restarts(pods: Iterable[Document], label: str, named: Mapping[str, str]) -> list[str]:
    counts = restarts_by(pods, label)
    return [
        f"{name}: its containers restarted {counts[value]} times"
        for value, name in sorted(named.items())
        if counts.get(value)
    ]
