"""What a search must look like afterwards, wherever its trials ran."""

from types import SimpleNamespace

import pytest

from tests.fake_katib import FakeKatib, workspace_of
from tests.fake_kubernetes import FakeClock, FakeKubernetes
from tidegate import store
from tidegate.cluster_api import ClusterApi
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.errors import BadInput
from tidegate.models.catalogue import load_model
from tidegate.records import SearchResult, TrialResult
from tidegate.search import backends, katib_runs, local
from tidegate.search.local import SearchFailed
from tidegate.search.progress import SearchProgress
from tidegate.search.space import contains

SLOW = """
    import time

    def slow(params, setting):
        time.sleep(60)

    SLOW = replace(LOGISTIC, name="slow", build=slow)
"""
CRASHING = """
    def crash(params, setting):
        raise ValueError("first line\\nthe matrix is upside down")

    CRASHING = replace(LOGISTIC, name="crashing", build=crash)
"""
TOLD = {"minutes": 5, "trials": 4, "parallel": 2, "ensemble_members": 1}


@pytest.fixture(params=sorted(backends.BACKENDS))
def backend(request, features, tmp_path, monkeypatch):
    """A way to search with each backend; the cluster's one has a Katib that runs its trials."""
    out = tmp_path / "out"
    if request.param == "local":

        def search(**changes):
            config = SearchConfig.model_validate({**TOLD, **changes})
            return local.run_search(features, config, out, progress=seen.append)

        seen = []
        yield SimpleNamespace(search=search, out=out, seen=seen, never_ends=lambda name: 0.05)
        return
    monkeypatch.setattr("tidegate.search.trial._SHORTEST_JOB_SECONDS", 0)
    clock, workspace = FakeClock(), workspace_of(tmp_path)
    with FakeKubernetes(clock) as kubernetes:
        katib = FakeKatib(kubernetes, clock, workspace)
        clock.ticks.append(katib.round)
        seen = []

        def search(**changes):
            return katib_runs.run_search(
                features,
                SearchConfig.model_validate({**TOLD, "backend": "katib", **changes}),
                out,
                cluster=ClusterConfig(),
                workspace=workspace,
                api=ClusterApi(kubernetes.configuration, clock),
                clock=clock,
                progress=seen.append,
            )

        def never_ends(name):
            katib.fates[name] = "pending"
            return 2.0

        yield SimpleNamespace(search=search, out=out, seen=seen, never_ends=never_ends)
        assert kubernetes.objects == {}
        assert not [path for path in workspace.rglob("*") if path.is_file()]


def trial_folder(backend, number):
    return backend.out / "trials" / f"{number:03d}"


