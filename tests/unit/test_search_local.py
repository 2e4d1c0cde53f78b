import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.features.matrices import load_features
from tidegate.models.catalogue import algorithm, load_model
from tidegate.records import SearchResult
from tidegate.search.local import SearchFailed, run_search
from tidegate.search.progress import SearchProgress

REPOSITORY = Path(__file__).resolve().parents[2]

SLOW = """
    import os, time
    from pathlib import Path

    def slow(params, setting):
        (Path({pids!r}) / str(os.getpid())).touch()
        time.sleep(60)

    SLOW = replace(LOGISTIC, name="slow", build=slow)
"""
CRASHING = """
    import os

    def crash(params, setting):
        if params == dict(LOGISTIC.defaults):
            raise ValueError("first line\\nthe matrix is upside down")
        os._exit(7)

    CRASHING = replace(LOGISTIC, name="crashing", build=crash)
"""

TELLING = """
    import os, sys

    def tell(params, setting):
        main = getattr(sys.modules["__main__"], "__file__", None)
        raise ValueError(f"{setting.threads} {os.environ['OMP_WAIT_POLICY']} {main}")

    TELLING = replace(LOGISTIC, name="telling", build=tell)
"""
GREEDY = """
    import time
    import numpy as np

    def grab(params, setting):
        held = [np.ones(2**27 // 8) for _ in range(16)]
        time.sleep(30)

    GREEDY = replace(LOGISTIC, name="greedy", build=grab)
"""
CONTRARY = """
    from tidegate.models.linear import LogisticModel

    class Contrary(LogisticModel):
        def fit(self, X, y, sample_weight, evaluation=None):
            return super().fit(X, 1 - y, sample_weight, evaluation)

    CONTRARY = replace(
        LOGISTIC, name="contrary", build=lambda params, setting: Contrary(1.0, False, "words")
    )
"""


TOLD = {
    "algorithms": ["logistic"],
    "minutes": 5,
    "trials": 4,
    "parallel": 1,
    "ensemble_members": 1,
}


def config(**changes):
    return SearchConfig.model_validate({**TOLD, **changes})


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids_in(folder):
    return [int(path.name) for path in folder.iterdir()]


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def outcomes(result):
    return [(t.algorithm, t.params, t.status, t.average_precision) for t in result.trials]


def test_the_budget_of_trials_is_kept_and_everything_is_written(features, tmp_path, capsys):
    seen = []
    out = tmp_path / "out"
    result = run_search(features, config(parallel=2, trials=5), out, progress=seen.append)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3, 4]
    assert result.stopped_by == "trials"
    assert store.read_record(out / "search.json", SearchResult) == result
    assert result.trials[result.best].average_precision == max(
        trial.average_precision for trial in result.trials
    )
    assert all((out / "trials" / f"{n:03d}" / "model").is_dir() for n in range(5))
    assert [told.finished for told in seen] == [1, 2, 3, 4, 5]
    lines = capsys.readouterr().out.splitlines()
    assert [SearchProgress.parse(line).line() for line in lines] == [told.line() for told in seen]


def test_the_benchmark_comes_first_and_every_algorithm_starts_from_its_defaults(features, tmp_path):
    result = run_search(
        features, config(algorithms=["xgboost", "logistic"], trials=4), tmp_path / "out"
    )
    assert [t.algorithm for t in result.trials][:2] == ["logistic", "xgboost"]
    for trial in result.trials[:2]:
        assert trial.params == algorithm(trial.algorithm).defaults
    for trial in result.trials[2:]:
        assert trial.params != algorithm(trial.algorithm).defaults
    assert result.benchmark == 0


def test_a_benchmark_that_is_not_listed_runs_beside_the_budget_and_cannot_win(
    features, tmp_path, plugin
):
    plugin("contrary", CONTRARY)
    result = run_search(features, config(algorithms=["contrary"], trials=1), tmp_path / "out")
    assert [trial.algorithm for trial in result.trials] == ["logistic", "contrary"]
    assert (result.benchmark, result.best) == (0, 1)
    assert result.trials[0].average_precision > result.trials[1].average_precision
    assert (tmp_path / "out" / "trials" / "000" / "model").is_dir()


@pytest.mark.parametrize("parallel", [1, 2])
def test_the_same_seed_repeats_a_search_whose_budget_is_in_trials(features, tmp_path, parallel):
    told = config(algorithms=["logistic", "xgboost"], trials=5, parallel=parallel)
    first, second = (run_search(features, told, tmp_path / name) for name in "ab")
    assert outcomes(first) == outcomes(second)
    assert first.best == second.best


