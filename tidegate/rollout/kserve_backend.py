"""A release on a cluster: the `ReleaseBackend` over KServe."""

import json
from datetime import datetime
from typing import Any

from tidegate.cluster_api import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    KNATIVE_REVISIONS,
    KNATIVE_SERVICES,
    PODS,
    Clock,
    ClusterApi,
    ClusterError,
    load_configuration,
)
from tidegate.config import RunConfig
from tidegate.errors import BadInput, Conflict
from tidegate.records import Observed, ReleaseEvent, ReleaseState, Traffic
from tidegate.rollout.controller import command
from tidegate.rollout.inference_service import Document, Mode, deployment_name, version_of
from tidegate.rollout.kserve_status import (
    REVISION_LABEL,
    Revision,
    observe_knative,
    observe_standard,
    read_revision,
    restarts_by,
    rolled_out_revisions,
    serving_deployments,
    shares_of,
)
from tidegate.rollout.kserve_traffic import (
    detect_mode,
    differences,
    knative_patch,
    standard_patch,
)
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.release_objects import ReleaseObjects
from tidegate.rollout.transitions import CONTROLLER, return_to

_KSERVE_NAMESPACES = ("kserve", "kubeflow")
_POD_LABEL = "serving.kserve.io/inferenceservice"
_TRIES = 5
#: Seconds that a change may take which another one waits for; less than a lease.
_DRAIN_SECONDS = 15.0


def cluster_api() -> ClusterApi:
    """Return the cluster of the pod's ServiceAccount, or of the kubeconfig.

    Raises
    ------
    BadInput
        If there is neither.
    """
    mend = "run it in a pod of the cluster, or name a kubeconfig in KUBECONFIG"
    return ClusterApi(lambda: load_configuration("rollout", mend))