def test_the_budget_is_kept_and_everything_is_written(backend, capsys):
    result = backend.search(algorithms=["logistic", "xgboost"], trials=5)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3, 4]
    assert sorted(trial.algorithm for trial in result.trials) == ["logistic"] * 3 + ["xgboost"] * 2
    assert result.benchmark == 0
    assert result.trials[0].algorithm == "logistic"
    assert result.stopped_by == "trials"
    assert store.read_record(backend.out / "search.json", SearchResult) == result
    for trial in result.trials:
        folder = trial_folder(backend, trial.number)
        assert store.read_record(folder / "result.json", TrialResult) == trial
        assert load_model(trial.algorithm, folder / "model")
        assert (folder / "validation.npy").is_file()
    assert [told.finished for told in backend.seen] == [1, 2, 3, 4, 5]
    lines = [SearchProgress.parse(line) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [
        SearchProgress.parse(told.line()) for told in backend.seen
    ]


def test_a_trial_tells_its_point_its_figures_and_its_curve(backend):
    from tidegate.models.catalogue import algorithm

    result = backend.search(algorithms=["xgboost"], trials=3, median_stop_min_trials=9)
    for trial in result.trials:
        assert trial.status == "succeeded"
        assert contains(algorithm(trial.algorithm).search_space, trial.params)
        assert 0 < trial.average_precision <= 1
        assert trial.log_loss > 0
        assert trial.seconds > 0
        assert trial.error is None
    boosted = [trial for trial in result.trials if trial.algorithm == "xgboost"]
    assert all([point.step for point in trial.curve][:2] == [1, 11] for trial in boosted)


def test_the_highest_average_precision_wins(backend):
    result = backend.search(algorithms=["logistic"], trials=5)
    assert result.trials[result.best].average_precision == max(
        trial.average_precision for trial in result.trials
    )


def test_a_benchmark_that_is_not_listed_stands_beside_the_budget_and_cannot_win(backend):
    result = backend.search(algorithms=["xgboost"], trials=1)
    assert [trial.algorithm for trial in result.trials] == ["logistic", "xgboost"]
    assert result.best == 1


def test_a_crashed_trial_is_recorded_and_the_search_goes_on(backend, plugin, capsys):
    plugin("crashing", CRASHING)
    result = backend.search(algorithms=["crashing", "logistic"])
    crashed = [trial for trial in result.trials if trial.algorithm == "crashing"]
    assert {trial.status for trial in crashed} == {"failed"}
    assert {trial.error for trial in crashed} == {"the matrix is upside down"}
    assert {trial.average_precision for trial in crashed} == {None}
    for trial in crashed:
        files = [path.name for path in trial_folder(backend, trial.number).iterdir()]
        assert files == ["result.json"]
    assert result.trials[result.best].algorithm == "logistic"
    assert "  the matrix is upside down" in capsys.readouterr().out


def test_when_every_listed_trial_crashed_the_last_error_is_told(backend, plugin):
    plugin("crashing", CRASHING)
    with pytest.raises(SearchFailed, match="trial 1 ended with: the matrix is upside down"):
        backend.search(algorithms=["crashing"], trials=1)
    assert not (backend.out / "search.json").exists()


def test_a_stopped_trial_keeps_its_curve_and_leaves_no_model(backend):
    result = backend.search(
        algorithms=["logistic"], trials=12, median_stop_min_trials=1, median_stop_start_step=1
    )
    stopped = [trial for trial in result.trials if trial.status == "early_stopped"]
    assert 0 < len(stopped) < 12
    for trial in stopped:
        assert trial.average_precision == trial.curve[-1].validation_average_precision
        assert trial.log_loss == trial.curve[-1].validation_log_loss
        assert not (trial_folder(backend, trial.number) / "model").exists()


def test_when_the_minutes_end_unfinished_trials_are_out_of_time(backend, plugin):
    plugin("slow", SLOW)
    minutes = backend.never_ends("slow")
    result = backend.search(algorithms=["logistic", "slow"], minutes=minutes, trials=4)
    assert result.stopped_by == "minutes"
    late = [trial for trial in result.trials if trial.algorithm == "slow"]
    assert late
    for trial in late:
        assert (trial.status, trial.average_precision, trial.error) == ("out_of_time", None, None)
        assert [p.name for p in trial_folder(backend, trial.number).iterdir()] == ["result.json"]


def test_minutes_too_few_for_the_listed_algorithms_are_refused(backend, plugin):
    plugin("slow", SLOW)
    minutes = backend.never_ends("slow")
    with pytest.raises(BadInput, match=r"search\.minutes: no trial .*finished in"):
        backend.search(algorithms=["slow"], minutes=minutes, trials=2)
    assert not (backend.out / "search.json").exists()


def test_a_grid_tries_the_same_points_everywhere(backend):
    result = backend.search(algorithms=["logistic"], strategy="grid", trials=5, parallel=1)
    points = {(trial.params["C"], trial.params["class_weight"]) for trial in result.trials[1:]}
    assert points <= {(c, w) for c in (0.01, 100.0) for w in ("none", "balanced")}


def test_an_ensemble_of_the_trials_can_win(backend):
    result = backend.search(algorithms=["logistic", "xgboost"], trials=6, ensemble_members=3)
    best = result.trials[result.best]
    alone = max(t.average_precision for t in result.trials if t.algorithm != "ensemble")
    assert best.average_precision >= alone
    assert load_model(best.algorithm, trial_folder(backend, best.number) / "model")
