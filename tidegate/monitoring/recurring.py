"""The monitor of the model in service on a cluster, as a job or a pipeline's step runs it.

``python -m tidegate.monitoring.recurring --config config.yaml --workspace /workspace``

Each call checks what is due and ends; what is remembered lies in the workspace, so that the next
call goes on wherever it runs. Both shapes may share a workspace, one call at a time.
"""

import argparse
import shutil
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, get_args

from pydantic import ValidationError

from tidegate.config import MonitorConfig, RunConfig, load_config
from tidegate.errors import BadInput
from tidegate.monitoring.schedule import read_state
from tidegate.monitoring.watch import PAGE, REPORT, STATE, check_log, signals_from
from tidegate.monitoring.wording import line_of
from tidegate.records import Cause, MonitorReport, MonitorState, WindowCheck
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_record, write_json

SIGNALS = "signals.json"


class Checked(NamedTuple):
    """What a call found, and the folder that holds it and what is remembered."""

    report: MonitorReport
    folder: Path


def check_served(config: RunConfig, workspace: Path, *, now: datetime) -> Checked:
    """Check every window that is due of the model in service; see `check_log`.

    Parameters
    ----------
    config : RunConfig
        Names the model, its payload log (`serving.payload_log.uri`) and, perhaps, the labels
        that came back (`monitor.labels`).
    workspace : Path
        Holds `models`, unless the configuration names another store, and `monitor/NAME`, where
        the files of `check_log` and ``signals.json`` are left.
    now : datetime
        With a time zone.

    Raises
    ------
    BadInput
        If no log is kept, no model is in service, the engine is not of this environment, or
        `check_log` cannot read what it needs.
    """
    log = required_log(config)
    require_open_engine(config)
    store = ModelStore(Path(config.rollout.model_store or workspace / "models"))
    release = store.current(config.name)
    if release is None:
        raise BadInput(config.name, "no version of it is in service", "release one first")
    folder = workspace / "monitor" / config.name
    report = check_log(
        store.bundle_folder(release),
        log,
        out=folder,
        now=now,
        config=config.monitor,
        policy=config.policy,
        python=Path(sys.executable),
        labels=config.monitor.labels,
    )
    write_signals(report, folder, config.monitor)
    return Checked(report, folder)


def write_signals(report: MonitorReport, folder: Path, config: MonitorConfig) -> None:
    """Leave what a trigger should know of the windows up to a report beside its state."""
    lately = _lately(report, read_state(folder / STATE, config), config)
    signals = [signal.model_dump(mode="json") for signal in signals_from(lately, config)]
    write_json(folder / SIGNALS, signals)


def calm_causes(folder: Path, causes: Collection[str], since: str | None) -> tuple[Cause, ...]:
    """Return those of some causes that the latest window of a monitor does not show.

    Parameters
    ----------
    folder : Path
        Where a monitor leaves its state.
    causes : collection of str
        As the trigger counts them.
    since : str, optional
        When the last retrain was asked for (ISO 8601): a window before its end says nothing of it.

    Raises
    ------
    BadInput
        If the state is damaged.
    """
    try:
        state = read_record(folder / STATE, MonitorState)
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError):
        mend = "move it away; windows that the log still holds are then checked anew"
        raise BadInput(str(folder / STATE), "is not the state of a monitor", mend) from None
    latest = [
        check
        for check in state.history
        if check.until == state.done_until
        and check.diagnosis is not None
        and check.bundle_version == state.bundle_version
        and (since is None or _begin(check) >= datetime.fromisoformat(since))
    ]
    if not latest:
        return ()
    seen = {check.diagnosis.kind for check in latest if check.diagnosis is not None}
    return tuple(cause for cause in get_args(Cause) if cause in causes and cause not in seen)


def _begin(check: WindowCheck) -> datetime:
    return datetime.fromisoformat(check.since)


def _lately(
    report: MonitorReport, state: MonitorState | None, config: MonitorConfig
) -> MonitorReport:
    """Return a report on the windows of this version that the longest scale still covers.

    From the state, not this call: a call that was stopped after its windows were done, or one
    that nothing was due for, takes no signal away. A trigger acts on each once.
    """
    if state is None:
        return report
    days = config.scales[-1] * config.window_days
    since = datetime.fromisoformat(state.done_until) - timedelta(days=days)
    checks = tuple(
        check
        for check in state.history
        if check.bundle_version == report.bundle_version
        and datetime.fromisoformat(check.until) > since
    )
    return report.model_copy(update={"checks": checks})


def required_log(config: RunConfig) -> str:
    """Return the payload log's address, or say that none is kept."""
    log = config.serving.payload_log.uri
    if log is None:
        raise BadInput("serving.payload_log.uri", "no payload log is kept", "name its folder")
    return log


def require_open_engine(config: RunConfig) -> None:
    """Refuse what only the drift environment runs, which no image holds beside a bundle's."""
    if config.monitor.engine != "open":
        problem = "Alibi Detect is in no image that can load a bundle"
        raise BadInput("monitor.engine", problem, "write open, or --set monitor.engine=open")


def write_outputs(found: Checked, page: Path, report: Path, signals: Path) -> None:
    """Copy the page, the report and the signals to where a pipeline's artifacts go."""
    for name, path in ((PAGE, page), (REPORT, report), (SIGNALS, signals)):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.folder / name, path)


def report_figures(report: MonitorReport) -> dict[str, float | None]:
    """Return a call's figures under flat names, as the run comparison of the UI lists them.

    Figures of a diagnosis are those of the latest window alone, all segments together.
    """
    figures: dict[str, float | None] = {"checks": len(report.checks)}
    for status in ("tested", "empty", "short", "untestable"):
        figures[status] = sum(check.status == status for check in report.checks)
    told = [check.diagnosis for check in report.checks if check.diagnosis is not None]
    figures["changed"] = sum(diagnosis.kind != "none" for diagnosis in told)
    if report.online is not None:
        figures["online_alarms"] = len(report.online.alarms)
    whole = [c for c in report.checks if c.scale == 1 and c.segment is None]
    if whole:
        figures["rows"] = whole[-1].rows
    latest = whole[-1].diagnosis if whole else None
    if latest is not None and latest.prior is not None:
        figures["prevalence"] = latest.prior.prevalence
        figures["prevalence_low"], figures["prevalence_high"] = latest.prior.interval
    if latest is not None and latest.expected is not None:
        figures["expected_precision"] = latest.expected.precision
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is due; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.monitoring.recurring")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="override a key of the file")
    given = parser.parse_args(arguments)
    try:
        config = load_config(given.config, given.set)
        found = check_served(config, given.workspace, now=datetime.now(UTC))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for check in found.report.checks:
        print(line_of(check))
    print(f"{found.report.says}; wrote {found.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
