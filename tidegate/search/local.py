"""The search on this machine: trials in processes, under a budget of trials and minutes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.models.catalogue import BENCHMARK, learnable
from tidegate.models.interface import Setting
from tidegate.records import SearchResult, TrialResult
from tidegate.search.finish import finish
from tidegate.search.memory import machine_gib
from tidegate.search.outcome import BENCHMARK_NUMBER, SearchFailed, best_of
from tidegate.search.process import TrialOrder, TrialProcess, start_trial, wait_for_any
from tidegate.search.progress import SearchProgress
from tidegate.search.schedule import Schedule, Turn
from tidegate.search.study import Proposal, Study
from tidegate.search.tasks import Room
from tidegate.search.warmstart import warm_points

#: How often a look is taken at the memory of running trials.
_LOOK_SECONDS = 0.2
_CRASHED = ("failed", "out_of_memory")


def run_search(
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    *,
    progress: Callable[[SearchProgress], None] | None = None,
) -> SearchResult:
    """Try algorithms and hyperparameters; the highest average precision on validation wins.

    Trial 0 is the benchmark model with its defaults. It may run on when the minutes end; it
    stands beside the budget of trials, and cannot win, when `config` does not list it. Which
    algorithm comes next is `tidegate.search.schedule`'s to say. An ensemble of the trials wins
    when it ranks better than the best of them.

    With a budget in trials the same seed and `parallel` give the same trials: trial n is proposed
    from the results of the first n - `parallel` trials, whatever else has finished.

    Parameters
    ----------
    features_folder : Path
        What `tidegate.records.FeatureSet` describes; the holdout is not read.
    out : Path
        Gets ``trials/NNN/result.json``, ``trials/NNN/model/`` of those that succeeded, what
        `tidegate.search.finish` leaves and, last, ``search.json``.
    progress : callable, optional
        Called after every trial; the same is printed as one line.

    Raises
    ------
    BadInput
        If an algorithm is unknown, or none of the listed ones finished a trial in time or scores
        a row as quickly as it must.
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
        listed = [learnable(name) for name in dict.fromkeys(config.algorithms)]
        # A stable sort: the benchmark first, then the order of the configuration.
        listed.sort(key=lambda algorithm: algorithm.name != BENCHMARK.name)
        warm = warm_points(config, listed)
        self._benchmark_can_win = BENCHMARK in listed
        self._studies = {entry.name: Study(entry, config, warm[entry.name]) for entry in listed}
        self._beside = None if self._benchmark_can_win else Study(BENCHMARK, config)
        trials = config.trials
        if config.refresh and trials is not None:
            trials = max(1, sum(map(len, warm.values())))
        self._most_trials = None if trials is None else trials + (self._beside is not None)
        # One long trial imports its libraries itself: the benchmark need not wait for them.
        often = [entry for entry in listed if not entry.plans_by_seconds]
        modules = [module for entry in (BENCHMARK, *often) for module in entry.preload]
        self._preload = list(dict.fromkeys(modules))
        self._features_folder = features_folder
        self._config = config
        self._out = out
        self._progress = progress
        cores = available_cores()
        self._slots = min(config.parallel, cores)
        self._schedule = Schedule(listed, config, slots=self._slots, cores=cores)
        self._memory_gib = 0.9 * machine_gib() / self._slots
        self._proposals: dict[int, tuple[Study, Proposal]] = {}
        self._running: dict[int, TrialProcess] = {}
        self._results: dict[int, TrialResult] = {}
        self._learned = 0

    def run(self) -> SearchResult:
        (self._out / "search.json").unlink(missing_ok=True)
        for left_over in ("trials", "distilled"):
            shutil.rmtree(self._out / left_over, ignore_errors=True)
        try:
            self._run_trials()
        finally:
            for trial in self._running.values():
                trial.end()
        timed_out = any(result.status == "out_of_time" for result in self._results.values())
        short = self._most_trials is None or len(self._results) < self._most_trials
        stopped_by: Literal["trials", "minutes"] = "minutes" if short or timed_out else "trials"
        best = self._best()
        if best is None:
            raise self._without_winner()
        result = SearchResult(
            trials=tuple(self._results[number] for number in sorted(self._results)),
            best=best.number,
            benchmark=BENCHMARK_NUMBER,
            seconds=self._schedule.elapsed(),
            stopped_by=stopped_by,
        )
        room = Room(self._slots, available_cores() // self._slots, self._schedule.seconds_left)
        result = finish(result, self._features_folder, self._config, self._out, room)
        result = result.model_copy(update={"seconds": self._schedule.elapsed()})
        store.write_record(self._out / "search.json", result)
        return result

    def _run_trials(self) -> None:
        while True:
            while len(self._running) < self._slots and self._start_next():
                pass
            if not self._running:
                return
            wait_for_any(list(self._running.values()), self._patience())
            for number, trial in list(self._running.items()):
                result = trial.collect() or trial.end_if_too_large()
                overdue = self._schedule.is_overdue(trial.order.algorithm)
                if result is None and overdue and number != BENCHMARK_NUMBER:
                    result = trial.end()
                if result is not None:
                    self._finish(number, result)

    def _patience(self) -> float:
        left = self._schedule.trial_seconds_left()
        return min(_LOOK_SECONDS, left) if left else _LOOK_SECONDS

    def _start_next(self) -> bool:
        """Start the next trial if one may start now."""
        number = len(self._results) + len(self._running)
        if number == self._most_trials or self._schedule.trial_seconds_left() == 0:
            return False
        turn: Turn | None
        if number == BENCHMARK_NUMBER:
            turn = self._schedule.benchmark_turn(BENCHMARK.name)
        else:
            if self._schedule.is_counted and not self._learn_before(number):
                return False
            due = [name for name, study in self._studies.items() if study.points_left]
            turn = self._schedule.turn(len(self._running), due)
        if turn is None:
            return False
        study = self._studies.get(turn.algorithm) or self._beside
        assert study is not None
        proposal = study.propose(again=turn.again)
        self._proposals[number] = (study, proposal)
        resources = proposal.algorithm.resources
        order = TrialOrder(
            number=number,
            algorithm=turn.algorithm,
            params=proposal.params,
            stop_rule=proposal.stop_rule,
            setting=Setting(
                seed=self._config.seed + (number if turn.again else 0),
                threads=turn.threads,
                seconds=turn.seconds,
                encoder=self._config.encoder,
                device=self._config.device,
                quantize=self._config.quantize,
            ),
            features_folder=self._features_folder,
            out=self._folder(number),
            memory_gib=self._config.memory_gib or max(resources.memory_gib, self._memory_gib),
        )
        self._running[number] = start_trial(order, self._preload)
        return True

    def _learn_before(self, number: int) -> bool:
        """Learn from the first `number` - parallel trials, no others; False while one still runs.

        With a budget in trials a proposal then never depends on which trial ended first.
        """
        while self._learned <= number - self._config.parallel:
            if self._learned not in self._results:
                return False
            self._learn(self._learned)
            self._learned += 1
        return True

    def _learn(self, number: int) -> None:
        study, proposal = self._proposals[number]
        study.learn(proposal, self._results[number])
        self._schedule.learn(self._results[number])

    def _finish(self, number: int, result: TrialResult) -> None:
        del self._running[number]
        self._results[number] = result
        if not self._schedule.is_counted:
            self._learn(number)
        folder = self._folder(number)
        if result.status != "succeeded":
            shutil.rmtree(folder, ignore_errors=True)
        store.write_record(folder / "result.json", result)
        if number == BENCHMARK_NUMBER and result.status in _CRASHED:
            raise SearchFailed(f"the benchmark model failed: {result.error}")
        best = self._best()
        told = SearchProgress.after(
            result,
            finished=len(self._results),
            total=self._most_trials or self._trials_expected(),
            best=None if best is None else best.average_precision,
            seconds_left=self._schedule.seconds_left(),
        )
        print(told.line(), flush=True)
        if result.error is not None:
            print(f"  {result.error}", flush=True)
        if self._progress is not None:
            self._progress(told)

    def _trials_expected(self) -> int:
        """Return how many trials the minutes will have held at the pace so far."""
        spent = self._schedule.elapsed() / (self._config.minutes * 60)
        return max(len(self._results), round(len(self._results) / max(spent, 1e-6)))

    def _folder(self, number: int) -> Path:
        return self._out / "trials" / f"{number:03d}"

    def _best(self) -> TrialResult | None:
        return best_of(self._results.values(), benchmark_can_win=self._benchmark_can_win)

    def _without_winner(self) -> Exception:
        failed = [
            result
            for result in self._results.values()
            if result.status in _CRASHED
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