def test_another_seed_gives_another_search(features, tmp_path):
    first, other = (
        run_search(features, config(trials=3, seed=seed), tmp_path / f"{seed}") for seed in (0, 1)
    )
    assert outcomes(first) != outcomes(other)


def test_a_budget_in_minutes_is_used_up_and_not_passed(features, tmp_path):
    told = config(algorithms=["logistic", "xgboost"], minutes=0.2, trials=None, parallel=2)
    result = run_search(features, told, tmp_path / "out")
    assert 0.8 * 12 < result.seconds < 1.1 * 12
    assert result.stopped_by == "minutes"
    assert len(result.trials) > 3
    for trial in result.trials:
        assert trial.status != "succeeded" or trial.serving_ms > 0


def test_a_trial_that_passes_the_memory_limit_is_stopped_and_the_search_goes_on(
    features, tmp_path, plugin
):
    plugin("greedy", GREEDY)
    told = config(algorithms=["logistic", "greedy"], trials=3, memory_gib=0.6)
    result = run_search(features, told, tmp_path / "out")
    large = [trial for trial in result.trials if trial.algorithm == "greedy"]
    assert {trial.status for trial in large} == {"out_of_memory"}
    assert "its limit is 0.6: raise search.memory_gib" in large[0].error
    assert not (tmp_path / "out" / "trials" / f"{large[0].number:03d}" / "model").exists()
    assert result.trials[result.best].algorithm == "logistic"


def test_the_best_points_of_an_earlier_search_are_tried_after_the_defaults(
    features, tmp_path, capsys
):
    first = run_search(features, config(trials=4), tmp_path / "first")
    best = first.trials[first.best].params
    told = config(trials=2, seed=5, warm_start=str(tmp_path / "first"))
    again = run_search(features, told, tmp_path / "again")
    assert again.trials[0].params == algorithm("logistic").defaults
    assert best in (again.trials[0].params, again.trials[1].params)
    outside = first.trials[0].model_copy(update={"params": {"C": 1e9}, "average_precision": 1.0})
    store.write_record(
        tmp_path / "first" / "search.json", first.model_copy(update={"trials": (outside,)})
    )
    run_search(features, told, tmp_path / "third")
    assert "warm start: logistic's earlier point is outside its space" in capsys.readouterr().out


def test_a_refresh_tries_nothing_but_the_points_in_service(features, tmp_path):
    first = run_search(features, config(trials=3, ensemble_members=1), tmp_path / "first")
    served = first.trials[-1].params
    store.write_record(
        tmp_path / "first" / "search.json",
        first.model_copy(update={"trials": (first.trials[-1],)}),
    )
    told = config(trials=1, refresh=True, seed=9, warm_start=str(tmp_path / "first"))
    again = run_search(features, told, tmp_path / "again")
    assert [trial.params for trial in again.trials] == [served]


def test_a_warm_start_from_nowhere_is_refused(features, tmp_path):
    told = config(warm_start=str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="holds neither"):
        run_search(features, told, tmp_path / "out")


def test_the_minutes_are_kept_and_unfinished_trials_leave_no_model(features, tmp_path, plugin):
    pids = tmp_path / "pids"
    pids.mkdir()
    plugin("slow", SLOW.format(pids=str(pids)))
    started = time.monotonic()
    result = run_search(
        features,
        config(algorithms=["logistic", "slow"], minutes=0.06, trials=9, parallel=2),
        tmp_path / "out",
    )
    assert time.monotonic() - started < 3.6 + 5
    assert result.stopped_by == "minutes"
    assert result.trials[0].status == "succeeded"
    late = [trial for trial in result.trials if trial.status == "out_of_time"]
    assert [trial.algorithm for trial in late] == ["slow"] * len(late)
    assert late
    for trial in late:
        folder = tmp_path / "out" / "trials" / f"{trial.number:03d}"
        assert [path.name for path in folder.iterdir()] == ["result.json"]
    assert not any(alive(pid) for pid in pids_in(pids))


def test_minutes_too_few_for_the_listed_algorithms_are_refused(features, tmp_path, plugin):
    plugin("slow", SLOW.format(pids=str(tmp_path)))
    with pytest.raises(BadInput, match=r"search\.minutes: no trial of slow finished in 0\.04"):
        run_search(features, config(algorithms=["slow"], minutes=0.04), tmp_path / "out")
    assert not (tmp_path / "out" / "search.json").exists()
    # The benchmark was allowed to finish.
    assert (tmp_path / "out" / "trials" / "000" / "model").is_dir()


