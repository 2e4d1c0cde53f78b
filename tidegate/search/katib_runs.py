"""A search as Katib Experiments: submitted side by side, watched, collected and taken away."""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tidegate import store
from tidegate.cluster_api import EXPERIMENTS, PODS, TRIALS, Clock, ClusterApi, ClusterError
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.errors import BadInput
from tidegate.models.catalogue import BENCHMARK
from tidegate.models.catalogue import algorithm as find_algorithm
from tidegate.models.interface import Algorithm, Setting
from tidegate.records import SearchResult, TrialResult
from tidegate.search.experiments import RunningExperiment, submit, take_away
from tidegate.search.finish import finish
from tidegate.search.katib import ExperimentPlan, shares
from tidegate.search.leftovers import find_owner, remove_leftovers
from tidegate.search.local import available_cores
from tidegate.search.outcome import BENCHMARK_NUMBER, SearchFailed, best_of, conclude
from tidegate.search.pods import WORKSPACE
from tidegate.search.process import TrialOrder, TrialProcess, start_trial, wait_for_any
from tidegate.search.progress import SearchProgress
from tidegate.search.tasks import Room
from tidegate.search.trial import VALIDATION_OUTPUTS, VALIDATION_SCORES
from tidegate.search.trial_objects import created_at, ending, is_complete, read_trial, why_waiting

_EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"
_POLL_SECONDS = 5.0
#: How often a look is taken at the pods of trials that have not ended.
_LOOK_SECONDS = 60.0
#: How long a shared disk may take to show here what a trial wrote there.
_LAG_SECONDS = 60.0
#: A pod that is told to end has half a minute; the Experiments must go within it.
_LAST_WORDS_SECONDS = 10.0


def run_search(
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    *,
    cluster: ClusterConfig,
    workspace: Path = Path(WORKSPACE),
    api: ClusterApi | None = None,
    clock: Clock | None = None,
    progress: Callable[[SearchProgress], None] | None = None,
) -> SearchResult:
    """Search as `tidegate.search.local.run_search` does, with Katib's trials on the cluster.

    One Experiment an algorithm, all in parallel under one budget of minutes. The benchmark model
    is trial 0 and runs here, in the step itself; trials are numbered as Katib made them. A step
    that is started again goes on with the Experiments it left. None is left behind, however this
    ends: finished, out of time, failed, interrupted or terminated.

    Parameters
    ----------
    workspace : Path
        Where ``cluster.workspace_claim`` is mounted here; trials have it at ``/workspace``.
    api : ClusterApi, optional
        The default reads the pod's service account or the kubeconfig.

    Raises
    ------
    BadInput
        If an algorithm is unknown, no cluster or workspace is here, or no trial finished in time.
    SearchFailed
        If the benchmark or every trial that could have won crashed, or an Experiment was deleted.
    ClusterError
        If the API server refuses, or does not answer for five minutes.
    """
    clock = clock or Clock()
    names = list(dict.fromkeys(config.algorithms))
    algorithms = [find_algorithm(name) for name in names]
    if not workspace.is_dir():
        raise BadInput(
            "search.backend",
            f"katib needs the workspace at {workspace}, and it is not mounted",
            f"mount the claim {cluster.workspace_claim} there",
        )
    search = _KatibSearch(
        features_folder,
        config,
        out,
        algorithms=algorithms,
        cluster=cluster,
        workspace=workspace,
        api=api or ClusterApi(clock=clock),
        clock=clock,
        progress=progress,
    )
    with _terminated_means_interrupted():
        return search.run()


