"""A cascade as an InferenceGraph, for a filter and a heavy model that scale apart.

In one process the cascade needs no graph (``tidegate.models.cascade``). As two InferenceServices
the filter answers every request, and the heavy model is asked, with the same request, when the
filter passes at least one of its rows.

References
----------
KServe, ``pkg/apis/serving/v1alpha1/inference_graph.go`` and ``cmd/router/main.go``.
"""

from typing import Any

from tidegate.config import RunConfig
from tidegate.errors import BadInput

#: GJSON over the filter's V1 answer: there is a row that it flags, at its pass-through threshold.
PASSES_A_ROW = "predictions.#(flagged==true)"


def build_inference_graph(
    config: RunConfig, *, filter_url: str, heavy_url: str, name: str | None = None
) -> dict[str, Any]:
    """Return the graph that asks the heavy model about what the filter passes.

    Parameters
    ----------
    config : RunConfig
        `cluster` says where it goes, `serving` how long an answer may take.
    filter_url, heavy_url : str
        V1 addresses, ``http://HOST/v1/models/MODEL:predict``: of the name of an InferenceService
        alone KServe would conclude that the model has the same name.
    name : str, optional
        The InferenceService's name with ``-cascade`` behind it.

    Raises
    ------
    BadInput
        If an address is not that of V1 predictions.
    """
    for where, url in (("filter_url", filter_url), ("heavy_url", heavy_url)):
        if not (url.startswith(("http://", "https://")) and url.endswith(":predict")):
            mend = "write http://HOST/v1/models/MODEL:predict"
            raise BadInput(where, f"{url!r} is no address of V1 predictions", mend)
    steps = [
        # Hard: a soft step that fails would be judged by its error, and the error returned as 200.
        {"name": "filter", "serviceUrl": filter_url, "dependency": "Hard"},
        {
            "name": "heavy",
            "serviceUrl": heavy_url,
            "data": "$request",
            "condition": PASSES_A_ROW,
            "dependency": "Hard",
        },
    ]
    seconds = -int(-config.serving.timeout_seconds // 1)
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {
            "name": name or f"{config.cluster.service.name}-cascade",
            "namespace": config.cluster.namespace,
            "labels": {"app.kubernetes.io/part-of": "tidegate"},
        },
        "spec": {
            "nodes": {"root": {"routerType": "Sequence", "steps": steps}},
            # Two services one after the other.
            "timeout": 2 * seconds,
            "routerTimeouts": {"serviceClient": seconds},
            "minReplicas": config.cluster.service.min_replicas,
            "maxReplicas": config.cluster.service.max_replicas,
            "resources": {
                "requests": {"cpu": "100m", "memory": "64Mi"},
                "limits": {"memory": "256Mi"},
            },
        },
    }