def test_a_crashed_trial_is_recorded_and_the_search_goes_on(features, tmp_path, plugin, capsys):
    plugin("crashing", CRASHING)
    result = run_search(
        features, config(algorithms=["crashing", "logistic"], trials=8), tmp_path / "out"
    )
    crashed = [trial for trial in result.trials if trial.algorithm == "crashing"]
    assert {trial.status for trial in crashed} == {"failed"}
    assert len(crashed) < 4  # what only crashes gets fewer trials
    assert crashed[0].error == "the matrix is upside down"
    assert crashed[1].error == "the trial's process ended with exit code 7"
    assert result.trials[result.best].algorithm == "logistic"
    assert "  the matrix is upside down" in capsys.readouterr().out


def test_trials_share_the_cores_wait_passively_and_do_not_import_the_script(
    features, tmp_path, plugin, monkeypatch
):
    monkeypatch.setattr("tidegate.search.local.available_cores", lambda: 7)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    plugin("telling", TELLING)
    with pytest.raises(SearchFailed, match="3 PASSIVE None"):
        run_search(features, config(algorithms=["telling"], trials=1, parallel=2), tmp_path / "out")
    assert "OMP_WAIT_POLICY" not in os.environ


def test_when_every_listed_trial_crashed_the_last_error_is_told(features, tmp_path, plugin):
    plugin("crashing", CRASHING)
    with pytest.raises(SearchFailed, match="no trial of crashing succeeded; trial 1 ended with"):
        run_search(features, config(algorithms=["crashing"], trials=1), tmp_path / "out")
    assert not (tmp_path / "out" / "search.json").exists()


def test_without_features_the_benchmark_says_what_is_missing(tmp_path):
    with pytest.raises(
        SearchFailed, match=r"benchmark model failed: FileNotFoundError: .*features.json"
    ):
        run_search(tmp_path / "nowhere", config(), tmp_path / "out")


def test_a_trial_worse_than_those_before_it_is_stopped_early(features, tmp_path):
    # With one report a trial and a start step of one, the floor is the mean of all before.
    changes = {"trials": 6, "median_stop_min_trials": 1, "median_stop_start_step": 1}
    result = run_search(features, config(**changes), tmp_path / "out")
    finished = [result.trials[0]]
    for trial in result.trials[1:]:
        floor = sum(t.curve[0].validation_average_precision for t in finished) / len(finished)
        stopped = trial.curve[0].validation_average_precision < floor
        assert trial.status == ("early_stopped" if stopped else "succeeded")
        if not stopped:
            finished.append(trial)
    assert 1 < len(finished) < 6


def test_an_unknown_algorithm_is_refused_before_anything_is_written(features, tmp_path):
    with pytest.raises(BadInput, match="did you mean 'logistic'"):
        run_search(features, config(algorithms=["logistics"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_trial_outlives_the_search(features, tmp_path, plugin, sent):
    pids = tmp_path / "pids"
    pids.mkdir()
    plugin("slow", SLOW.format(pids=str(pids)))
    script = (
        # A shell's background job, and what it starts, ignores Ctrl-C.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from pathlib import Path; from tidegate.config import SearchConfig; "
        "from tidegate.search.local import run_search; "
        f"run_search(Path({str(features)!r}), "
        "SearchConfig(algorithms=('slow',), minutes=5, parallel=2), "
        f"Path({str(tmp_path / 'out')!r}))"
    )
    search = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path / 'site'}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert until(lambda: pids_in(pids), 60)
        search.send_signal(sent)
        assert search.wait(10) != 0
    finally:
        search.kill()
        search.wait()
    assert until(lambda: not any(alive(pid) for pid in pids_in(pids)), 10)
    assert not (tmp_path / "out" / "search.json").exists()


def test_trials_that_rank_better_together_win_as_an_ensemble(features, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tidegate.search.ensemble.select_members", lambda *_, **__: {0: 0.75, 1: 0.25}
    )
    result = run_search(features, config(trials=2, ensemble_members=2), tmp_path / "out")
    assert [trial.algorithm for trial in result.trials] == ["logistic", "logistic", "ensemble"]
    assert result.best == 2
    assert result.benchmark == 0
    assert result.trials[2].params == {"trial_0": 0.75, "trial_1": 0.25}
    X, _ = load_features(features, "validation")
    parts = [load_model("logistic", tmp_path / "out/trials" / n / "model") for n in ("000", "001")]
    mean = sum(s * m.predict_proba(X) for s, m in zip((0.75, 0.25), parts, strict=True))
    together = load_model("ensemble", tmp_path / "out" / "trials" / "002" / "model")
    assert together.predict_proba(X) == pytest.approx(mean)
