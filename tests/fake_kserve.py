"""A KServe beside the fake Kubernetes: Deployments and routes of InferenceServices, in both modes.

It goes one round each time that the (injected) clock sleeps, and does what the controllers of
KServe and Knative do (see `tidegate.rollout.kserve_status`): a canary gets a share only once it is
ready, ``spec.canary`` is not read in Knative mode nor ``canaryTrafficPercent`` in Standard mode,
Deployments that no predictor names are deleted before the route forgets them, and all annotations
of the InferenceService end in the pod template.
"""

import copy

from tests.fake_kubernetes import merge

NAMESPACE = "tidegate"
_ROUTES = ("gateway.networking.k8s.io", "httproutes")
_KNATIVE = ("serving.knative.dev", "services")
_REVISIONS = ("serving.knative.dev", "revisions")


class FakeKServe:
    """Carries out InferenceServices.

    Parameters
    ----------
    rounds_to_start : int
        Rounds from a pod's beginning until it is ready.
    broken : set of str
        Versions whose pods never become ready.
    gateway : bool
        Whether KServe's ``enableGatewayApi`` is on.
    """

    def __init__(self, kubernetes, *, rounds_to_start=2, gateway=True):
        self.kubernetes = kubernetes
        self.rounds_to_start = rounds_to_start
        self.gateway = gateway
        self.broken = set()
        self.asleep = False
        self.pod_starts = 0
        self.answered = []
        self._ages = {}
        self._revisions = 0

    def round(self):
        if self.asleep:
            return
        for service in self.kubernetes.of("inferenceservices"):
            if service["metadata"]["annotations"].get("serving.kserve.io/stop") == "true":
                continue
            mode = service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
            service.setdefault("status", {})["deploymentMode"] = mode
            (self._standard if mode == "Standard" else self._knative)(service)
        self._serve_requests()

    def _serve_requests(self):
        """Keep who would get a request now, and whether anybody is there to answer."""
        for service in self.kubernetes.of("inferenceservices"):
            self.answered.append(self.who_answers(service["metadata"]["name"]))

    def who_answers(self, name):
        """Return version to percent of what is really in force; "nobody" where no pod is."""
        found = {}
        route = self._get(_ROUTES, name)
        for backend in (route or {}).get("spec", {}).get("rules", [{}])[0].get("backendRefs", []):
            deployment = self._get(("apps", "deployments"), backend["name"])
            ready = deployment is not None and deployment["status"]["availableReplicas"]
            answers = deployment["answers"] if ready else "nobody"
            if backend["weight"]:
                found[answers] = found.get(answers, 0) + backend["weight"]
        knative = self._get(_KNATIVE, f"{name}-predictor")
        for entry in (knative or {}).get("status", {}).get("traffic", []):
            version = version_in(self._get(_REVISIONS, entry["revisionName"])["spec"])
            if entry["percent"]:
                found[version] = found.get(version, 0) + entry["percent"]
        return found

    def _get(self, kind, name):
        return self.kubernetes.objects.get((kind[0], NAMESPACE, kind[1], name))

    def _put(self, kind, document):
        key = (kind[0], NAMESPACE, kind[1], document["metadata"]["name"])
        if key not in self.kubernetes.objects:
            return self.kubernetes.put(kind[1], document, kind[0])
        old = self.kubernetes.objects[key]
        return self.kubernetes.change(key, merge(old, document))

    # Standard mode

    def _standard(self, service):
        name, spec = service["metadata"]["name"], service["spec"]
        stable = _deployment_name(name, spec["predictor"])
        canaries = {_deployment_name(name, e["predictor"]): e for e in spec.get("canary", [])}
        for canary, entry in canaries.items():
            self._deployment(service, canary, {**spec["predictor"], **entry["predictor"]})
        for document in list(self.kubernetes.of("deployments")):
            found = document["metadata"]["name"]
            if found not in (stable, *canaries):
                self.kubernetes.remove(("apps", NAMESPACE, "deployments", found))
                # A request that comes in before the route is written anew finds nobody.
                self._serve_requests()
        self._deployment(service, stable, spec["predictor"])
        ready = {n: self._ready(n) for n in (stable, *canaries)}
        service["status"]["canaryStatuses"] = [
            {
                "name": e["predictor"]["name"],
                "ready": ready[n],
                "trafficPercent": e["trafficPercent"],
            }
            for n, e in canaries.items()
        ]
        deployment = self._get(("apps", "deployments"), stable)
        service["status"]["observedGeneration"] = deployment["status"]["observedGeneration"]
        if self.gateway and ready[stable]:
            self._route(name, stable, {n: e for n, e in canaries.items() if ready[n]})

    def _route(self, name, stable, canaries):
        rest = 100 - sum(entry["trafficPercent"] for entry in canaries.values())
        weights = {stable: rest, **{n: e["trafficPercent"] for n, e in canaries.items()}}
        backends = [{"name": n, "weight": w} for n, w in weights.items()]
        route = {"metadata": {"name": name, "namespace": NAMESPACE}}
        route["spec"] = {"rules": [{"backendRefs": backends}, {"backendRefs": backends}]}
        written = self._put(_ROUTES, route)
        seen = written["metadata"]["generation"]
        accepted = {"type": "Accepted", "status": "True", "observedGeneration": seen}
        written["status"] = {"parents": [{"conditions": [accepted]}]}

    def _deployment(self, service, name, predictor):
        present = self._get(("apps", "deployments"), name)
        containers = copy.deepcopy(predictor["containers"])
        template = {
            "metadata": {"annotations": dict(service["metadata"]["annotations"])},
            "spec": {"containers": containers},
        }
        if present is None or present["spec"]["template"] != template:
            self.pod_starts += 1
            self._ages[name] = 0
        document = self._put(
            ("apps", "deployments"),
            {
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"template": template, "replicas": predictor["minReplicas"]},
            },
        )
        self._ages[name] += 1
        version = version_in(template["spec"])
        started = self._ages[name] > self.rounds_to_start and version not in self.broken
        replicas = predictor["minReplicas"]
        old = "answers" in document and document["answers"] not in (None, version)
        if started:
            document["answers"], old = version, False
        document.setdefault("answers", None)
        document["status"] = {
            "observedGeneration": document["metadata"]["generation"],
            "replicas": replicas + old,
            "updatedReplicas": replicas,
            "availableReplicas": replicas if started or old else 0,
        }

    def _ready(self, name):
        return self._get(("apps", "deployments"), name)["status"]["availableReplicas"] > 0

    # Knative mode

    def _knative(self, service):
        name, predictor = f"{service['metadata']['name']}-predictor", service["spec"]["predictor"]
        status = service["status"].setdefault("components", {}).setdefault("predictor", {})
        percent = predictor.get("canaryTrafficPercent")
        rolled_out = status.get("latestRolledoutRevision")
        traffic = [{"latestRevision": True, "percent": 100}]
        if percent is not None and rolled_out:
            traffic = [{"latestRevision": True, "percent": percent}]
            if percent < 100:
                traffic.append({"revisionName": rolled_out, "percent": 100 - percent})
        template = {
            "metadata": {"annotations": dict(service["metadata"]["annotations"])},
            "spec": {"containers": copy.deepcopy(predictor["containers"])},
        }
        knative = self._put(
            _KNATIVE,
            {
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"template": template, "traffic": traffic},
            },
        )
        own = knative.setdefault("status", {})
        latest = self._get(_REVISIONS, own.get("latestCreatedRevisionName", ""))
        if latest is None or latest["template"] != template:
            self.pod_starts += 1
            self._revisions += 1
            latest = self._put(
                _REVISIONS,
                {
                    "metadata": {"name": f"{name}-{self._revisions:05d}", "namespace": NAMESPACE},
                    "spec": template["spec"],
                    "template": template,
                    "status": {"conditions": [], "observedGeneration": 1},
                },
            )
            own["latestCreatedRevisionName"] = latest["metadata"]["name"]
            self._ages[latest["metadata"]["name"]] = 0
        found = latest["metadata"]["name"]
        self._ages[found] += 1
        if (
            self._ages[found] > self.rounds_to_start
            and version_in(latest["spec"]) not in self.broken
        ):
            latest["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            own["latestReadyRevisionName"] = found
        ready = own.get("latestReadyRevisionName")
        own["traffic"] = [
            {"revisionName": ready if entry.get("latestRevision") else entry["revisionName"]}
            | {"percent": entry["percent"], "latestRevision": entry.get("latestRevision", False)}
            for entry in traffic
            if ready or not entry.get("latestRevision")
        ]
        own["observedGeneration"] = knative["metadata"]["generation"]
        self._propagate(status, own, ready)
        service["status"]["observedGeneration"] = own["observedGeneration"]

    def _propagate(self, status, own, ready):
        """Do what KServe's PropagateStatus does with the revision that was rolled out."""
        shares = [e["percent"] for e in own["traffic"] if e["latestRevision"]]
        if ready and shares == [100] and status.get("latestRolledoutRevision") != ready:
            status["previousRolledoutRevision"] = status.get("latestRolledoutRevision", "")
            status["latestRolledoutRevision"] = ready


def version_in(pod_spec):
    """Return the version that a pod serves."""
    [container] = pod_spec["containers"]
    [uri] = [v["value"] for v in container["env"] if v["name"] == "STORAGE_URI"]
    return uri.rpartition("/")[2]


def _deployment_name(service, predictor):
    slot = predictor.get("name")
    return f"{service}-{slot}-predictor" if slot else f"{service}-predictor"
