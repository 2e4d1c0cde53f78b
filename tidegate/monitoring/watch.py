"""The monitor over a payload log: every window once, whatever stops it in between.

What it writes is whole at all times, and the state last: a monitor that is stopped checks its
window again, with the same result.
"""

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.config import MonitorConfig, PolicyConfig
from tidegate.errors import BadInput
from tidegate.monitoring.check import compare_tables
from tidegate.monitoring.detection import check_level
from tidegate.monitoring.diagnosis import diagnose, estimate_mix, signals_of
from tidegate.monitoring.label_delay import check_label_delay, read_arrivals
from tidegate.monitoring.log_stream import read_stream
from tidegate.monitoring.metrics import metrics_text
from tidegate.monitoring.online_state import read_online_state
from tidegate.monitoring.page import monitor_page
from tidegate.monitoring.reference import matching_rows
from tidegate.monitoring.renewal import renewal_signal
from tidegate.monitoring.schedule import due_windows, read_state
from tidegate.monitoring.served_window import Served, labelled_rows, read_labels, read_served
from tidegate.monitoring.window import read_comparable
from tidegate.records import (
    CATEGORY_PREFIX,
    SCORE,
    LabelDelay,
    LeftOut,
    MonitorReport,
    MonitorState,
    Signal,
    WindowCheck,
)
from tidegate.store import write_record, write_table, write_text

REPORT, PAGE, METRICS, STATE = "drift.json", "drift.html", "drift.prom", "state.json"
ONLINE = "online.json"
_REMEMBERED = 800


class _Labelled(NamedTuple):
    """Labelled rows of late, and the share of false alarms that they may raise."""

    rows: Any
    error: float | None
    left_out: LeftOut