class _KatibSearch:
    def __init__(
        self,
        features_folder: Path,
        config: SearchConfig,
        out: Path,
        *,
        algorithms: list[Algorithm],
        cluster: ClusterConfig,
        workspace: Path,
        api: ClusterApi,
        clock: Clock,
        progress: Callable[[SearchProgress], None] | None,
    ) -> None:
        self._features_folder = features_folder
        self._config = config
        self._out = out
        self._algorithms = algorithms
        self._cluster = cluster
        self._workspace = workspace
        self._api = api
        self._clock = clock
        self._progress = progress
        self._started = clock.monotonic()
        self._owner = find_owner(api, cluster.namespace, os.environ)
        self._id = self._identity()
        self._place = f"search/{self._id}"
        self._experiments: list[RunningExperiment] = []
        self._trials: dict[str, dict[str, Any]] = {}
        self._seen_ended: dict[str, float] = {}
        self._results: dict[str, TrialResult] = {}
        self._benchmark: TrialResult | None = None
        self._waiting: str | None = None
        self._looked = self._started

    def run(self) -> SearchResult:
        (self._out / "search.json").unlink(missing_ok=True)
        shutil.rmtree(self._out / "trials", ignore_errors=True)
        self._sweep()
        plans = self._plans(self._placed_features())
        benchmark: TrialProcess | None = None
        finished = False
        try:
            for plan in plans:
                experiment = submit(self._api, self._clock, plan)
                self._experiments.append(experiment)
                began = self._clock.monotonic() - experiment.age_seconds
                self._started = min(self._started, began)
            benchmark = self._start_benchmark()
            self._watch(benchmark)
            result = self._conclude()
            room = Room(1, available_cores(), self._seconds_left)
            result = finish(result, self._features_folder, self._config, self._out, room)
            finished = True
        finally:
            if benchmark is not None and self._benchmark is None:
                benchmark.end()
            self._take_away(None if finished else _LAST_WORDS_SECONDS)
        store.write_record(self._out / "search.json", result)
        return result

    def _identity(self) -> str:
        cluster = self._cluster.model_dump(mode="json")
        features = store.digest_tree(self._features_folder)
        owner = self._owner.uid if self._owner else None
        config = self._config.model_dump(mode="json")
        return store.digest_json([config, cluster, features, owner])[:16]

    def _sweep(self) -> None:
        try:
            gone = remove_leftovers(
                self._api,
                self._cluster.namespace,
                self._workspace,
                now=self._clock.now(),
                keep=self._id,
            )
        except ClusterError as error:
            print(f"leftovers of earlier runs were not removed: {error}", flush=True)
            return
        for name in gone:
            print(f"removed the Experiment {name} that an earlier run left", flush=True)

    def _placed_features(self) -> str:
        """Return where in the workspace the features are; bring them there if need be."""
        with contextlib.suppress(ValueError):
            return self._features_folder.relative_to(self._workspace).as_posix()
        place = f"{self._place}/features"
        if not (self._workspace / place).is_dir():
            with store.new_directory(self._workspace / place) as folder:
                shutil.copytree(self._features_folder, folder, dirs_exist_ok=True)
        return place

    def _plans(self, features: str) -> list[ExperimentPlan]:
        assert self._config.trials is not None  # katib always counts: SearchConfig sees to it
        counts = shares(self._config.trials, [entry.name for entry in self._algorithms])
        if BENCHMARK.name in counts:
            counts[BENCHMARK.name] = max(0, counts[BENCHMARK.name] - 1)  # trial 0 is one of them
        return [
            ExperimentPlan(
                search_id=self._id,
                algorithm=algorithm,
                trials=counts[algorithm.name],
                search=self._config,
                cluster=self._cluster,
                features=features,
                folder=f"{self._place}/trials",
                owner=self._owner,
            )
            for algorithm in self._algorithms
            if counts[algorithm.name] > 0
        ]

    def _start_benchmark(self) -> TrialProcess:
        order = TrialOrder(
            number=BENCHMARK_NUMBER,
            algorithm=BENCHMARK.name,
            params=BENCHMARK.defaults,
            stop_rule=None,
            setting=Setting(seed=self._config.seed, threads=available_cores()),
            features_folder=self._features_folder,
            out=self._folder(BENCHMARK_NUMBER),
        )
        return start_trial(order, BENCHMARK.preload)

    def _watch(self, benchmark: TrialProcess) -> None:
        while True:
            if self._benchmark is None:
                self._take_benchmark(benchmark.collect())
            if self._experiments:
                self._poll()
            done = all(self._is_done(experiment) for experiment in self._experiments)
            if done or self._seconds_left() == 0:
                break
            self._clock.sleep(min(_POLL_SECONDS, self._seconds_left()))
        while self._benchmark is None:
            wait_for_any([benchmark], None)
            self._take_benchmark(benchmark.collect())

    def _take_benchmark(self, result: TrialResult | None) -> None:
        if result is None:
            return
        if result.status == "failed":
            raise SearchFailed(f"the benchmark model failed: {result.error}")
        self._benchmark = result
        self._tell(result)

    def _poll(self) -> None:
        namespace = self._cluster.namespace
        found = {
            document["metadata"]["name"]: document
            for document in self._api.find(EXPERIMENTS, namespace, f"tidegate/search={self._id}")
        }
        for experiment in self._experiments:
            document = found.get(experiment.name)
            if document is None or document["metadata"].get("deletionTimestamp"):
                raise SearchFailed(
                    f"the Experiment {experiment.name} was deleted while it ran; "
                    "find out by whom, and run the step again"
                )
            was, experiment.ended = experiment.ended, ending(document)
            if was is None and experiment.ended and experiment.ended[0] == "Failed":
                print(f"{experiment.name} failed: {experiment.ended[1]}", flush=True)
        names = ",".join(experiment.name for experiment in self._experiments)
        for trial in self._api.find(TRIALS, namespace, f"{_EXPERIMENT_LABEL} in ({names})"):
            self._trials[trial["metadata"]["name"]] = trial
        for name, trial in sorted(self._trials.items(), key=_completion):
            if name not in self._results and self._can_be_read(name, trial):
                self._results[name] = self._read(trial)
                self._tell(self._results[name])
        if self._clock.monotonic() - self._looked >= _LOOK_SECONDS or self._seconds_left() == 0:
            self._look_at_pods()

    def _look_at_pods(self) -> None:
        """Say when trials cannot start: no image, no node, no quota."""
        self._looked = self._clock.monotonic()
        try:
            pods = self._api.find(PODS, self._cluster.namespace, f"tidegate/search={self._id}")
        except ClusterError:
            return  # whatever it says, the search does not depend on it
        waiting = why_waiting(pods)
        if waiting is not None and waiting != self._waiting:
            print(f"a trial waits: {waiting}", flush=True)
        self._waiting = waiting

    def _can_be_read(self, name: str, trial: dict[str, Any]) -> bool:
        if is_complete(trial, self._trial_folder(name)):
            return True
        if ending(trial) is None:
            return False
        since = self._seen_ended.setdefault(name, self._clock.monotonic())
        return self._clock.monotonic() - since >= _LAG_SECONDS

    def _is_done(self, experiment: RunningExperiment) -> bool:
        return experiment.ended is not None and all(
            name in self._results
            for name, trial in self._trials.items()
            if self._experiment_of(trial) is experiment and ending(trial) is not None
        )

    def _read(self, trial: dict[str, Any]) -> TrialResult:
        algorithm = self._experiment_of(trial).algorithm
        folder = self._trial_folder(trial["metadata"]["name"])
        return read_trial(trial, algorithm, folder, now=self._clock.now())

    def _experiment_of(self, trial: dict[str, Any]) -> RunningExperiment:
        name = trial["metadata"]["labels"][_EXPERIMENT_LABEL]
        return next(entry for entry in self._experiments if entry.name == name)

    def _conclude(self) -> SearchResult:
        """Give the trials numbers as Katib made them; bring their models and records here."""
        assert self._benchmark is not None
        numbered = [self._benchmark]
        ordered = sorted(self._trials.items(), key=lambda item: (created_at(item[1]), item[0]))
        for number, (name, trial) in enumerate(ordered, start=1):
            result = self._results.get(name) or self._read(trial)
            numbered.append(result.model_copy(update={"number": number}))
            if result.status == "succeeded":
                self._bring(self._trial_folder(name), self._folder(number))
        for result in numbered:
            store.write_record(self._folder(result.number) / "result.json", result)
        late = any(result.status == "out_of_time" for result in numbered)
        unfinished = any(experiment.ended is None for experiment in self._experiments)
        told = [entry.ended[1] for entry in self._experiments if entry.ended]
        return conclude(
            numbered,
            benchmark_can_win=BENCHMARK in self._algorithms,
            stopped_by="minutes" if late or unfinished else "trials",
            seconds=self._clock.monotonic() - self._started,
            minutes=self._config.minutes,
            told=None if late or unfinished or not told else told[-1],
            waiting=self._waiting,
        )

    def _bring(self, source: Path, target: Path) -> None:
        shutil.copytree(source / "model", target / "model")
        shutil.copyfile(source / VALIDATION_SCORES, target / VALIDATION_SCORES)
        if (source / VALIDATION_OUTPUTS).exists():
            shutil.copyfile(source / VALIDATION_OUTPUTS, target / VALIDATION_OUTPUTS)

    def _tell(self, result: TrialResult) -> None:
        ended = [*self._results.values(), *([self._benchmark] if self._benchmark else [])]
        # Numbers come last: here only the benchmark's may be the benchmark's.
        ranked = [
            entry if entry is self._benchmark else entry.model_copy(update={"number": 1})
            for entry in ended
        ]
        best = best_of(ranked, benchmark_can_win=BENCHMARK in self._algorithms)
        told = SearchProgress.after(
            result,
            finished=len(ended),
            total=1 + sum(experiment.trials for experiment in self._experiments),
            best=None if best is None else best.average_precision,
            seconds_left=self._seconds_left(),
        )
        print(told.line(), flush=True)
        if result.error is not None:
            print(f"  {result.error}", flush=True)
        if self._progress is not None:
            self._progress(told)

    def _take_away(self, patience_seconds: float | None) -> None:
        """Delete the Experiments with their trials, then what they wrote in the workspace."""
        namespace = self._cluster.namespace
        names = [experiment.name for experiment in self._experiments]
        if take_away(self._api, namespace, names, patience_seconds=patience_seconds):
            shutil.rmtree(self._workspace / self._place, ignore_errors=True)

    def _folder(self, number: int) -> Path:
        return self._out / "trials" / f"{number:03d}"

    def _trial_folder(self, name: str) -> Path:
        return self._workspace / self._place / "trials" / name

    def _seconds_left(self) -> float:
        return max(0.0, self._config.minutes * 60 - (self._clock.monotonic() - self._started))


def _completion(item: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    return str((item[1].get("status") or {}).get("completionTime") or ""), item[0]


@contextlib.contextmanager
def _terminated_means_interrupted() -> Iterator[None]:
    """Let SIGTERM, with which a pod is told to end, take the Experiments away first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
