"""The search on this machine: trials in processes, under a budget of trials and minutes."""

import itertools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.models.catalogue import BENCHMARK
from tidegate.models.catalogue import algorithm as find_algorithm
from tidegate.records import SearchResult, TrialResult
from tidegate.search.ensemble import with_ensemble
from tidegate.search.outcome import BENCHMARK_NUMBER, SearchFailed, best_of
from tidegate.search.process import TrialOrder, TrialProcess, start_trial, wait_for_any
from tidegate.search.progress import SearchProgress
from tidegate.search.study import Proposal, Study


def run_search(
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    *,
    progress: Callable[[SearchProgress], None] | None = None,
) -> SearchResult:
    """Try algorithms and hyperparameters; the highest average precision on validation wins.

    Trial 0 is the benchmark model with its defaults. It may run on when the minutes end; it
    stands beside the budget of trials, and cannot win, when `config` does not list it. Every
    listed algorithm starts with its defaults, and they take turns. An ensemble of the trials wins
    when it ranks better than the best of them.

    Parameters
    ----------
    features_folder : Path
        What `tidegate.records.FeatureSet` describes; the holdout is not read.
    out : Path
        Gets ``trials/NNN/result.json``, ``trials/NNN/model/`` of those that succeeded and, last,
        ``search.json``.
    progress : callable, optional
        Called after every trial; the same is printed as one line.

    Raises
    ------
    BadInput
        If an algorithm is unknown, or none of the listed ones finished a trial in time.
    SearchFailed
        If the benchmark model or every trial of the listed algorithms crashed.
    """
    return _Search(features_folder, config, out, progress).run()


class _Search:
    def __init__(
        self,
        features_folder: Path,
        config: SearchConfig,
        out: Path,
        progress: Callable[[SearchProgress], None] | None,
    ) -> None:
        listed = [find_algorithm(name) for name in dict.fromkeys(config.algorithms)]
        # A stable sort: the benchmark first, then the order of the configuration.
        listed.sort(key=lambda algorithm: algorithm.name != BENCHMARK.name)
        self._benchmark_can_win = BENCHMARK in listed
        self._studies = {algorithm.name: Study(algorithm, config) for algorithm in listed}
        first = [] if self._benchmark_can_win else [Study(BENCHMARK, config)]
        self._turns = itertools.chain(first, itertools.cycle(self._studies.values()))
        self._total = config.trials + len(first)
        modules = [module for entry in (BENCHMARK, *listed) for module in entry.preload]
        self._preload = list(dict.fromkeys(modules))
        self._features_folder = features_folder
        self._config = config
        self._out = out
        self._progress = progress
        cores = available_cores()
        self._slots = min(config.parallel, cores)
        self._threads = cores // self._slots
        self._started = time.monotonic()
        self._running: dict[int, tuple[Study, Proposal, TrialProcess]] = {}
        self._results: dict[int, TrialResult] = {}

    def run(self) -> SearchResult:
        (self._out / "search.json").unlink(missing_ok=True)
        shutil.rmtree(self._out / "trials", ignore_errors=True)
        try:
            self._run_trials()
        finally:
            for _, _, trial in self._running.values():
                trial.end()
        stopped_by: Literal["trials", "minutes"] = "trials"
        if len(self._results) < self._total or self._statuses("out_of_time"):
            stopped_by = "minutes"
        best = self._best()
        if best is None:
            raise self._without_winner()
        result = SearchResult(
            trials=tuple(self._results[number] for number in sorted(self._results)),
            best=best.number,
            benchmark=BENCHMARK_NUMBER,
            seconds=time.monotonic() - self._started,
            stopped_by=stopped_by,
        )
        result = with_ensemble(result, self._features_folder, self._config, self._out)
        store.write_record(self._out / "search.json", result)
        return result

    def _run_trials(self) -> None:
        numbers = iter(range(self._total))
        while True:
            while len(self._running) < self._slots and self._seconds_left() > 0:
                number = next(numbers, None)
                if number is None:
                    break
                self._start(number)
            if not self._running:
                return
            only_benchmark = self._running.keys() == {BENCHMARK_NUMBER}
            timed = None if only_benchmark and self._seconds_left() == 0 else self._seconds_left()
            wait_for_any([trial for _, _, trial in self._running.values()], timed)
            for number, (_, _, trial) in list(self._running.items()):
                result = trial.collect()
                if result is None and self._seconds_left() == 0 and number != BENCHMARK_NUMBER:
                    result = trial.end()
                if result is not None:
                    self._finish(number, result)

    def _start(self, number: int) -> None:
        study = next(self._turns)
        proposal = study.propose()
        order = TrialOrder(
            number=number,
            algorithm=proposal.algorithm.name,
            params=proposal.params,
            stop_rule=proposal.stop_rule,
            seed=self._config.seed,
            threads=self._threads,
            features_folder=self._features_folder,
            out=self._folder(number),
        )
        self._running[number] = (study, proposal, start_trial(order, self._preload))

    def _finish(self, number: int, result: TrialResult) -> None:
        study, proposal, _ = self._running.pop(number)
        study.learn(proposal, result)
        self._results[number] = result
        folder = self._folder(number)
        if result.status != "succeeded":
            shutil.rmtree(folder, ignore_errors=True)
        store.write_record(folder / "result.json", result)
        if number == BENCHMARK_NUMBER and result.status == "failed":
            raise SearchFailed(f"the benchmark model failed: {result.error}")
        best = self._best()
        told = SearchProgress.after(
            result,
            finished=len(self._results),
            total=self._total,
            best=None if best is None else best.average_precision,
            seconds_left=self._seconds_left(),
        )
        print(told.line(), flush=True)
        if result.error is not None:
            print(f"  {result.error}", flush=True)
        if self._progress is not None:
            self._progress(told)

    def _folder(self, number: int) -> Path:
        return self._out / "trials" / f"{number:03d}"

    def _seconds_left(self) -> float:
        return max(0.0, self._config.minutes * 60 - (time.monotonic() - self._started))

    def _statuses(self, status: str) -> int:
        return sum(result.status == status for result in self._results.values())

    def _best(self) -> TrialResult | None:
        return best_of(self._results.values(), benchmark_can_win=self._benchmark_can_win)

    def _without_winner(self) -> Exception:
        failed = [
            result
            for result in self._results.values()
            if result.status == "failed"
            and (result.number != BENCHMARK_NUMBER or self._benchmark_can_win)
        ]
        names = ", ".join(self._studies)
        if failed:
            return SearchFailed(
                f"no trial of {names} succeeded; trial {failed[-1].number} ended with: "
                f"{failed[-1].error}"
            )
        return BadInput(
            "search.minutes",
            f"no trial of {names} finished in {self._config.minutes:g} minutes",
            "give it more minutes or fewer rows",
        )


def available_cores() -> int:
    """Return the cores this process may use: its affinity, within its cgroup's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
