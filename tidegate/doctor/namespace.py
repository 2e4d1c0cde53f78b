"""The namespace that runs go to: what is admitted there, and what is allowed."""

from collections.abc import Iterator
from decimal import Decimal

from tidegate.config import ClusterConfig
from tidegate.doctor.api import Forbidden
from tidegate.doctor.control_plane import Cluster
from tidegate.doctor.findings import Finding, ok, problem, unknown, warning
from tidegate.doctor.rights import PIPELINE_RIGHTS, RELEASE_RIGHTS, TRIGGER_RIGHTS, Right

#: As `tidegate.search.pods.SERVICE_ACCOUNT`, which is not imported for Katib's models come with it.
_TRIAL_ACCOUNT = "tidegate-trial"
_RELEASE_ACCOUNT, _TRIGGER_ACCOUNT = "tidegate-release", "tidegate-trigger"
_ENFORCE = "pod-security.kubernetes.io/enforce"
_COLLECTOR = "katib.kubeflow.org/metrics-collector-injection"
_COMPLETING = "tidegate-restricted-defaults"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_PULL_FAILURES = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}


def settings(cluster: Cluster) -> ClusterConfig:
    """Return the configuration's cluster section, or the default one."""
    return cluster.config.cluster if cluster.config else ClusterConfig()


def check_namespace(cluster: Cluster) -> Iterator[Finding]:
    """Read the namespace's Pod Security level and Katib's label."""
    name = settings(cluster).namespace
    found = cluster.api.get(f"/api/v1/namespaces/{name}")
    if found is None:
        mend = "install Tidegate's manifests (`kubectl apply -k manifests/overlays/...`)"
        yield problem("namespace", f"{name} does not exist", mend)
        return
    labels = found["metadata"].get("labels", {})
    level = labels.get(_ENFORCE)
    if level == "restricted":
        yield ok("pod security", f"{name}: restricted")
        yield _completed_pods(cluster)
    elif cluster.api.get(f"/apis/apps/v1/namespaces/{name}/deployments/ml-pipeline") is not None:
        # Their own pods would be refused, and a single user's runs can go nowhere else.
        yield ok("pod security", f"{name}: {level or 'none'}, Kubeflow Pipelines' own namespace")
    else:
        yield warning(
            "pod security",
            f"{name}: {level or 'none'} is enforced",
            f"kubectl label ns {name} {_ENFORCE}=restricted --overwrite (all our pods comply)",
        )
    if labels.get(_COLLECTOR) == "enabled":
        yield ok("katib label", f"{name}: metrics collectors are injected")
    else:
        backend = cluster.config.search.backend if cluster.config else "katib"
        bad = problem if backend == "katib" else warning
        yield bad(
            "katib label",
            f"{name} lacks {_COLLECTOR}=enabled: Katib's trials would end without metrics",
            f"kubectl label ns {name} {_COLLECTOR}=enabled",
        )


def _completed_pods(cluster: Cluster) -> Finding:
    """Find the policy without which ``restricted`` refuses pods of Katib's and KFP's making."""
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/{_COMPLETING}"
    if cluster.api.get(path) is not None:
        return ok("pod defaults", f"{_COMPLETING} completes Katib's and KFP's pods")
    return warning(
        "pod defaults",
        f"no MutatingAdmissionPolicy {_COMPLETING}: Katib's suggestions and KFP's steps say less "
        "than restricted demands and may be refused",
        "apply manifests/components/restricted-defaults (Kubernetes 1.36), or enforce baseline",
    )


def check_service_accounts(cluster: Cluster) -> Iterator[Finding]:
    """Find the ServiceAccounts that steps and trials run as."""
    place = settings(cluster)
    accounts = [place.service_account]
    if cluster.config is None or cluster.config.search.backend == "katib":
        accounts.append(_TRIAL_ACCOUNT)
    home = f"/api/v1/namespaces/{place.namespace}/serviceaccounts"
    missing = [name for name in accounts if cluster.api.get(f"{home}/{name}") is None]
    if missing:
        what = f"{', '.join(missing)} not in {place.namespace}"
        mend = "install Tidegate's manifests, or mend cluster.namespace and service_account"
        yield problem("service account", what, mend)
    else:
        yield ok("service account", f"{', '.join(accounts)} in {place.namespace}")


