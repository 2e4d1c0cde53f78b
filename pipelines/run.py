"""One retrain on this machine: from a configuration to a run directory."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.local import StepEvent, follow, worker_command
from pipelines.run_record import RunRecord, StepRecord
from tidegate.config import RunConfig
from tidegate.cost import run_cost
from tidegate.errors import BadInput
from tidegate.plan import plan_retrain
from tidegate.records import EvaluationReport, SearchResult
from tidegate.rollout.approval import APPROVAL, REQUEST, request_folder
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_json, read_record, write_json, write_record

#: Steps of the retrain pipeline in order; `pipelines.retrain` is imported by the worker alone.
STEPS = (
    "ingest",
    "validate",
    "featurize",
    "search",
    "assemble",
    "evaluate",
    "report",
    "release",
)

_OUTPUTS = (
    "evaluation.json",
    "scored",
    "bundle",
    "report.html",
    "model_card.md",
    "audit.json",
    "validation",
    "search.json",
    "snapshot.json",
    REQUEST,
    APPROVAL,
)


@dataclass(frozen=True)
class RunPlan:
    """What a run will do, decided before anything is written."""

    config: RunConfig
    out: Path
    arguments: Mapping[str, str]
    digests: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def state(self) -> Path:
        """Folder beside the run for what runs share: step cache, artifacts and released models."""
        return self.out.parent / ".tidegate"


def plan_run(config: RunConfig, out: Path) -> RunPlan:
    """Digest the data and the code, find the baseline, and write down the pipeline's arguments.

    Raises
    ------
    BadInput
        If the run directory cannot be made, or the data or the baseline cannot be read.
    """
    _require_writable(out)
    plan = plan_retrain(config, out.parent / ".tidegate" / "models")
    return RunPlan(config, out, plan.arguments, plan.digests, plan.versions)


def _require_writable(out: Path) -> None:
    """Refuse a run directory that cannot be made, without making it yet."""
    nearest = next(path for path in (out, *out.parents) if path.exists())
    if not nearest.is_dir():
        raise BadInput("--out", f"{nearest} is not a folder", "choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput("--out", f"{nearest} cannot be written", "choose another folder")


def execute(plan: RunPlan, report: Callable[[StepEvent], None]) -> RunRecord:
    """Run the pipeline by ``kfp.local`` and leave the run directory behind.

    Parameters
    ----------
    plan : RunPlan
        From `plan_run`.
    report : callable
        Called with every `StepEvent`, for a live display.

    Returns
    -------
    RunRecord
        As written to ``run.json``.

    Raises
    ------
    BadInput
        If a step refused its input, or the run directory cannot be written.
    StepFailed
        If a step broke.
    KeyboardInterrupt
        If the run was interrupted; ``run.json`` says so and every child has ended.
    """
    clock = _Clock(report)
    _prepare(plan)
    # In the system's own place, whose path is short: sockets of the search's processes live here.
    with tempfile.TemporaryDirectory(prefix="tidegate-") as name:
        scratch = Path(name)
        arguments, outputs = scratch / "arguments.json", scratch / "outputs.json"
        write_json(arguments, plan.arguments)
        write_record(plan.out / "run.json", clock.record(plan, "running"))
        command = worker_command(
            image=plan.config.cluster.image,
            arguments=arguments,
            artifacts=plan.state / "artifacts",
            cache=plan.state / "cache",
            outputs=outputs,
        )
        try:
            with _signals_interrupt():
                follow(command, plan.out / "logs", scratch, clock.see)
                evaluation = _collect(read_json(outputs), plan.out)
                _bring_request(plan, evaluation)
        except KeyboardInterrupt:
            _leave(plan, clock.record(plan, "interrupted"))
            raise
        except Exception as error:
            _keep_validation(plan)
            _leave(plan, clock.record(plan, "failed", error=str(error)))
            raise
    record = _with_cost(clock.record(plan, "done", evaluation), plan)
    write_record(plan.out / "run.json", record)
    return record


def _with_cost(record: RunRecord, plan: RunPlan) -> RunRecord:
    """Price the steps that ran; what came from the cache cost nothing this time."""
    ran = {step.name: step.seconds or 0.0 for step in record.steps if step.status == "done"}
    search = read_record(plan.out / "search.json", SearchResult) if "search" in ran else None
    return record.model_copy(update={"cost": run_cost(ran, search, plan.config)})


def _prepare(plan: RunPlan) -> None:
    """Make the folders and take away what an earlier run left, so that nothing looks whole."""
    try:
        (plan.out / "logs").mkdir(parents=True, exist_ok=True)
        plan.state.mkdir(parents=True, exist_ok=True)
        for name in (*_OUTPUTS, "run.json", "drift.json"):
            path = plan.out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for log in (plan.out / "logs").glob("*.log"):
            log.unlink()
    except OSError as error:
        problem = f"{plan.out} cannot be written: {error.strerror}"
        raise BadInput("--out", problem, "choose a folder that you can write to") from None


def _collect(outputs: Mapping[str, str], out: Path) -> EvaluationReport:
    """Copy the pipeline's outputs into the run directory, ``evaluation.json`` last."""
    evaluation = Path(outputs["evaluation"])
    _copy(evaluation / "scored", out / "scored")
    _copy(Path(outputs["bundle"]), out / "bundle")
    _copy(Path(outputs["validation"]), out / "validation")
    _copy(Path(outputs["trials"]) / "search.json", out / "search.json")
    _copy(Path(outputs["snapshot"]) / "snapshot.json", out / "snapshot.json")
    _copy(Path(outputs["page"]), out / "report.html")
    _copy(Path(outputs["card"]), out / "model_card.md")
    _copy(Path(outputs["audit"]), out / "audit.json")
    _copy(evaluation / "evaluation.json", out / "evaluation.json")
    return read_record(out / "evaluation.json", EvaluationReport)


