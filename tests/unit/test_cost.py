"""Cost: requested resources × time × the pools' prices, exactly."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import ClusterConfig, RunConfig
from tidegate.cost import Request, RunCost, cost_line, price, run_cost, search_cost
from tidegate.models import catalogue
from tidegate.models.interface import Resources
from tidegate.records import SearchResult, TrialResult

PRICES = {"cpu_hour_price": 0.5, "memory_gib_hour_price": 0.0625, "gpu_hour_price": 2.0}
CLUSTER = {
    "cpu": 4,
    "memory_gib": 8,
    "currency": "EUR",
    "pools": {"cpu": {**PRICES, "gpu_hour_price": 0}, "gpu": {**PRICES, "cpu_hour_price": 1.0}},
}


def config(backend, **cluster):
    return RunConfig.model_validate(
        {
            "name": "posts",
            "data": {"source": "c.parquet", "text": "body", "label": "y"},
            "search": {"backend": backend},
            "cluster": {**CLUSTER, **cluster},
        }
    )


def searched(*trials, seconds):
    return SearchResult(
        trials=tuple(
            TrialResult(
                number=number, algorithm=name, params={}, status="succeeded", seconds=trial_seconds
            )
            for number, (name, trial_seconds) in enumerate(trials)
        ),
        best=0,
        benchmark=0,
        seconds=seconds,
        stopped_by="trials",
    )


@pytest.fixture
def known_algorithms(monkeypatch):
    """Two algorithms whose requests this test states itself."""
    asked = {
        "small": Resources(cpu=2, memory_gib=4.0),
        "large": Resources(cpu=1, memory_gib=16.0, gpus=2),
    }
    monkeypatch.setattr(
        catalogue,
        "algorithm",
        lambda name: replace(catalogue.BENCHMARK, name=name, resources=asked[name]),
    )


def test_an_hour_of_a_step_costs_what_it_asks_for():
    cost = run_cost({"ingest": 1800.0, "evaluate": 1800.0}, None, config("local"))
    assert cost == RunCost(
        cpu_hours=4.0, memory_gib_hours=8.0, gpu_hours=0.0, amount=2.5, currency="EUR"
    )


def test_a_search_step_with_a_gpu_is_paid_in_the_gpu_pool():
    place = config("local", search_step={"cpu": 2, "memory_gib": 16, "gpus": 1})
    cost = run_cost({"search": 3600.0, "report": 3600.0}, None, place)
    # search (2, 16, 1) at the gpu pool's prices, report (4, 8, 0) at the cpu pool's
    assert (cost.cpu_hours, cost.memory_gib_hours, cost.gpu_hours) == (6.0, 24.0, 1.0)
    assert cost.amount == (2.0 + 1.0 + 2.0) + (2.0 + 0.5)


def test_trials_in_the_search_step_are_paid_once_with_the_step(known_algorithms):
    search = searched(("small", 3600.0), ("small", 3600.0), seconds=3600.0)
    alone = run_cost({"search": 3600.0}, None, config("local"))
    assert run_cost({"search": 3600.0}, search, config("local")) == alone
    assert search_cost(search, config("local")) == alone


def test_trials_in_pods_of_their_own_are_paid_in_the_pool_that_they_go_to(known_algorithms):
    search = searched(("small", 1800.0), ("large", 900.0), seconds=3600.0)
    cost = search_cost(search, config("katib"))
    # step 1 h × (4, 8, 0), small 1/2 h × (2, 4, 0), large 1/4 h × (1, 16, 2)
    assert (cost.cpu_hours, cost.memory_gib_hours, cost.gpu_hours) == (5.25, 14.0, 0.5)
    step, small, large = 2.0 + 0.5, 0.5 + 0.125, 0.25 + 0.25 + 1.0
    assert cost.amount == step + small + large


def test_a_search_from_the_cache_costs_nothing_again(known_algorithms):
    cost = run_cost({"report": 3600.0}, None, config("katib"))
    assert (cost.cpu_hours, cost.amount) == (4.0, 2.5)


def test_without_a_price_there_is_no_amount_but_hours():
    cost = run_cost({"ingest": 3600.0}, None, config("local", pools={}))
    assert (cost.amount, cost.cpu_hours) == (None, 4.0)
    assert cost_line(cost) == "4 CPU h, 8 GiB h, 0 GPU h requested"


def test_the_line_puts_the_amount_first():
    cost = run_cost({"ingest": 36.0}, None, config("local"))
    assert cost_line(cost) == "0.025 EUR (0.04 CPU h, 0.08 GiB h, 0 GPU h requested)"


@given(
    st.lists(st.builds(Request, *[st.integers(0, 10_000)] * 3, st.integers(0, 8)), max_size=6),
    st.integers(0, 6),
)
def test_a_bill_is_the_sum_of_its_parts(requests, cut):
    cluster = ClusterConfig.model_validate(CLUSTER)
    whole = price(requests, cluster)
    first, rest = price(requests[:cut], cluster), price(requests[cut:], cluster)
    for name in ("cpu_hours", "memory_gib_hours", "gpu_hours", "amount"):
        assert getattr(whole, name) == pytest.approx(getattr(first, name) + getattr(rest, name))