def check_rights(cluster: Cluster) -> Iterator[Finding]:
    """Ask for every right that the steps need, in their account's name, and who else is there."""
    place = settings(cluster)
    backend = cluster.config.search.backend if cluster.config else "katib"
    steps = tuple(right for right in PIPELINE_RIGHTS if right.backend in (None, backend))
    yield from _rights_of(cluster, place.service_account, steps, "manifests/base has it")
    controller = cluster.config.rollout.controller if cluster.config else "deployment"
    if controller == "step":
        where = "manifests/components/release-step has it"
        yield from _rights_of(cluster, place.service_account, RELEASE_RIGHTS, where)
    home = f"/api/v1/namespaces/{place.namespace}/serviceaccounts"
    for account, rights, component, wanted in (
        (_RELEASE_ACCOUNT, RELEASE_RIGHTS, "release-controller", controller == "deployment"),
        (_TRIGGER_ACCOUNT, TRIGGER_RIGHTS, "trigger", True),
    ):
        where = f"manifests/components/{component} has it"
        try:
            if wanted and cluster.api.get(f"{home}/{account}") is not None:
                yield from list(_rights_of(cluster, account, rights, where))
        except Forbidden:
            continue  # a step may ask for itself alone


def _rights_of(
    cluster: Cluster, account: str, rights: tuple[Right, ...], where: str
) -> Iterator[Finding]:
    place = settings(cluster)
    user = f"system:serviceaccount:{place.namespace}:{account}"
    as_user = None if cluster.api.user() == user else user
    asked = [right.of(place.service.name) for right in rights]
    lacking = {
        right: denied
        for right in asked
        if (
            denied := [
                verb
                for verb in right.verbs
                if not cluster.api.may(verb, right, place.namespace, as_user)
            ]
        )
    }
    # Only one of KServe's modes is in force: it is enough to have what one of them needs.
    modes = {right.mode for right in asked} - {right.mode for right in lacking} - {None}
    if modes:
        asked = [right for right in asked if right.mode is None or right.mode in modes]
        lacking = {right: verbs for right, verbs in lacking.items() if right in asked}
    for right, denied in lacking.items():
        yield problem(
            "rights",
            f"{account} may not {', '.join(denied)} {right.name} ({right.used_by})",
            f"add them to its Role in {place.namespace}; {where}",
        )
    total = sum(len(right.verbs) for right in asked)
    allowed = total - sum(len(denied) for denied in lacking.values())
    if allowed:
        yield ok("rights", f"{account} has {allowed} of the {total} it needs")


def check_quota(cluster: Cluster) -> Iterator[Finding]:
    """Compare what one step asks for with what every quota leaves."""
    from kubernetes.utils.quantity import parse_quantity

    place = settings(cluster)
    quotas = cluster.api.items(f"/api/v1/namespaces/{place.namespace}/resourcequotas")
    if not quotas:
        yield ok("quota", f"{place.namespace} has none")
    wanted = {"cpu": Decimal(place.cpu), "memory": Decimal(place.memory_gib) * 2**30}
    for quota in quotas:
        hard = quota.get("status", {}).get("hard", {})
        used = quota.get("status", {}).get("used", {})
        left = {key: parse_quantity(hard[key]) - parse_quantity(used.get(key, "0")) for key in hard}
        short = [
            key
            for kind, amount in wanted.items()
            for key in (kind, f"requests.{kind}", f"limits.{kind}")
            if key in left and left[key] < amount
        ]
        short += [key for key in ("pods", "count/pods") if key in left and left[key] < 1]
        told = ", ".join(f"{key} {used.get(key, '0')}/{hard[key]}" for key in sorted(hard))
        title = f"{quota['metadata']['name']}: {told}"
        if short:
            yield warning(
                "quota",
                f"{title}; a step (cpu {place.cpu}, memory {place.memory_gib}Gi) does not fit: "
                f"{', '.join(short)}",
                "wait for other pods to end, raise the quota, or lower cluster.cpu and memory_gib",
            )
        else:
            yield ok("quota", title)


