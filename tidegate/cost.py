"""What a run asks of a cluster, for how long, and what that is at the pools' prices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegate.config import ClusterConfig, Pool, RunConfig
from tidegate.records import Record, SearchResult

_SECONDS_AN_HOUR = 3600


class RunCost(Record):
    """What pods asked for, and for how long; `amount` is None when no pool has a price."""

    cpu_hours: float
    memory_gib_hours: float
    gpu_hours: float
    amount: float | None
    currency: str


@dataclass(frozen=True)
class Request:
    """What one pod asks for, and how long it ran; with GPUs it goes to the gpu pool."""

    seconds: float
    cpu: float
    memory_gib: float
    gpus: int = 0


def price(requests: Iterable[Request], cluster: ClusterConfig) -> RunCost:
    """Add up requests at the prices of the pools that they go to.

    Requests are what a scheduler sets aside, used or not; waiting for a node is not counted. The
    amount is None when no pool has a price.
    """
    cpu_hours = memory_gib_hours = gpu_hours = amount = 0.0
    for request in requests:
        hours = request.seconds / _SECONDS_AN_HOUR
        pool = cluster.pools.get("gpu" if request.gpus else "cpu", Pool())
        cpu_hours += hours * request.cpu
        memory_gib_hours += hours * request.memory_gib
        gpu_hours += hours * request.gpus
        amount += hours * (
            request.cpu * pool.cpu_hour_price
            + request.memory_gib * pool.memory_gib_hour_price
            + request.gpus * pool.gpu_hour_price
        )
    priced = any(
        pool.cpu_hour_price or pool.memory_gib_hour_price or pool.gpu_hour_price
        for pool in cluster.pools.values()
    )
    return RunCost(
        cpu_hours=cpu_hours,
        memory_gib_hours=memory_gib_hours,
        gpu_hours=gpu_hours,
        amount=amount if priced else None,
        currency=cluster.currency,
    )


def search_cost(search: SearchResult, config: RunConfig) -> RunCost:
    """Return what a search asked for: its step, and the pods of trials that ran outside of it."""
    return price(
        [_step("search", search.seconds, config), *_trials(search, config)], config.cluster
    )


def run_cost(
    step_seconds: Mapping[str, float], search: SearchResult | None, config: RunConfig
) -> RunCost:
    """Return what a run asked for: its steps, and the pods of trials that ran outside of them.

    Parameters
    ----------
    step_seconds : mapping
        Seconds of every step that ran; one that came from the cache is not listed.
    search : SearchResult or None
        The trials of this run; None when the search came from the cache.
    config : RunConfig
        Requests, prices and where the trials ran. A run on this machine counts as what the same
        steps would have asked of a cluster.
    """
    steps = [_step(name, seconds, config) for name, seconds in step_seconds.items()]
    trials = [] if search is None else _trials(search, config)
    return price([*steps, *trials], config.cluster)


def _step(name: str, seconds: float, config: RunConfig) -> Request:
    if name == "search":
        asked = config.cluster.search_resources
        return Request(seconds, asked.cpu, asked.memory_gib, asked.gpus)
    return Request(seconds, config.cluster.cpu, config.cluster.memory_gib)


def _trials(search: SearchResult, config: RunConfig) -> list[Request]:
    """Return the trials' own pods; local trials run inside the search step's."""
    from tidegate.models.catalogue import algorithm

    if config.search.backend == "local":
        return []
    asked = {trial.algorithm: algorithm(trial.algorithm).resources for trial in search.trials}
    return [
        Request(
            trial.seconds,
            asked[trial.algorithm].cpu,
            asked[trial.algorithm].memory_gib,
            asked[trial.algorithm].gpus,
        )
        for trial in search.trials
    ]


def cost_line(cost: RunCost) -> str:
    """Return the cost in one line, the amount first when there is one."""
    asked = (
        f"{cost.cpu_hours:.4g} CPU h, {cost.memory_gib_hours:.4g} GiB h, "
        f"{cost.gpu_hours:.4g} GPU h requested"
    )
    return asked if cost.amount is None else f"{cost.amount:.4g} {cost.currency} ({asked})"
