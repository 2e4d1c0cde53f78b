"""Evaluation's two pipeline steps: folders in, folders out; the judging is in the pure modules."""

import json
from pathlib import Path

from tidegate.config import PolicyConfig
from tidegate.evaluation.audit import audit_record
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.model_card import model_card
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.report import render_report
from tidegate.records import (
    BaselineModel,
    Candidate,
    EvaluationReport,
    SearchResult,
    Snapshot,
    ValidationReport,
)
from tidegate.store import (
    new_directory,
    read_record,
    read_table,
    write_record,
    write_table,
    write_text,
)


def evaluate_candidate(folder: Path, policy: PolicyConfig, out: Path) -> EvaluationReport:
    """Judge a candidate.

    Parameters
    ----------
    folder : Path
        As `records.Candidate` describes; ``scored/crossfit.parquet`` is read where there is one.
    policy : PolicyConfig
        What the policy team demands.
    out : Path
        Folder to write: ``evaluation.json`` and the candidate's ``scored/`` tables.
    """
    candidate = read_record(folder / "candidate.json", Candidate)
    validation = read_table(folder / "scored" / "validation.parquet")
    crossfit = folder / "scored" / "crossfit.parquet"
    holdout = read_table(folder / "scored" / "holdout.parquet")
    report = evaluate(
        validation,
        holdout,
        baseline=_read_baseline(folder / "baseline", candidate.baseline, policy),
        policy=policy,
        groups=candidate.groups,
        name=candidate.name,
        algorithm=candidate.algorithm,
        prevalence=candidate.prevalence,
        crossfit=read_table(crossfit) if crossfit.is_file() else None,
    )
    with new_directory(out) as target:
        write_table(target / "scored" / "validation.parquet", validation)
        write_table(target / "scored" / "holdout.parquet", holdout)
        write_record(target / "evaluation.json", report)
    return report


def _read_baseline(folder: Path, model: BaselineModel, policy: PolicyConfig) -> Baseline:
    """Read what the baseline scored; the benchmark model gets a threshold by the same rule."""
    threshold = model.threshold
    if model.kind == "benchmark_model":
        validation = read_table(folder / "validation.parquet")
        chosen = choose(rows_of(validation, "baseline validation"), policy).threshold
        threshold = None if chosen is None else chosen.value
    return Baseline(
        name=model.name if model.version is None else f"{model.name} {model.version}",
        kind=model.kind,
        threshold=threshold,
        holdout=read_table(folder / "holdout.parquet"),
        note=model.note,
    )


def write_report(
    *,
    config: str,
    digests: str,
    snapshot: Path,
    validation: Path,
    search: Path,
    evaluation: Path,
    page: Path,
    card: Path,
    audit: Path,
    search_cost: str | None = None,
) -> None:
    """Render ``report.html``, ``model_card.md`` and ``audit.json``.

    Parameters
    ----------
    config, digests : str
        The run's configuration and digests, as JSON objects.
    snapshot, validation, search, evaluation : Path
        Folders that the earlier steps wrote.
    page, card, audit : Path
        Files to write.
    search_cost : str, optional
        What the search cost, in one line.
    """
    report = read_record(evaluation / "evaluation.json", EvaluationReport)
    data = read_record(snapshot / "snapshot.json", Snapshot)
    checks = read_record(validation / "validation.json", ValidationReport)
    settings, lineage = json.loads(config), json.loads(digests)
    page_text = render_report(
        evaluation=report,
        validation_scored=read_table(evaluation / "scored" / "validation.parquet"),
        holdout_scored=read_table(evaluation / "scored" / "holdout.parquet"),
        search=read_record(search / "search.json", SearchResult),
        data_validation=checks,
        snapshot=data,
        config=settings,
        digests=lineage,
        search_cost=search_cost,
    )
    found = audit_record(
        evaluation=report,
        snapshot=data,
        data_validation=checks,
        config=settings,
        digests=lineage,
    )
    write_text(page, page_text)
    write_text(card, model_card(found))
    write_record(audit, found)
