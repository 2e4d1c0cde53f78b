"""A monitor's findings as Prometheus text, for a node exporter's textfile collector or a gateway.

The exposition format is that of prometheus.io/docs/instrumenting/exposition_formats.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import get_args

from tidegate.records import ChangeKind, MonitorReport, WindowCheck

Samples = list[tuple[Mapping[str, str], float]]


def metrics_text(report: MonitorReport, history: Sequence[WindowCheck]) -> str:
    """Return the latest check of every scale and segment, and counts over the remembered ones."""
    latest = {(check.scale, check.segment): check for check in history}
    lines: list[str] = []
    for name, kind, told, samples in _families(report, latest, history):
        if samples:
            lines += [f"# HELP tidegate_{name} {told}", f"# TYPE tidegate_{name} {kind}"]
            lines += [f"tidegate_{name}{_labels(report, k)} {v:.12g}" for k, v in samples]
    return "\n".join(lines) + "\n"


def _families(
    report: MonitorReport,
    latest: Mapping[tuple[int, str | None], WindowCheck],
    history: Sequence[WindowCheck],
) -> Iterator[tuple[str, str, str, Samples]]:
    tested = {key: check for key, check in latest.items() if check.diagnosis is not None}
    kinds: Samples = [
        ({**_key(key), "kind": kind}, float(check.diagnosis.kind == kind))
        for key, check in tested.items()
        if check.diagnosis is not None
        for kind in get_args(ChangeKind)
    ]
    yield "drift_kind", "gauge", "1 for the kind of change of the latest check.", kinds
    p_values: Samples = [
        ({**_key(key), "test": test.name}, test.p_value)
        for key, check in tested.items()
        if check.report is not None
        for test in check.report.tests
    ]
    yield "drift_p_value", "gauge", "Smallest p-value of a family of tests.", p_values
    rows: Samples = [(_key(key), float(check.rows)) for key, check in latest.items()]
    yield "drift_rows", "gauge", "Rows of the latest check.", rows
    shares: Samples = [
        (_key(key), check.diagnosis.prior.prevalence)
        for key, check in tested.items()
        if check.diagnosis is not None and check.diagnosis.prior is not None
    ]
    yield "drift_prevalence", "gauge", "Share of violating posts as scores tell it.", shares
    precision: Samples = [
        (_key(key), check.diagnosis.expected.precision)
        for key, check in tested.items()
        if check.diagnosis is not None
        and check.diagnosis.expected is not None
        and check.diagnosis.expected.precision is not None
    ]
    yield "drift_expected_precision", "gauge", "Precision expected without labels.", precision
    delays = {k: check.label_delay for k, check in latest.items() if check.label_delay is not None}
    medians: Samples = [(_key(key), delay.median_hours) for key, delay in delays.items()]
    yield "drift_label_delay_hours", "gauge", "Median hours from a post to its label.", medians
    moved: Samples = [(_key(key), float(delay.test.drifted)) for key, delay in delays.items()]
    yield "drift_label_delay_moved", "gauge", "1 if labels take another time than before.", moved
    if report.online is not None:
        alarms = Counter(f"{alarm.detector}|{alarm.feature}" for alarm in report.online.alarms)
        online: Samples = [
            (dict(zip(("detector", "feature"), key.split("|", 1), strict=True)), float(n))
            for key, n in sorted(alarms.items())
        ]
        told = "Alarms of online detectors in the rows last read."
        yield "drift_online_alarms", "gauge", told, online or [({}, 0.0)]
        rows_read: Samples = [({}, float(report.online.rows))]
        yield "drift_online_rows", "gauge", "Rows that online detectors last read.", rows_read
    statuses = Counter(check.status for check in history)
    counted: Samples = [({"status": name}, float(n)) for name, n in sorted(statuses.items())]
    yield "drift_checks", "gauge", "Remembered checks by status.", counted
    left: Counter[str] = Counter()
    for check in history:
        if check.scale == 1 and check.segment is None:
            left.update(check.left_out.model_dump())
            if check.reading is not None:
                left["unreadable_files"] += len(check.reading.unreadable)
                left["misplaced_rows"] += check.reading.misplaced_rows
                left["duplicates"] += check.reading.duplicates
    gone: Samples = [({"reason": name}, float(n)) for name, n in sorted(left.items())]
    yield "drift_left_out", "gauge", "What remembered windows could not use.", gone
    if report.done_until is not None:
        at = datetime.fromisoformat(report.done_until).timestamp()
        yield "drift_done_until_seconds", "gauge", "End of the last window done.", [({}, at)]


def _key(key: tuple[int, str | None]) -> dict[str, str]:
    return {"scale": str(key[0]), "segment": key[1] or ""}


def _labels(report: MonitorReport, more: Mapping[str, str]) -> str:
    pairs = {"model": report.model, "version": report.bundle_version, **more}
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
