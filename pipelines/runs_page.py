"""Runs side by side as a page: data, model, figures with their bounds, decision, differences."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.run_record import RunRecord
from tidegate.cost import cost_line
from tidegate.evaluation.charts import bounds_by_run
from tidegate.evaluation.page import render_page
from tidegate.records import EvaluationReport
from tidegate.store import read_record

_MOST_COMPARED = 6


def runs_page(runs: Sequence[tuple[Path, RunRecord]], *, beside: Path) -> str:
    """Return one self-contained HTML page about runs, newest first.

    Parameters
    ----------
    runs : sequence of (Path, RunRecord)
        Run directories and their records.
    beside : Path
        Folder that the page will lie in; links to the runs' reports are relative to it.
    """
    newest = sorted(runs, key=lambda pair: pair[1].started_at, reverse=True)
    shown = [_shown(folder, run, beside) for folder, run in newest]
    compared = shown[:_MOST_COMPARED]
    return render_page(
        "runs.html",
        folders=[Path(__file__).parent],
        charts={"bounds": bounds_by_run(_bounds(shown))},
        runs=shown,
        compared=compared,
        differences=config_differences([run["record"].config for run in compared]),
    )


def config_differences(
    configs: Sequence[Mapping[str, object]],
) -> dict[str, tuple[object, ...]]:
    """Return the dotted keys whose values differ; a key that a run does not state is None."""
    flat = [_flat(config) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    rows = {key: tuple(config.get(key) for config in flat) for key in keys}
    return {
        key: row
        for key, row in rows.items()
        if len({repr(value) for value in row if value is not None}) > 1
    }


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    found: dict[str, object] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _shown(folder: Path, run: RunRecord, beside: Path) -> dict[str, Any]:
    report = folder / "report.html"
    return {
        "name": folder.name,
        "record": run,
        "started": run.started_at[:16].replace("T", " "),
        "link": Path(os.path.relpath(report, beside)).as_posix() if report.exists() else None,
        "data": run.digests.get("source", "")[:8],
        "code": run.digests.get("code", "")[:8],
        "outcome": run.decision or run.status,
        "evaluation": _evaluation(folder),
        "cost": None if run.cost is None else cost_line(run.cost),
    }


def _evaluation(folder: Path) -> EvaluationReport | None:
    """Read a run's evaluation; one of another version of Tidegate counts as none."""
    try:
        return read_record(folder / "evaluation.json", EvaluationReport)
    except (OSError, ValidationError):
        return None


def _bounds(shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for run in shown:
        found: EvaluationReport | None = run["evaluation"]
        if found is None or found.precision is None or found.recall_ci is None:
            continue
        sure = found.precision_lower_bound
        low, high = found.recall_ci
        rows += [
            {
                "run": run["name"],
                "figure": "precision",
                "value": found.precision,
                "low": found.precision if sure is None else sure,
                "high": found.precision,
            },
            {
                "run": run["name"],
                "figure": "recall",
                "value": found.recall,
                "low": low,
                "high": high,
            },
        ]
    return rows
