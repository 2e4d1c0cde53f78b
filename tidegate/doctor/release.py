"""Whether the release controller may do what a release needs."""

from collections.abc import Iterator
from typing import Literal

from tidegate.config import RolloutConfig
from tidegate.doctor.control_plane import Cluster
from tidegate.doctor.findings import Finding, ok, problem
from tidegate.doctor.namespace import settings
from tidegate.doctor.rights import release_rights

#: As in manifests/base.
_ACCOUNT = "tidegate-release"
_MODE = "serving.kserve.io/deploymentMode"


def check_release_rights(cluster: Cluster) -> Iterator[Finding]:
    """Ask for every right of whoever steps releases, where there is an InferenceService to step."""
    place = settings(cluster)
    rollout = cluster.config.rollout if cluster.config else RolloutConfig()
    home = f"/apis/serving.kserve.io/v1beta1/namespaces/{place.namespace}/inferenceservices"
    service = cluster.api.get(f"{home}/{place.service.name}")
    if service is None or rollout.controller == "none":
        return
    annotated = (service["metadata"].get("annotations") or {}).get(_MODE)
    told = (service.get("status") or {}).get("deploymentMode") or annotated
    mode: Literal["Standard", "Knative"] = (
        "Knative" if told in ("Knative", "Serverless") else "Standard"
    )
    in_step = rollout.controller == "step"
    account = place.service_account if in_step else _ACCOUNT
    user = f"system:serviceaccount:{place.namespace}:{account}"
    as_user = None if cluster.api.user() == user else user
    asked = release_rights(place.service.name, mode)
    manifests = "release-step" if in_step else f"release-controller and kserve-{mode.lower()}"
    lacking = 0
    for right in asked:
        denied = [
            verb
            for verb in right.verbs
            if not cluster.api.may(verb, right, place.namespace, as_user)
        ]
        if denied:
            lacking += len(denied)
            yield problem(
                "release rights",
                f"{account} may not {', '.join(denied)} {right.name} ({right.used_by})",
                f"apply manifests/components/{manifests}; patch their names when "
                "cluster.service.name is another one",
            )
    total = sum(len(right.verbs) for right in asked)
    if lacking < total:
        yield ok("release rights", f"{account} has {total - lacking} of the {total} it needs")
