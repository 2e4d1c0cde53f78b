"""Evaluation's two pipeline steps: folders in, folders out; the judging is in the pure modules."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tidegate.config import PolicyConfig
from tidegate.evaluation.audit import audit_record
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.functional import functional_report
from tidegate.evaluation.golden_set import measure_golden_set
from tidegate.evaluation.history import (
    add_to_history,
    earlier,
    holdout_uses,
    overuse,
    read_history,
    rows_digest,
)
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.model_card import model_card
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.report import render_report
from tidegate.evaluation.served_scores import as_served, cascade_of
from tidegate.evaluation.slices import confident_errors, worst_slices
from tidegate.records import (
    BaselineModel,
    Candidate,
    CascadeReport,
    DecisionRule,
    EvaluationReport,
    FunctionalReport,
    PastEvaluation,
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

_SHOWN_TABLES = frozenset({"validation", "holdout", "golden", "functional"})


def evaluate_candidate(
    folder: Path,
    policy: PolicyConfig,
    out: Path,
    *,
    model_store: Path | None = None,
    run_digest: str = "",
) -> EvaluationReport:
    """Judge a candidate.

    Parameters
    ----------
    folder : Path
        As `records.Candidate` describes; ``scored/crossfit.parquet`` is read where there is one.
    policy : PolicyConfig
        What the policy team demands.
    out : Path
        Folder to write: ``evaluation.json`` and the candidate's ``scored/`` tables.
    model_store : Path, optional
        Folder of released bundles, where the evaluations of every run of a name are kept.
    run_digest : str
        The run under which this evaluation is kept there.
    """
    candidate = read_record(folder / "candidate.json", Candidate)
    validation = read_table(folder / "scored" / "validation.parquet")
    crossfit_path = folder / "scored" / "crossfit.parquet"
    holdout = read_table(folder / "scored" / "holdout.parquet")
    crossfit = read_table(crossfit_path) if crossfit_path.is_file() else None
    agreement_path = folder / "light" / "agreement.parquet"
    agreement = read_table(agreement_path) if agreement_path.is_file() else None
    cascade = cascade_of(validation, holdout, agreement, crossfit, policy)
    validation, holdout = (as_served(table, cascade) for table in (validation, holdout))
    report = evaluate(
        validation,
        holdout,
        baseline=_read_baseline(folder / "baseline", candidate.baseline, policy),
        policy=policy,
        groups=candidate.groups,
        name=candidate.name,
        algorithm=candidate.algorithm,
        prevalence=candidate.prevalence,
        crossfit=crossfit,
    )
    report = report.model_copy(
        update={
            "worst_slices": worst_slices(
                holdout, groups=candidate.groups, threshold=report.threshold, policy=policy
            ),
            "confident_errors": confident_errors(holdout, report.threshold),
            "functional": _functional(folder, cascade, report, policy),
            "cascade": cascade,
        }
    )
    kept = None if model_store is None else model_store / candidate.name
    past = () if kept is None else earlier(read_history(kept), run_digest)
    report = _with_golden_set(report, candidate.baseline.rule, folder, policy, past)
    holdout_digest = rows_digest(holdout)
    if kept is not None:
        report = _with_uses(report, holdout_uses(past, holdout_digest), policy)
    with new_directory(out) as target:
        for table in sorted((folder / "scored").glob("*.parquet")):
            if table.stem in _SHOWN_TABLES:
                scored = as_served(read_table(table), cascade)
                write_table(target / "scored" / table.name, scored)
        write_record(target / "evaluation.json", report)
    if kept is not None:
        add_to_history(kept, _entry(report, run_digest, holdout_digest))
    return report


def _with_golden_set(
    report: EvaluationReport,
    rule: DecisionRule,
    folder: Path,
    policy: PolicyConfig,
    past: Sequence[PastEvaluation],
) -> EvaluationReport:
    path = folder / "scored" / "golden.parquet"
    if not path.is_file():
        return report
    beside = Baseline(
        name=report.baseline.name,
        kind=report.baseline.kind,
        threshold=report.baseline.threshold,
        holdout=read_table(folder / "baseline" / "golden.parquet"),
        note=report.baseline.note,
        rule=rule,
    )
    found = measure_golden_set(
        as_served(read_table(path), report.cascade),
        report.threshold,
        beside,
        policy=policy,
        history=past,
    )
    return report.model_copy(update={"golden_set": found})


def _functional(
    folder: Path, cascade: CascadeReport | None, report: EvaluationReport, policy: PolicyConfig
) -> FunctionalReport | None:
    path = folder / "scored" / "functional.parquet"
    if not path.is_file():
        return None
    scored = as_served(read_table(path), cascade)
    return functional_report(scored, report.threshold, confidence=policy.confidence)


def _with_uses(report: EvaluationReport, uses: int, policy: PolicyConfig) -> EvaluationReport:
    worn = overuse(uses, policy.max_holdout_uses)
    reasons = report.reasons if worn is None else (*report.reasons, worn)
    return report.model_copy(update={"holdout_uses": uses, "reasons": reasons})


def _entry(report: EvaluationReport, run_digest: str, holdout_digest: str) -> PastEvaluation:
    return PastEvaluation(
        run_digest=run_digest,
        evaluated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        algorithm=report.algorithm,
        holdout_digest=holdout_digest,
        decision=report.decision,
        average_precision=report.average_precision,
        golden=report.golden_set.figures if report.golden_set else None,
    )


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
        rule=model.rule,
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