def check_log(
    bundle_folder: Path,
    log_uri: str,
    *,
    out: Path,
    now: datetime,
    config: MonitorConfig,
    policy: PolicyConfig,
    python: Path,
    labels: str | None = None,
) -> MonitorReport:
    """Check every window of a log that is complete and not done yet.

    Parameters
    ----------
    bundle_folder : Path
        Bundle that serves; rows of other versions are counted and left out.
    log_uri : str
        The payload log.
    out : Path
        Folder of ``state.json``, ``drift.json``, ``drift.html`` and ``drift.prom``.
    now : datetime
        With a time zone.
    config, policy
        How windows are tested, and what is promised.
    python : Path
        Interpreter of the drift environment.
    labels : str, optional
        Table of the labels that came back so far.

    Raises
    ------
    BadInput
        If the bundle, its reference, the log, the labels or the state cannot be read. Nothing is
        done then, and no window is lost.
    """
    from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle

    reference = bundle_folder / DRIFT_REFERENCE
    bundle = load_bundle(bundle_folder)
    if not reference.is_file():
        raise BadInput(str(bundle_folder), "has no drift reference", "build the bundle again")
    state = read_state(out / STATE, config)
    due = due_windows(log_uri, state, now.astimezone(UTC), config)
    known = None if labels is None else read_labels(labels)
    arrivals = None if labels is None else read_arrivals(labels)
    monitor = _Monitor(bundle, reference, log_uri, config, policy, python, arrivals)
    checks: list[WindowCheck] = []
    for end in due.ends:
        assert due.begun_at is not None
        checks += monitor.checks(end, due.begun_at, known)
    stream = read_stream(
        bundle,
        reference,
        log_uri,
        read_online_state(out / ONLINE),
        due.begun_at if state is None else datetime.fromisoformat(state.done_until),
        now=now,
        config=config,
        python=python,
    )
    done = due.ends[-1].isoformat() if due.ends else None if state is None else state.done_until
    version = bundle.manifest.version
    history = (*(() if state is None else state.history), *checks)[-_REMEMBERED:]
    report = MonitorReport(
        model=bundle.manifest.name,
        bundle_version=version,
        checked_at=now.astimezone(UTC).isoformat(timespec="seconds"),
        done_until=done,
        says=due.says,
        checks=tuple(checks),
        online=None if stream is None else stream.reading,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_record(out / REPORT, report)
    write_text(out / PAGE, monitor_page(report, history, policy))
    write_text(out / METRICS, metrics_text(report, history))
    if stream is not None and stream.state is not None:
        write_record(out / ONLINE, stream.state)
    if done is not None and due.begun_at is not None:
        remembered = MonitorState(
            bundle_version=version,
            window_days=config.window_days,
            begun_at=due.begun_at.isoformat(),
            done_until=done,
            history=history,
        )
        write_record(out / STATE, remembered)
    return report


def signals_from(report: MonitorReport, config: MonitorConfig) -> tuple[Signal, ...]:
    """Return what a trigger should know of a monitor's checks, those of segments first.

    The evidence says of which version, and of which segment alone, how far the share of violating
    posts has moved, and the threshold for the next window. A trigger takes the last of several for
    the same window and cause. That a threshold is stale is said of the latest window alone.
    """
    found = [
        (check, signal)
        for check in sorted(report.checks, key=lambda check: check.segment is None)
        if check.diagnosis is not None
        for signal in signals_of(check.diagnosis, model=report.model, window=check.until)
    ]
    whole = [
        check for check in report.checks if (check.segment, check.scale) == (None, config.scales[0])
    ]
    if whole:
        latest = max(whole, key=lambda check: datetime.fromisoformat(check.until))
        renewal = renewal_signal(latest, changed=config.trigger.renew_threshold)
        found += [] if renewal is None else [(latest, renewal)]
    return tuple(
        signal.model_copy(update={"evidence": {**signal.evidence, **_evidence(check)}})
        for check, signal in found
    )


def _evidence(check: WindowCheck) -> dict[str, Any]:
    evidence: dict[str, Any] = {"bundle_version": check.bundle_version}
    if check.segment is not None:
        evidence["segment"] = check.segment
    for name in ("prior", "next_window"):
        found = getattr(check.diagnosis, name, None)
        if found is not None:
            evidence[name] = found.model_dump(mode="json")
    return evidence


class _Monitor:
    """A bundle, its log and how they are compared."""

    def __init__(
        self,
        bundle: Any,
        reference: Path,
        log_uri: str,
        config: MonitorConfig,
        policy: PolicyConfig,
        python: Path,
        arrivals: Any,
    ) -> None:
        self._bundle, self._reference, self._log = bundle, reference, log_uri
        self._config, self._policy, self._python = config, policy, python
        self._arrivals = arrivals

    def checks(
        self, end: datetime, begun_at: datetime, labels: tuple[Any, LeftOut] | None
    ) -> Iterator[WindowCheck]:
        """Check the latest windows of every scale that the log is old enough for."""
        config = self._config
        length = timedelta(days=config.window_days)
        labelled = self._labelled(end, labels)
        for scale in config.scales:
            if scale > 1 and end - scale * length < begun_at:
                continue
            served = self._served(end - scale * length, end)
            level = check_level(config)
            if labels is not None:
                level /= 2  # the labelled rows have the other half
            segments = self._segments()
            if segments:
                level /= 2  # and the segments half of what is left
            whole = (end - scale * length, end, scale)
            check = self._check(whole, served, labelled, level, None)
            if scale == config.scales[0]:
                delay = self._label_delay(whole[:2], begun_at)
                check = check.model_copy(update={"label_delay": delay})
            yield check
            for segment in segments:
                rows = served.frame[served.frame[config.segment].astype(str) == segment]
                part = served._replace(frame=rows)
                yield self._check(whole, part, None, level / len(segments), segment)

    def _label_delay(
        self, window: tuple[datetime, datetime], begun_at: datetime
    ) -> LabelDelay | None:
        if self._arrivals is None:
            return None
        return check_label_delay(
            self._log,
            self._arrivals,
            window,
            begun_at=begun_at,
            level=check_level(self._config) * len(self._config.scales) / 4,
            config=self._config,
            bundle_version=self._bundle.manifest.version,
            python=self._python,
        )

    def _served(self, since: datetime, until: datetime, *, inputs: bool = True) -> Served:
        return read_served(
            self._log,
            since,
            until,
            columns=self._bundle.manifest.inputs if inputs else (),
            versions=self._bundle.manifest.same_scores,
            late_hours=self._config.late_hours,
            max_rows=self._config.watched_rows,
            seed=self._config.seed,
        )

    def _labelled(self, end: datetime, labels: tuple[Any, LeftOut] | None) -> _Labelled | None:
        if labels is None:
            return None
        known, left_out = labels
        recent = self._served(end - timedelta(days=self._config.label_days), end, inputs=False)
        rows, unknown = labelled_rows(recent.frame, known)
        error = check_level(self._config) * len(self._config.scales) / 2
        if self._arrivals is not None:
            error /= 2  # how long labels take has the other half
        return _Labelled(rows, error, left_out.model_copy(update={"unknown_labels": unknown}))

    def _segments(self) -> Sequence[str]:
        """Return the segments with enough reference rows."""
        from tidegate.store import read_table

        if self._config.segment is None:
            return ()
        name = f"{CATEGORY_PREFIX}{self._config.segment}"
        try:
            counts = read_table(self._reference, [name])[name].value_counts()
        except (KeyError, ValueError):
            mend = "name a categorical input of the bundle"
            raise BadInput("monitor.segment", f"{self._config.segment} is none", mend) from None
        return sorted(str(value) for value in counts.index[counts >= self._config.min_rows])

    def _check(
        self,
        window: tuple[datetime, datetime, int],
        served: Served,
        labelled: _Labelled | None,
        level: float,
        segment: str | None,
    ) -> WindowCheck:
        left = served.left_out
        if labelled is not None:
            counted = labelled.left_out.model_dump()
            left = left.model_copy(
                update={k: v for k, v in counted.items() if k.endswith("labels")}
            )
        found: dict[str, Any] = {
            "model": self._bundle.manifest.name,
            "bundle_version": self._bundle.manifest.version,
            "since": window[0].isoformat(),
            "until": window[1].isoformat(),
            "scale": window[2],
            "segment": segment,
            "rows": len(served.frame),
            "reading": served.reading,
            "left_out": left,
        }
        refused = _refused(served, self._config, segment)
        if refused is not None:
            return WindowCheck(**found, status=refused[0], says=refused[1])
        try:
            return WindowCheck(
                **found, status="tested", **self._tested(served, labelled, level, segment)
            )
        except BadInput as error:
            # A window that cannot be read is told of, and does not stop those after it.
            return WindowCheck(**found, status="untestable", says=str(error))

    def _tested(
        self, served: Served, labelled: _Labelled | None, level: float, segment: str | None
    ) -> dict[str, Any]:
        from tidegate.models.watched import watched_table

        config = self._config
        frame = served.frame.reset_index(drop=True)
        watched = watched_table(
            self._bundle.featurizer, self._bundle.manifest.inputs, frame, frame[SCORE].to_numpy()
        )
        with tempfile.TemporaryDirectory(prefix="tidegate-watch-") as scratch:
            path = Path(scratch) / "window.parquet"
            write_table(path, watched)
            before, after = read_comparable(self._reference, path, min_rows=config.min_rows)
        after.index = served.frame.index
        if segment is not None:
            before = before[before[f"{CATEGORY_PREFIX}{config.segment}"].astype(str) == segment]
            before = before.reset_index(drop=True)
        says = f"all {len(before):,} reference rows"
        if config.seasonal:
            before, says = matching_rows(
                before, served.frame["time"], min_rows=config.min_rows, seed=config.seed
            )
        report = compare_tables(
            before,
            after.reset_index(drop=True),
            bundle_version=self._bundle.manifest.version,
            config=config,
            python=self._python,
            level=level,
        )
        diagnosis = diagnose(
            before,
            after,
            report,
            None if labelled is None else labelled.rows,
            estimate_mix(before, after, policy=self._policy, config=config),
            policy=self._policy,
            config=config,
            threshold=self._bundle.manifest.threshold,
            label_error=None if labelled is None else labelled.error,
        )
        return {"says": diagnosis.says, "norm": says, "report": report, "diagnosis": diagnosis}


def _refused(served: Served, config: MonitorConfig, segment: str | None) -> tuple[str, str] | None:
    """Say why a window is not tested; None if it can be."""
    rows, left = len(served.frame), served.left_out
    if served.reading.absent_columns:
        absent = ", ".join(served.reading.absent_columns[:5])
        return "untestable", f"the log of this window has no column {absent}"
    if rows >= config.min_rows:
        return None
    if segment is None and served.reading.rows == 0:
        unreadable = len(served.reading.unreadable)
        if unreadable:
            return "untestable", f"{unreadable} files of this window cannot be read, and no other"
        if served.reading.misplaced_rows:
            rows = served.reading.misplaced_rows
            return "untestable", f"all {rows:,} rows are too far from the hour they were logged in"
        return "empty", "no rows were served"
    if rows == 0 and left.other_version_rows and segment is None:
        return "untestable", f"all {left.other_version_rows:,} rows are of another version"
    return "short", f"{rows} usable rows, a check needs {config.min_rows}"
