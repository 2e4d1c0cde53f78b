"""A search on the fake Kubernetes with the fake Katib beside it."""

import itertools
from types import SimpleNamespace

import pytest

from tests.fake_katib import FakeKatib, workspace_of
from tests.fake_kubernetes import TOKEN, FakeClock, FakeKubernetes
from tidegate.cluster_api import ClusterApi
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.models.catalogue import algorithm
from tidegate.search import katib_runs
from tidegate.search.katib_runs import run_search
from tidegate.search.trial import run_trial


class BenchmarkHere:
    """The benchmark's process, without the process."""

    def __init__(self, order, preload):
        self.order = order

    def collect(self):
        order = self.order
        return run_trial(
            order.features_folder,
            algorithm(order.algorithm),
            order.params,
            setting=order.setting,
            out=order.out,
            report=lambda point: None,
        )

    def end(self):
        pass


@pytest.fixture
def cluster(tmp_path, features, monkeypatch):
    monkeypatch.setattr("tidegate.search.trial._SHORTEST_JOB_SECONDS", 0)
    monkeypatch.setattr(katib_runs, "start_trial", BenchmarkHere)
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    clock, workspace = FakeClock(), workspace_of(tmp_path)
    with FakeKubernetes(clock) as kubernetes:
        katib = FakeKatib(kubernetes, clock, workspace)
        clock.ticks.append(katib.round)

        def search(**changes):
            told = {"algorithms": ["logistic"], "minutes": 5, "trials": 3, "backend": "katib"}
            return run_search(
                features,
                SearchConfig.model_validate({**told, "ensemble_members": 1, **changes}),
                tmp_path / "out",
                cluster=ClusterConfig(),
                workspace=workspace,
                api=api(),
                clock=clock,
            )

        def api():
            tokens = itertools.chain([TOKEN], itertools.repeat("fresh"))
            return ClusterApi(lambda: kubernetes.configuration(next(tokens)), clock)

        yield SimpleNamespace(
            search=search,
            api=api,
            clock=clock,
            katib=katib,
            kubernetes=kubernetes,
            workspace=workspace,
            out=tmp_path / "out",
            nothing_left=lambda: (
                not kubernetes.objects and not list((workspace / "search").glob("*"))
            ),
        )
