"""The cluster's examination: one check after another, none of which can stop the others."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tidegate.config import RunConfig
from tidegate.doctor import control_plane, namespace, nodes
from tidegate.doctor.api import Api, Forbidden, NoAnswer, connect
from tidegate.doctor.control_plane import Cluster
from tidegate.doctor.findings import Finding, problem, unknown
from tidegate.errors import BadInput


class _Check(NamedTuple):
    name: str
    look: Callable[[Cluster], Iterable[Finding]]
    #: What to do when the right to look is missing.
    without_right: str


_ASK = "ask an administrator for the right, or to run doctor"

_CHECKS = (
    _Check("pipelines", control_plane.check_pipelines, _ASK),
    _Check("katib", control_plane.check_katib, _ASK),
    _Check("trainer", control_plane.check_trainer, _ASK),
    _Check("kserve", control_plane.check_kserve, f"{_ASK}; KServe's default mode decides releases"),
    _Check("gateway API", control_plane.check_gateway, _ASK),
    _Check("prometheus", control_plane.check_prometheus, _ASK),
    _Check(
        "nodes",
        nodes.check_nodes,
        "ask an administrator for `kubectl get nodes --show-labels`, or the right to list nodes",
    ),
    _Check("namespace", namespace.check_namespace, _ASK),
    _Check("service account", namespace.check_service_accounts, _ASK),
    _Check(
        "rights",
        namespace.check_rights,
        "run doctor in a pod of that ServiceAccount, or ask an administrator for "
        "`kubectl auth can-i --list --as=system:serviceaccount:NAMESPACE:ACCOUNT`",
    ),
    _Check("quota", namespace.check_quota, _ASK),
    _Check("storage", namespace.check_storage, _ASK),
    _Check("image", namespace.check_images, _ASK),
    _Check("object store", namespace.check_object_store, _ASK),
)


def check_cluster(config: RunConfig | None = None, context: str | None = None) -> list[Finding]:
    """Examine the cluster that kubectl would talk to; nothing on it is changed.

    Parameters
    ----------
    config : RunConfig, optional
        What runs will ask for; without it, the defaults.
    context : str, optional
        A context of the kubeconfig.

    Returns
    -------
    list of Finding
        One finding alone when the API server cannot be reached.
    """
    try:
        api = connect(context)
    except NoAnswer as error:
        return [problem("cluster", error.what, error.mend)]
    return examine(api, config)


def examine(api: Api, config: RunConfig | None = None) -> list[Finding]:
    """Examine the cluster behind `api`; see `check_cluster`."""
    try:
        findings = list(control_plane.check_server(api))
        cluster = Cluster(api, config, control_plane.served_groups(api))
    except NoAnswer as error:
        return [problem("cluster", error.what, error.mend)]
    except Forbidden as error:
        return [
            problem("cluster", f"may not {error.asked}", "log in as somebody the cluster knows")
        ]
    for check in _CHECKS:
        findings += _safely(check, cluster)
    return findings


def _safely(check: _Check, cluster: Cluster) -> Iterator[Finding]:
    """Turn whatever stops a check into its finding; what it had found stays."""
    try:
        yield from check.look(cluster)
    except BadInput:
        raise
    except Forbidden as error:
        yield unknown(check.name, f"may not {error.asked}", check.without_right)
    except NoAnswer as error:
        yield unknown(check.name, error.what, error.mend)
    except Exception as error:  # noqa: BLE001 - a cluster's odd answer must not end the examination
        what = f"the cluster answered what doctor does not understand ({type(error).__name__})"
        yield unknown(check.name, what, "look by hand, and report this as a defect of doctor")
