"""Why a candidate is bad: what it was judged by, and all that changed since the baseline."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tidegate import store
from tidegate.records import (
    BundleManifest,
    EvaluationReport,
    Finding,
    Record,
    ReleaseState,
    StepAnalysis,
    WorstSlice,
)

Part = Literal["data", "features", "hyperparameters", "decision rule", "configuration", "libraries"]
PARTS: tuple[Part, ...] = (
    "data",
    "features",
    "hyperparameters",
    "decision rule",
    "configuration",
    "libraries",
)
_MOST_GROUPS = 20
# A run directory or a released bundle; both hold what is compared.
_FILES = {"run": "run.json", "evaluation": "evaluation.json"}


@dataclass(frozen=True)
class Made:
    """How one version was made; what is not known is empty or None.

    Parameters
    ----------
    config, digests, versions : mapping
        Of its run: the configuration, digests of data and code, versions of the software.
    """

    manifest: BundleManifest
    config: Mapping[str, Any] | None = None
    digests: Mapping[str, Any] | None = None
    versions: Mapping[str, Any] | None = None
    evaluation: EvaluationReport | None = None


class Change(Record):
    """One thing that differs; None is that a version does not have it."""

    part: Part
    key: str
    baseline: str | None
    candidate: str | None


class GroupFigures(Record):
    """One group on the holdouts of both versions, where each was evaluated; None is not known."""

    column: str
    group: str
    rows: int
    precision: float | None
    baseline_precision: float | None
    recall: float | None
    baseline_recall: float | None
    fpr: float | None
    baseline_fpr: float | None


class RootCause(Record):
    """``root_cause.json``: everything that a person needs to find out why.

    `findings` are those at fault, worst first. `changed` and `unchanged` name the parts that were
    compared; a part in neither is not known of one of the versions.
    """

    release: str
    baseline: str
    candidate: str
    percent: int
    reason: str
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    changed: tuple[Part, ...]
    unchanged: tuple[Part, ...]
    groups: tuple[GroupFigures, ...] = ()
    worst_slices: tuple[WorstSlice, ...] = ()


def root_cause(
    state: ReleaseState, analysis: StepAnalysis | None, candidate: Made, baseline: Made
) -> RootCause:
    """Put the findings beside what changed between the two versions.

    Parameters
    ----------
    analysis : StepAnalysis, optional
        The one that ended the release; None where a person did.
    """
    known = _known_parts(candidate, baseline)
    changes = tuple(
        change
        for part in PARTS
        if part in known
        for change in _differences(part, _facts(candidate, part), _facts(baseline, part))
    )
    changed = tuple(part for part in PARTS if any(change.part == part for change in changes))
    found = () if analysis is None else analysis.findings
    at_fault = [f for f in found if f.verdict == "rollback"] + [
        f for f in found if f.verdict == "pause"
    ]
    return RootCause(
        release=state.name,
        baseline=state.baseline,
        candidate=state.candidate,
        percent=state.percent,
        reason=state.reason,
        findings=tuple(at_fault),
        changes=changes,
        changed=changed,
        unchanged=tuple(part for part in PARTS if part in known and part not in changed),
        groups=_groups(candidate.evaluation, baseline.evaluation),
        worst_slices=() if candidate.evaluation is None else candidate.evaluation.worst_slices,
    )


def read_made(bundle: Path, run: Path | None = None) -> Made:
    """Read how a version was made.

    Parameters
    ----------
    bundle : Path
        Its bundle folder.
    run : Path, optional
        Its run directory, where that is kept: ``run.json`` and ``evaluation.json``.
    """
    manifest = store.read_record(bundle / "bundle.json", BundleManifest)
    if run is None:
        return Made(manifest)
    record: dict[str, Any] = {}
    evaluation = None
    if (run / _FILES["run"]).is_file():
        record = store.read_json(run / _FILES["run"])
    if (run / _FILES["evaluation"]).is_file():
        try:
            evaluation = store.read_record(run / _FILES["evaluation"], EvaluationReport)
        except ValidationError:
            evaluation = None  # another release of Tidegate wrote it: its figures are not known
    return Made(
        manifest,
        config=record.get("config"),
        digests=record.get("digests"),
        versions=record.get("versions"),
        evaluation=evaluation,
    )


def keep_made(run: Path, folder: Path) -> None:
    """Keep what `read_made` reads of a run directory, so far as it is there."""
    for name in _FILES.values():
        if (run / name).is_file():
            store.write_text(folder / name, (run / name).read_text(encoding="utf-8"))


def write_root_cause(folder: Path, cause: RootCause) -> Path:
    """Write ``root_cause.json`` and ``root_cause.html``; return the page."""
    from tidegate.evaluation.page import render_page

    store.write_record(folder / "root_cause.json", cause)
    page = folder / "root_cause.html"
    shown: dict[str, Any] = {"c": cause, "parts": PARTS, "figure": _figure}
    store.write_text(page, render_page("root_cause.html", charts={}, **shown))
    return page


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _known_parts(candidate: Made, baseline: Made) -> set[Part]:
    known: set[Part] = {"data", "hyperparameters", "decision rule", "libraries"}
    if candidate.config is not None and baseline.config is not None:
        known |= {"features", "configuration"}
    return known


def _facts(made: Made, part: Part) -> dict[str, object]:
    """Return what is compared of one part, by dotted key."""
    manifest, config = made.manifest, dict(made.config or {})
    if part == "data":
        columns = {column.name: column.kind for column in manifest.inputs}
        given = _flat(config.get("data", {}), "data.")
        digests = {f"digest.{key}": value for key, value in (made.digests or {}).items()}
        return {
            "snapshot": manifest.snapshot_digest,
            **_flat(columns, "input."),
            **given,
            **digests,
        }
    if part == "features":
        return _flat(config.get("features", {}), "features.")
    if part == "hyperparameters":
        return {"algorithm": manifest.algorithm, **_flat(dict(manifest.params))}
    if part == "decision rule":
        rule = manifest.rule.model_dump(mode="json", exclude={"calibration", "scale"})
        return {"threshold": manifest.threshold, **_flat(rule)}
    if part == "configuration":
        rest = {key: value for key, value in config.items() if key not in ("data", "features")}
        return _flat(rest)
    return {**_flat(dict(manifest.libraries)), **_flat(dict(made.versions or {}), "run.")}


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, Mapping):
        return {prefix.rstrip("."): value}
    found: dict[str, object] = {}
    for key, inner in value.items():
        deeper = isinstance(inner, Mapping) and inner
        found |= _flat(inner, f"{prefix}{key}.") if deeper else {f"{prefix}{key}": inner}
    return found


def _differences(
    part: Part, candidate: Mapping[str, object], baseline: Mapping[str, object]
) -> Iterator[Change]:
    for key in sorted({*candidate, *baseline}):
        mine, theirs = _told(candidate, key), _told(baseline, key)
        if mine != theirs:
            yield Change(part=part, key=key, baseline=theirs, candidate=mine)


def _told(facts: Mapping[str, object], key: str) -> str | None:
    if key not in facts:
        return None
    value = facts[key]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _groups(
    candidate: EvaluationReport | None, baseline: EvaluationReport | None
) -> tuple[GroupFigures, ...]:
    """Return the groups that lost most precision or recall first."""
    if candidate is None:
        return ()
    before = {} if baseline is None else {(g.column, g.group): g for g in baseline.groups}
    found = []
    for g in candidate.groups:
        b = before.get((g.column, g.group))
        figures = GroupFigures(
            column=g.column,
            group=g.group,
            rows=g.n,
            precision=g.precision,
            baseline_precision=b and b.precision,
            recall=g.recall,
            baseline_recall=b and b.recall,
            fpr=g.fpr,
            baseline_fpr=b and b.fpr,
        )
        found.append(figures)
    return tuple(sorted(found, key=_loss, reverse=True)[:_MOST_GROUPS])


def _loss(figures: GroupFigures) -> float:
    pairs = (
        (figures.baseline_precision, figures.precision),
        (figures.baseline_recall, figures.recall),
        (figures.fpr, figures.baseline_fpr),
    )
    return max((a - b for a, b in pairs if a is not None and b is not None), default=-1.0)
