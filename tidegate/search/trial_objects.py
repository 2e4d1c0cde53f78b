"""Katib's Trial objects and their folders in the workspace, read as `TrialResult`s."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tidegate import store
from tidegate.errors import BadInput
from tidegate.models.interface import Algorithm
from tidegate.records import CurvePoint, Params, TrialResult
from tidegate.search.katib import REPORTS
from tidegate.search.space import parse_words
from tidegate.search.trial import CURVE

Ending = Literal["Succeeded", "EarlyStopped", "MetricsUnavailable", "Failed", "Killed"]
_ENDINGS: tuple[Ending, ...] = (
    "EarlyStopped",
    "Succeeded",
    "MetricsUnavailable",
    "Failed",
    "Killed",
)


def ending(document: Mapping[str, Any]) -> tuple[Ending, str] | None:
    """Return how a Trial or an Experiment ended and what was said of it, None while it runs."""
    conditions = {
        condition["type"]: condition
        for condition in (document.get("status") or {}).get("conditions") or ()
        if condition.get("status") == "True"
    }
    for name in _ENDINGS:
        if name in conditions:
            return name, str(conditions[name].get("message") or name)
    return None


def created_at(document: Mapping[str, Any]) -> datetime:
    """Return when the API server made an object."""
    return _time(document["metadata"]["creationTimestamp"])


def is_complete(trial: Mapping[str, Any], folder: Path) -> bool:
    """Say whether all that an ended trial leaves can be seen; a shared disk may lag behind."""
    ended = ending(trial)
    return ended is not None and (ended[0] != "Succeeded" or (folder / "result.json").is_file())


def read_trial(
    trial: Mapping[str, Any], algorithm: Algorithm, folder: Path, *, now: datetime
) -> TrialResult:
    """Return what a trial found, as the local search tells it; its number is 0.

    Its own ``result.json`` is believed first: Katib may have lost the metrics of a trial that
    left a good model. One without it is told from the Trial object and the curve so far.

    Parameters
    ----------
    trial : mapping
        The Trial object.
    folder : Path
        Where the trial writes in the workspace; may be missing.
    now : datetime
        The end of a trial that still runs: it is out of time.
    """
    written = folder / "result.json"
    if written.is_file():
        result = store.read_record(written, TrialResult)
        if result.status != "succeeded" or (folder / "model").is_dir():
            return result
    ended = ending(trial)
    curve = _curve(folder / CURVE)
    status: Literal["failed", "early_stopped", "out_of_time"] = "out_of_time"
    error = precision = loss = None
    if ended is not None and ended[0] == "EarlyStopped":
        status = "early_stopped"
        precision, loss = _observed(trial)
        if curve:
            precision = curve[-1].validation_average_precision
            loss = curve[-1].validation_log_loss
    elif ended is not None and ended[0] != "Killed":
        status, error = "failed", ended[1]
        if ended[0] == "Succeeded":
            error = f"it left no model in {folder}; is the workspace one and the same volume?"
    return TrialResult(
        number=0,
        algorithm=algorithm.name,
        params=_params(trial, algorithm),
        status=status,
        average_precision=precision,
        log_loss=loss,
        curve=curve,
        seconds=_seconds(trial, now),
        error=error,
    )


def why_waiting(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why a trial's pod has not started, in the cluster's words; None when all have."""
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("phase") != "Pending":
            continue
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("message"):
                return f"{waiting.get('reason')}: {waiting['message']}"
        for condition in status.get("conditions") or ():
            if condition.get("status") == "False" and condition.get("message"):
                return f"{condition.get('reason')}: {condition['message']}"
    return None


def _params(trial: Mapping[str, Any], algorithm: Algorithm) -> Params:
    words = {
        entry["name"]: str(entry["value"])
        for entry in (trial.get("spec") or {}).get("parameterAssignments") or ()
        if entry["name"] != REPORTS
    }
    try:
        return parse_words(algorithm.search_space, words)
    except BadInput:
        return words


def _curve(path: Path) -> tuple[CurvePoint, ...]:
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8").split("\n")
    # A line without its end was being written when the trial went.
    return tuple(CurvePoint.model_validate_json(line) for line in lines[:-1])


def _observed(trial: Mapping[str, Any]) -> tuple[float | None, float | None]:
    metrics = ((trial.get("status") or {}).get("observation") or {}).get("metrics") or ()
    latest = {metric["name"]: metric.get("latest") for metric in metrics}

    def figure(name: str) -> float | None:
        try:
            return float(latest[name])
        except (KeyError, TypeError, ValueError):
            return None

    return figure("average_precision"), figure("log_loss")


def _seconds(trial: Mapping[str, Any], now: datetime) -> float:
    status = trial.get("status") or {}
    start = status.get("startTime")
    began = _time(start) if start else created_at(trial)
    over = status.get("completionTime")
    return max(0.0, ((_time(over) if over else now) - began).total_seconds())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
