"""Which patch of the InferenceService puts a traffic in force, and whether KServe kept it."""

from collections.abc import Mapping
from typing import Any

from tidegate.config import RunConfig
from tidegate.errors import BadInput
from tidegate.records import Traffic
from tidegate.rollout.inference_service import (
    DEPLOYMENT_MODE,
    PLACEHOLDER,
    STOP,
    Document,
    Mode,
    build_spec,
    other_slot,
    version_of,
)

_MODES: Mapping[str, Mode] = {
    "Standard": "Standard",
    "RawDeployment": "Standard",
    "Knative": "Knative",
    "Serverless": "Knative",
}


def detect_mode(service: Document, default: str | None) -> Mode:
    """Return the deployment mode in force.

    Parameters
    ----------
    service : dict
        The InferenceService.
    default : str or None
        `defaultDeploymentMode` of KServe's ConfigMap; None where it may not be read.

    Raises
    ------
    BadInput
        If no mode is known, it is one without a canary, or annotation and status disagree: KServe
        goes by the status and would not read the field that the annotation promises.
    """
    where = f"InferenceService {service['metadata']['name']}"
    told = (service["metadata"].get("annotations") or {}).get(DEPLOYMENT_MODE)
    found = (service.get("status") or {}).get("deploymentMode")
    for source, mode in (("status.deploymentMode", found), (DEPLOYMENT_MODE, told)):
        if mode and mode not in _MODES:
            problem = f"{source} is {mode}, in which a release cannot step"
            raise BadInput(where, problem, "delete it and install it in Standard or Knative mode")
    if found and told and _MODES[found] != _MODES[told]:
        problem = f"runs in {found} mode and its annotation says {told}"
        raise BadInput(where, problem, f"delete it and install it again to change to {told}")
    mode = found or told or default
    if not mode:
        mend = f"write the annotation {DEPLOYMENT_MODE}: Standard or Knative"
        raise BadInput(where, "its deployment mode is not known", mend)
    if mode not in _MODES:
        problem = f"KServe's default mode is {mode}, in which a release cannot step"
        raise BadInput(where, problem, f"write the annotation {DEPLOYMENT_MODE}: Standard")
    return _MODES[mode]


def spec_traffic(config: RunConfig, service: Document, mode: Mode) -> Traffic:
    """Return the traffic that an InferenceService's spec asks for.

    In Knative mode the spec does not name the baseline beside a candidate; it is then told as the
    candidate's own version, and the revisions know better.

    Raises
    ------
    BadInput
        If it serves what is not in this configuration's model store, or two candidates at once.
    """
    predictor = service["spec"]["predictor"]
    stable = _known_version(config, service, predictor)
    if mode == "Knative":
        percent = predictor.get("canaryTrafficPercent")
        if percent is None:
            return Traffic(baseline=stable)
        return Traffic(baseline=stable, candidate=stable, candidate_percent=percent)
    canary = _canary(service)
    if canary is None:
        return Traffic(baseline=stable)
    return Traffic(
        baseline=stable,
        candidate=_known_version(config, service, canary["predictor"]),
        candidate_percent=canary["trafficPercent"],
    )


def standard_patch(config: RunConfig, service: Document, traffic: Traffic) -> Document:
    """Return the merge patch that puts a traffic in force in Standard mode.

    A candidate that becomes the baseline takes its slot along, so that its pods stay. Any other
    version of a baseline is rolled out in the slot that serves, whose old pods answer meanwhile.
    """
    present, canary = spec_traffic(config, service, "Standard"), _canary(service)
    slot = service["spec"]["predictor"].get("name")
    candidate_slot = None
    if canary is not None and present.candidate != present.baseline:
        if traffic.candidate is None and traffic.baseline == present.candidate:
            slot = canary["predictor"]["name"]
        elif traffic.candidate == present.candidate:
            candidate_slot = canary["predictor"]["name"]
    spec = build_spec(
        config, traffic, "Standard", slot=slot, candidate_slot=candidate_slot or other_slot(slot)
    )
    return _starting(present, spec)


def knative_patch(
    config: RunConfig,
    service: Document,
    traffic: Traffic,
    *,
    rolled_out: str | None,
    latest_ready: str | None,
) -> Document:
    """Return the merge patch that puts a traffic in force in Knative mode.

    A baseline that comes back is a new revision, which Knative would not wait for: whatever was
    ready last gets what has no share. So it stays at 0 percent, with all requests at its old
    revision, until it is ready; the same traffic, told again, then clears the share.

    Parameters
    ----------
    rolled_out, latest_ready : str or None
        Versions of KServe's revision that had everything last, and of Knative's that is ready last.

    Raises
    ------
    BadInput
        If the baseline is not the revision that was rolled out.
    """
    present = spec_traffic(config, service, "Knative")
    if traffic.candidate is not None:
        spec = build_spec(config, traffic, "Knative")
        if rolled_out != traffic.baseline and differences(spec, service["spec"]):
            raise BadInput(
                f"InferenceService {service['metadata']['name']}",
                f"the revision that was rolled out serves {rolled_out or 'nothing'} and not the "
                f"baseline {traffic.baseline}: Knative would send everything to the candidate",
                "wait until the baseline is ready, or roll back to it first",
            )
        return _starting(present, spec)
    comes_back = rolled_out == traffic.baseline and (
        present.baseline != traffic.baseline or present.candidate is not None
    )
    if comes_back and (present.baseline != traffic.baseline or latest_ready != traffic.baseline):
        dark = Traffic(baseline=traffic.baseline, candidate=traffic.baseline)
        return _starting(present, build_spec(config, dark, "Knative"))
    return _starting(present, build_spec(config, traffic, "Knative"))


def differences(asked: Any, found: Any, path: str = "spec") -> list[str]:
    """Return where an object does not hold what was asked for; None asks for nothing there.

    What the object holds beside it, as KServe's defaults, is no difference.
    """
    if isinstance(asked, Mapping):
        if not isinstance(found, Mapping):
            return [f"{path} is {_shown(found)} and not an object"]
        return [d for k, v in asked.items() for d in differences(v, found.get(k), f"{path}.{k}")]
    if isinstance(asked, list):
        if not isinstance(found, list) or len(found) != len(asked):
            held = len(found) if isinstance(found, list) else 0
            return [f"{path} has {held} entries and not {len(asked)}"]
        pairs = enumerate(zip(asked, found, strict=True))
        return [d for i, (a, f) in pairs for d in differences(a, f, f"{path}[{i}]")]
    return [] if asked == found else [f"{path} is {_shown(found)} and not {_shown(asked)}"]


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)[:80]


def _starting(present: Traffic, spec: Document) -> Document:
    """Start an InferenceService that waited for its first model."""
    if present.baseline != PLACEHOLDER:
        return {"spec": spec}
    return {"metadata": {"annotations": {STOP: None}}, "spec": spec}


def _canary(service: Document) -> Document | None:
    found: list[Document] = service["spec"].get("canary") or []
    if len(found) > 1:
        where = f"InferenceService {service['metadata']['name']}"
        mend = "leave one at most: a release has one candidate"
        raise BadInput(where, f"spec.canary has {len(found)} entries", mend)
    return found[0] if found else None


def _known_version(config: RunConfig, service: Document, predictor: Document) -> str:
    version = version_of(config, predictor.get("containers") or [])
    if version is None:
        raise BadInput(
            f"InferenceService {service['metadata']['name']}",
            f"serves no bundle from the model store of {config.name}",
            "set STORAGE_URI of its container to MODELS/NAME/versions/VERSION, or name another "
            "service in cluster.service",
        )
    return version