def _bring_request(plan: RunPlan, evaluation: EvaluationReport) -> None:
    """Copy the request for approval, if this run asked for one, to where the approver looks."""
    if evaluation.decision != "promote" or plan.config.rollout.approval == "auto":
        return
    store = ModelStore(Path(plan.arguments["model_store"]))
    folder = request_folder(store, plan.config.name, plan.digests["run"])
    _copy(folder / REQUEST, plan.out / REQUEST)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _leave(plan: RunPlan, record: RunRecord) -> None:
    """Write how the run ended; on a full disk leave no record rather than one that is not true."""
    try:
        write_record(plan.out / "run.json", record)
    except OSError:
        (plan.out / "run.json").unlink(missing_ok=True)


def _keep_validation(plan: RunPlan) -> None:
    """Bring the Data Docs of a failed data gate to where the user looks for them."""
    runs = sorted((plan.state / "artifacts").glob("tidegate-retrain-*"), reverse=True)
    with contextlib.suppress(OSError):
        for found in list(runs[0].glob("validate/report"))[:1] if runs else []:
            shutil.copytree(found, plan.out / "validation", dirs_exist_ok=True)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM end a run the way Ctrl-C does, and Ctrl-C also where a shell had it ignored."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Clock:
    """Times the steps and says how the run stands."""

    def __init__(self, report: Callable[[StepEvent], None]) -> None:
        self._report = report
        self._began = time.monotonic()
        self._started_at = datetime.now(UTC)
        self._steps = {name: StepRecord(name=name, status="waiting") for name in STEPS}
        self._step_began: dict[str, float] = {}

    def see(self, event: StepEvent) -> None:
        """Take note of an event and pass it on."""
        now = time.monotonic()
        if event.kind == "started":
            self._step_began[event.step] = now
            self._steps[event.step] = StepRecord(name=event.step, status="running")
        elif event.kind != "line":
            seconds = round(now - self._step_began.get(event.step, now), 3)
            self._steps[event.step] = StepRecord(
                name=event.step, status=event.kind, seconds=seconds
            )
        self._report(event)

    def record(
        self,
        plan: RunPlan,
        status: str,
        evaluation: EvaluationReport | None = None,
        error: str | None = None,
    ) -> RunRecord:
        """Return ``run.json`` as it stands now."""
        over = status != "running"
        ended = {"done": "skipped", "interrupted": "interrupted"}
        steps = [
            step.model_copy(update={"status": ended.get(status, step.status)})
            if step.status == ("waiting" if status == "done" else "running")
            else step
            for step in self._steps.values()
        ]
        return RunRecord.model_validate(
            {
                "name": plan.config.name,
                "status": status,
                "started_at": self._started_at.isoformat(timespec="seconds"),
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds") if over else None,
                "seconds": round(time.monotonic() - self._began, 3) if over else None,
                "run_digest": plan.digests["run"],
                "config": plan.config.model_dump(mode="json"),
                "digests": plan.digests,
                "versions": plan.versions,
                "steps": [step.model_dump() for step in steps],
                "decision": evaluation.decision if evaluation else None,
                "reasons": evaluation.reasons if evaluation else (),
                "metrics": _metrics(evaluation) if evaluation else {},
                "error": error,
            }
        )


def _metrics(evaluation: EvaluationReport) -> dict[str, float | None]:
    names = ("average_precision", "threshold", "precision", "precision_lower_bound", "recall")
    return {name: getattr(evaluation, name) for name in names}