class KServeBackend:
    """Steps an InferenceService; see `tidegate.rollout.backend.ReleaseBackend`.

    Parameters
    ----------
    config : RunConfig
        `cluster.service` names the InferenceService, which must be there.
    store : ModelStore, optional
        Where its log is kept and its pointer moved; without it there are Kubernetes Events only.
    api : ClusterApi, optional
        The cluster that is asked [`cluster_api`].
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        store: ModelStore | None = None,
        api: ClusterApi | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._namespace = config.cluster.namespace
        self._name = config.cluster.service.name
        self._api = api or cluster_api()
        self._clock = clock or Clock()
        kept = config.rollout.kept_versions
        self._ledger = None if store is None else Ledger(store, config.name, kept_versions=kept)
        self._objects = ReleaseObjects(self._api, self._namespace, self._name)

    def read_state(self) -> tuple[ReleaseState, str] | None:
        """Return the state and its revision; None when no release ever began."""
        return self._objects.read_state()

    def write_state(self, state: ReleaseState, *, revision: str | None) -> str:
        """Replace the state that has this revision; return the new one."""
        return self._objects.write_state(state, self._service(), revision=revision)

    def hold_lease(self, holder: str, now: datetime, *, seconds: float) -> bool:
        """Take or renew the lease; False while another holder's has not run out."""
        return self._objects.hold_lease(holder, self._service(), now, seconds=seconds)

    def let_go_of_lease(self, holder: str) -> None:
        """Give the lease back, if it is this holder's."""
        self._objects.let_go_of_lease(holder, self._service())

    def record(self, event: ReleaseEvent) -> None:
        """Write an event down in the store and make a Kubernetes Event of it, each once."""
        if self._ledger is not None:
            found = self.read_state()
            event = self._ledger.write_down(event, None if found is None else found[0])
        self._objects.tell(event, self._service())

    def route(self, traffic: Traffic) -> None:
        """Put the traffic in force; telling the same again changes nothing.

        What others changed by hand while it was in force is put back and told.

        Raises
        ------
        BadInput
            If the InferenceService or its mode does not allow it.
        Conflict
            If others keep changing the InferenceService, or the release has moved on: a controller
            that was cut off must not bring back the traffic of its time.
        """
        for _ in range(_TRIES):
            # In this order: whoever moves the release on writes the state, then the service, and
            # the patch below is refused over a service that changed since it was read.
            service = self._service()
            found = self.read_state()
            if found is not None and found[0].traffic != traffic:
                raise Conflict(f"the release of {found[0].candidate} has moved on")
            patch = self._patch(service, self._mode(service), traffic)
            changed = differences(patch, service)
            if not changed:
                return
            try:
                if _takes_candidate_away(patch, service):
                    service = self._drained(service)
                self._merge(patch, service)
                if _comes_back(patch, traffic):
                    self._let_come_back(traffic)
            except ClusterError as error:
                if error.status != 409:
                    raise
            else:
                if found is not None and found[0].in_force and not found[0].is_over:
                    self._tell_others_changed(found[0], changed)
                return
        raise Conflict(f"InferenceService {self._name} is being changed by others")

    def observe(self) -> Observed:
        """Return what is in force, read back from the objects that KServe made."""
        service = self._service()
        mode = self._mode(service)
        pods = self._api.find(PODS, self._namespace, f"{_POD_LABEL}={self._name}")
        if mode == "Standard":
            observed = observe_standard(
                self._config,
                service,
                {
                    name: self._api.get(DEPLOYMENTS, self._namespace, name)
                    for name in serving_deployments(service)
                },
                self._api.get(HTTP_ROUTES, self._namespace, self._name),
                pods,
            )
        else:
            knative, revisions = self._knative(service)
            observed = observe_knative(self._config, service, knative, revisions, pods)
        lost = self._not_kept(service, mode, observed)
        if not lost:
            return observed
        return observed.model_copy(update={"settled": False, "notes": (*lost, *observed.notes)})

    def address_of(self, version: str) -> str | None:
        """Return where the pods of one version answer, past the split; None without such pods.

        In Standard mode that is the Service of its slot, in Knative mode that of its revision.
        """
        name = next(iter(self._holders(version)), None)
        return None if name is None else f"http://{name}.{self._namespace}.svc.cluster.local"

    def restarts_of(self, version: str) -> int | None:
        """Return how often the containers of one version have restarted; None without its pods."""
        holders = self._holders(version)
        pods = self._api.find(PODS, self._namespace, f"{_POD_LABEL}={self._name}")
        known = [
            count
            for label, prefix in (("app", "isvc."), (REVISION_LABEL, ""))
            for value, count in restarts_by(pods, label).items()
            if value.startswith(prefix) and value.removeprefix(prefix) in holders
        ]
        return max(known) if known else None

    def settle(self, traffic: Traffic, *, seconds: float = 60.0) -> Observed:
        """Put a traffic in force and wait until it is, or until the time is over.

        Returns
        -------
        Observed
            Its `notes` say what it still waits for.
        """
        until = self._clock.monotonic() + seconds
        while True:
            self.route(traffic)
            observed = self.observe()
            if observed.settled or self._clock.monotonic() >= until:
                return observed
            self._clock.sleep(1.0)

    def put_back(self, version: str, *, by: str, reason: str, at: datetime) -> None:
        """Give all requests to a kept version in one patch, and end a release that is under way.

        Parameters
        ----------
        version : str
            In the model store that KServe reads.
        by, reason : str
            Who wants it and why, for the log.
        """
        if self.read_state() is None:
            self.route(Traffic(baseline=version))
            return
        after = command(
            self,
            lambda state, now: return_to(state, version, by=by, reason=reason, now=now),
            lambda: at,
        )
        self.route(after.traffic)
        for event in after.outbox:
            self.record(event)

    def _holders(self, version: str) -> list[str]:
        """Return the slots' Services, or the revisions, that serve a version, the latest first."""
        service = self._service()
        if self._mode(service) == "Knative":
            _, revisions = self._knative(service)
            names = [n for n, r in revisions.items() if r.version == version and r.ready]
            return sorted(names, reverse=True)
        spec = service["spec"]
        predictors = [spec["predictor"], *(e["predictor"] for e in spec.get("canary") or [])]
        return [
            name
            for name, predictor in zip(serving_deployments(service), predictors, strict=True)
            if version_of(self._config, predictor.get("containers") or []) == version
        ]

    def _service(self) -> Document:
        found = self._api.get(INFERENCE_SERVICES, self._namespace, self._name)
        if found is None:
            raise BadInput(
                "cluster.service.name",
                f"there is no InferenceService {self._name} in {self._namespace}",
                "apply the manifests, or name yours",
            )
        return found

    def _mode(self, service: Document) -> Mode:
        annotations = service["metadata"].get("annotations") or {}
        known = "serving.kserve.io/deploymentMode" in annotations
        known = known or bool((service.get("status") or {}).get("deploymentMode"))
        return detect_mode(service, None if known else self._default_mode())

    def _default_mode(self) -> str | None:
        for namespace in _KSERVE_NAMESPACES:
            try:
                found = self._api.get(CONFIG_MAPS, namespace, "inferenceservice-config")
            except ClusterError as error:
                if error.status != 403:
                    raise
                continue
            if found is not None:
                deploy = json.loads((found.get("data") or {}).get("deploy") or "{}")
                mode: str | None = deploy.get("defaultDeploymentMode")
                return mode
        return None

    def _patch(self, service: Document, mode: Mode, traffic: Traffic) -> Document:
        if mode == "Standard":
            return standard_patch(self._config, service, traffic)
        knative, revisions = self._knative(service)
        latest = ((knative or {}).get("status") or {}).get("latestReadyRevisionName")
        rolled_out, latest_ready = (
            None if found is None else found.version
            for found in (
                revisions.get(rolled_out_revisions(service)[0] or ""),
                revisions.get(latest or ""),
            )
        )
        return knative_patch(
            self._config, service, traffic, rolled_out=rolled_out, latest_ready=latest_ready
        )

    def _knative(self, service: Document) -> tuple[Document | None, dict[str, Revision]]:
        name = deployment_name(self._name, None)
        knative = self._api.get(KNATIVE_SERVICES, self._namespace, name)
        status: dict[str, Any] = (knative or {}).get("status") or {}
        names = {entry.get("revisionName") for entry in status.get("traffic") or []}
        names |= {status.get("latestCreatedRevisionName"), status.get("latestReadyRevisionName")}
        revisions: dict[str, Revision] = {}
        for revision in sorted({n for n in (*names, *rolled_out_revisions(service)) if n}):
            found = self._api.get(KNATIVE_REVISIONS, self._namespace, revision)
            if found is not None:
                revisions[revision] = read_revision(self._config, found)
        return knative, revisions

    def _merge(self, patch: Document, service: Document) -> Document:
        """Submit a patch over the resourceVersion that was read."""
        metadata = {
            **patch.get("metadata", {}),
            "resourceVersion": service["metadata"]["resourceVersion"],
        }
        return self._api.merge(
            INFERENCE_SERVICES, self._namespace, self._name, {**patch, "metadata": metadata}
        )

    def _tell_others_changed(self, state: ReleaseState, changed: list[str]) -> None:
        says = f"others changed the InferenceService, it is put back: {'; '.join(changed)[:300]}"
        at = self._clock.now().isoformat(timespec="microseconds")
        event = ReleaseEvent(
            at=at,
            actor=CONTROLLER,
            kind="note",
            release=state.name,
            candidate=state.candidate,
            percent=state.percent,
            says=says,
        )
        self.record(event)

    def _drained(self, service: Document) -> Document:
        """Take a candidate's requests away before its pods go; KServe deletes those first."""
        names = serving_deployments(service)[1:]
        canaries = [{**entry, "trafficPercent": 0} for entry in service["spec"]["canary"]]
        self._merge({"spec": {"canary": canaries}}, service)
        until = self._clock.monotonic() + _DRAIN_SECONDS
        while self._clock.monotonic() < until:
            route = self._api.get(HTTP_ROUTES, self._namespace, self._name)
            if route is None or not any(
                shares.get(n) for shares in shares_of(route) for n in names
            ):
                break
            self._clock.sleep(0.5)
        # Its status may have been written meanwhile, and with it the resourceVersion.
        return self._service()

    def _let_come_back(self, traffic: Traffic) -> None:
        """Give a baseline's new revision everything once it is ready; till then its old one has it.

        When that takes long the next telling does it.
        """
        until = self._clock.monotonic() + _DRAIN_SECONDS
        while self._clock.monotonic() < until:
            self._clock.sleep(1.0)
            service = self._service()
            patch = self._patch(service, "Knative", traffic)
            if differences(patch, service):
                self._merge(patch, service)
                return

    def _not_kept(self, service: Document, mode: Mode, observed: Observed) -> list[str]:
        """Return where the spec is not what the release's state, or what is in force, asks for."""
        found = self.read_state()
        if found is not None and found[0].phase in ("progressing", "paused"):
            asked = found[0].traffic
        elif observed.traffic.candidate is None:
            asked = observed.traffic
        else:
            return [] if found is None else ["a candidate is there and its release is over"]
        try:
            patch = self._patch(service, mode, asked)
        except BadInput as refused:
            return [str(refused)]
        return differences(patch["spec"], service["spec"])


def _comes_back(patch: Document, traffic: Traffic) -> bool:
    """Say whether a patch for Knative leaves a baseline dark until its revision is ready."""
    return traffic.candidate is None and patch["spec"]["predictor"]["canaryTrafficPercent"] == 0


def _takes_candidate_away(patch: Document, service: Document) -> bool:
    """Say whether a candidate with requests goes and the predictor beside it stays."""
    canaries = service["spec"].get("canary") or []
    stays = patch["spec"]["predictor"].get("name") == service["spec"]["predictor"].get("name")
    return (
        patch["spec"]["canary"] is None
        and stays
        and any(entry["trafficPercent"] for entry in canaries)
    )