def check_storage(cluster: Cluster) -> Iterator[Finding]:
    """Find the workspace's claim, or what could provide one."""
    place = settings(cluster)
    path = f"/api/v1/namespaces/{place.namespace}/persistentvolumeclaims/{place.workspace_claim}"
    claim = cluster.api.get(path)
    if claim is None:
        mend = "install Tidegate's manifests, or mend cluster.workspace_claim"
        yield problem("workspace", f"no claim {place.workspace_claim}", mend)
    else:
        yield _claim(place.workspace_claim, claim["status"]["phase"], claim["spec"]["accessModes"])
    classes = cluster.api.items("/apis/storage.k8s.io/v1/storageclasses")
    names = [entry["metadata"]["name"] for entry in classes]
    standard = [
        entry["metadata"]["name"]
        for entry in classes
        if entry["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true"
    ]
    if standard:
        yield ok("storage class", f"default {standard[0]} of {', '.join(names)}")
    elif claim is not None and claim["status"]["phase"] == "Bound":
        yield ok("storage class", "no default; the workspace is bound all the same")
    else:
        what = f"no default among {', '.join(names)}" if names else "there is none"
        mend = "mark one as default, or name one in the workspace's claim"
        yield problem("storage class", what, mend)


def _claim(name: str, phase: str, modes: list[str]) -> Finding:
    told = f"{name} is {phase}, {', '.join(modes)}"
    if phase == "Lost":
        return problem("workspace", told, "its volume is gone: make the claim anew")
    if phase != "Bound":
        what = f"{told}; fine if its storage class waits for the first pod"
        return warning("workspace", what, f"kubectl describe pvc {name}")
    if "ReadWriteMany" not in modes:
        mend = "use a class with ReadWriteMany, or keep all pods on one node"
        return warning("workspace", f"{told}: pods on other nodes cannot mount it", mend)
    return ok("workspace", told)


def check_images(cluster: Cluster) -> Iterator[Finding]:
    """Tell from the namespace's pods which images come and which do not."""
    place = settings(cluster)
    pods = cluster.api.items(f"/api/v1/namespaces/{place.namespace}/pods")
    failing: dict[str, str] = {}
    pulled = set()
    for pod in pods:
        status = pod.get("status", {})
        for container in (
            *status.get("initContainerStatuses", ()),
            *status.get("containerStatuses", ()),
        ):
            reason = container.get("state", {}).get("waiting", {}).get("reason")
            if reason in _PULL_FAILURES:
                failing[container["image"]] = reason
            elif container.get("imageID"):
                pulled.add(container["image"].removeprefix("docker.io/"))
    for image, reason in failing.items():
        mend = f"check its name, and that {place.service_account} has an imagePullSecret for it"
        yield problem("image", f"{image}: {reason}", mend)
    if place.image.removeprefix("docker.io/") in pulled:
        yield ok("image", f"{place.image} was pulled here")
    elif place.image not in failing:
        yield unknown(
            "image",
            f"no pod of {place.image} has run in {place.namespace} yet",
            "push it to a registry that the nodes reach, or `kind load docker-image` it; the "
            "first pod shows whether it comes",
        )
    if "@sha256:" not in place.image:
        yield warning(
            "image digest",
            f"{place.image} is not pinned: Kubeflow's cache cannot tell a rebuilt image",
            "write cluster.image: REGISTRY/NAME@sha256:DIGEST",
        )


def check_object_store(cluster: Cluster) -> Iterator[Finding]:
    """Say how to look for the object store's Secret, which is not read here."""
    place = settings(cluster)
    if place.object_store_secret is not None:
        yield unknown(
            "object store",
            f"secret {place.object_store_secret} is not looked at: doctor reads no secrets",
            f"kubectl -n {place.namespace} get secret {place.object_store_secret} -o name",
        )
