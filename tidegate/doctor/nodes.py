"""Node pools: can the pods that a configuration describes be scheduled anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate.config import Pool, RunConfig
from tidegate.doctor.control_plane import Cluster
from tidegate.doctor.findings import Finding, ok, problem, warning

_REPELLING = {"NoSchedule", "NoExecute"}
#: Kubernetes' own taints tell a node's condition; no pool is meant to tolerate them.
_CONDITION = "node.kubernetes.io/"
_TELLING = ("gpu", "accelerator", "instance-type")


def check_nodes(cluster: Cluster) -> Iterator[Finding]:
    """Hold the pools of the configuration, or the default ones, against the nodes."""
    found = cluster.api.items("/api/v1/nodes")
    nodes = [node for node in found if _closed(node) is None]
    pools = cluster.config.cluster.pools if cluster.config else {}
    if len(nodes) < len(found):
        told = [f"{n['metadata']['name']} {why}" for n in found if (why := _closed(n))]
        yield warning(
            "nodes",
            f"{len(told)} of {len(found)} take no pods: {', '.join(told[:5])}",
            "kubectl describe node NAME says why; pools are held against the others",
        )
    yield _cpu_pool(nodes, pools.get("cpu", Pool()))
    yield _gpu_pool(nodes, pools.get("gpu", Pool()), needed=_asks_for_gpus(cluster.config))
    yield from _priority_classes(cluster, pools)


def _cpu_pool(nodes: Sequence[Any], pool: Pool) -> Finding:
    fitting = [node for node in nodes if _misfit(node, pool) is None]
    if not nodes:
        return problem("cpu nodes", "no node takes pods", "add nodes, or mend those that are there")
    if fitting:
        return ok("cpu nodes", f"{len(fitting)} of {len(nodes)} fit cluster.pools.cpu")
    return problem(
        "cpu nodes",
        f"none of {len(nodes)} fits cluster.pools.cpu: {_misfits(nodes, pool)}",
        "mend node_selector and tolerations in cluster.pools.cpu",
    )


def _gpu_pool(nodes: Sequence[Any], pool: Pool, *, needed: bool) -> Finding:
    bad = problem if needed else warning
    carriers = [node for node in nodes if _gpus(node, pool) > 0]
    if not carriers:
        what = f"no node offers {pool.gpu_resource}"
        if not needed:
            return ok("gpu nodes", f"{what}; no algorithm of this configuration asks for one")
        return problem(
            "gpu nodes",
            f"{what}, and an algorithm asks for one",
            "add GPU nodes and their device plugin; where an autoscaler adds them on demand, "
            "nothing",
        )
    fitting = [node for node in carriers if _misfit(node, pool) is None]
    if not fitting:
        return bad(
            "gpu nodes",
            f"none of {len(carriers)} fits cluster.pools.gpu: {_misfits(carriers, pool)}",
            "mend node_selector and tolerations in cluster.pools.gpu",
        )
    count = sum(_gpus(node, pool) for node in fitting)
    told = f"{len(fitting)} of {len(carriers)} fit, with {count} {pool.gpu_resource}"
    return ok("gpu nodes", "; ".join([told, *_labels_and_taints(fitting)]))


def _asks_for_gpus(config: RunConfig | None) -> bool:
    from tidegate.models.catalogue import algorithm

    names = config.search.algorithms if config else ()
    return any(algorithm(name).resources.gpus > 0 for name in names)


def _gpus(node: Mapping[str, Any], pool: Pool) -> int:
    return int(node["status"].get("allocatable", {}).get(pool.gpu_resource, 0))


def _closed(node: Mapping[str, Any]) -> str | None:
    """Say why a node takes no pod at all just now, or None when it does."""
    if node["spec"].get("unschedulable"):
        return "is cordoned"
    for taint in node["spec"].get("taints", ()):
        name = taint["key"].removeprefix(_CONDITION)
        # Pods that ask for memory, as ours do, tolerate the pressure.
        if name not in (taint["key"], "memory-pressure") and taint["effect"] in _REPELLING:
            return f"is {name}"
    return None


def _misfit(node: Mapping[str, Any], pool: Pool) -> str | None:
    """Say why a pod of the pool cannot go to a node, or None when it can."""
    labels = node["metadata"].get("labels", {})
    for key, value in pool.node_selector.items():
        if labels.get(key) != value:
            return f"label {key} is {labels.get(key, 'not set')}, wanted {value}"
    for taint in node["spec"].get("taints", ()):
        if taint["effect"] in _REPELLING and not _tolerated(taint, pool):
            return f"taint {_taint(taint)} is not tolerated"
    return None


def _misfits(nodes: Sequence[Any], pool: Pool) -> str:
    reasons = dict.fromkeys(reason for node in nodes if (reason := _misfit(node, pool)))
    return "; ".join(list(reasons)[:3])


def _tolerated(taint: Mapping[str, Any], pool: Pool) -> bool:
    return any(
        toleration.key == taint["key"]
        and toleration.effect in (None, taint["effect"])
        and (toleration.operator == "Exists" or toleration.value == taint.get("value"))
        for toleration in pool.tolerations
    )


def _taint(taint: Mapping[str, Any]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _labels_and_taints(nodes: Sequence[Any]) -> list[str]:
    labels = {
        f"{key}={value}"
        for node in nodes
        for key, value in node["metadata"].get("labels", {}).items()
        if any(word in key for word in _TELLING)
    }
    taints = {_taint(taint) for node in nodes for taint in node["spec"].get("taints", ())}
    return [
        f"{name} {', '.join(sorted(found)[:6])}"
        for name, found in (("labels", labels), ("taints", taints))
        if found
    ]


def _priority_classes(cluster: Cluster, pools: Mapping[Any, Pool]) -> Iterator[Finding]:
    for name in dict.fromkeys(pool.priority_class for pool in pools.values()):
        if name is None:
            continue
        path = f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}"
        if cluster.api.get(path) is None:
            mend = "create it, or take priority_class out of cluster.pools"
            yield problem("priority class", f"{name} does not exist: pods are refused", mend)
        else:
            yield ok("priority class", name)
