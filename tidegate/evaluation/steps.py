"""Evaluation's two pipeline steps: folders in, folders out; the judging is in the pure modules."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from tidegate.evaluation.mitigations import mitigation_report, preferred, untreated_report
from tidegate.evaluation.model_card import model_card
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.report import render_report
from tidegate.evaluation.served_rule import cuts_as_served, served_cuts, served_rule
from tidegate.evaluation.served_scores import as_served, cascade_of
from tidegate.evaluation.slices import confident_errors, worst_slices
from tidegate.records import (
    ID,
    BaselineModel,
    Candidate,
    DecisionRule,
    EvaluationReport,
    FeatureSet,
    FunctionalReport,
    PastEvaluation,
    SearchResult,
    Snapshot,
    TreatedModel,
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

_MITIGATED = "mitigated"
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
        As `records.Candidate` describes; ``scored/crossfit.parquet`` is read where there is one,
        and ``mitigated/NAME/scored/`` where the candidate fails the fairness audit.
    policy : PolicyConfig
        What the policy team demands.
    out : Path
        Folder to write: ``evaluation.json`` and the ``scored/`` tables of the model it is about.
    model_store : Path, optional
        Folder of released bundles, where the evaluations of every run of a name are kept.
    run_digest : str
        The run under which this evaluation is kept there.
    """
    candidate = read_record(folder / "candidate.json", Candidate)
    baseline = _read_baseline(folder / "baseline", candidate.baseline, policy)
    report = _judged(folder, candidate, baseline, policy)
    chosen = folder
    if report.fairness.verdict == "fail":
        report, chosen = _with_mitigations(report, folder, candidate, baseline, policy)
    holdout = as_served(
        read_table(chosen / "scored" / "holdout.parquet", categories=candidate.groups),
        report.cascade,
    )
    cuts = served_cuts(report.threshold, report.segments, holdout, policy)
    report = report.model_copy(
        update={
            "worst_slices": worst_slices(
                holdout, groups=candidate.groups, threshold=cuts, policy=policy
            ),
            "confident_errors": confident_errors(holdout, cuts),
            "functional": _functional(chosen, report, policy),
        }
    )
    kept = None if model_store is None else model_store / candidate.name
    past = () if kept is None else earlier(read_history(kept), run_digest)
    report = _with_golden_set(report, candidate.baseline.rule, (folder, chosen), policy, past)
    holdout_digest = rows_digest(holdout)
    if kept is not None:
        report = _with_uses(report, holdout_uses(past, holdout_digest), policy)
    with new_directory(out) as target:
        for table in sorted((chosen / "scored").glob("*.parquet")):
            if table.stem in _SHOWN_TABLES:
                scored = as_served(read_table(table), report.cascade)
                write_table(target / "scored" / table.name, scored)
        write_record(target / "evaluation.json", report)
    if kept is not None:
        add_to_history(kept, _entry(report, run_digest, holdout_digest))
    return report


def model_folder(folder: Path, report: EvaluationReport) -> Path:
    """Return where a candidate's folder holds the model that a report is about."""
    return folder if report.mitigation is None else folder / _MITIGATED / report.mitigation


def _judged(
    folder: Path, candidate: Candidate, baseline: Baseline, policy: PolicyConfig
) -> EvaluationReport:
    validation, holdout = (
        read_table(folder / "scored" / f"{split}.parquet", categories=candidate.groups)
        for split in ("validation", "holdout")
    )
    crossfit = _read_if_there(folder / "scored" / "crossfit.parquet")
    agreement = _read_if_there(folder / "light" / "agreement.parquet")
    cascade = cascade_of(validation, holdout, agreement, crossfit, policy)
    report = evaluate(
        as_served(validation, cascade),
        as_served(holdout, cascade),
        baseline=baseline,
        policy=policy,
        groups=candidate.groups,
        name=candidate.name,
        algorithm=candidate.algorithm,
        prevalence=candidate.prevalence,
        crossfit=crossfit,
    )
    return report.model_copy(update={"cascade": cascade})


def _read_if_there(path: Path) -> Any:
    return read_table(path) if path.is_file() else None


def _with_mitigations(
    report: EvaluationReport,
    folder: Path,
    candidate: Candidate,
    baseline: Baseline,
    policy: PolicyConfig,
) -> tuple[EvaluationReport, Path]:
    """Judge the mitigated models; return the report to go by, and the folder it is about."""
    untreated = Baseline(
        name="untreated",
        kind="configured",
        threshold=report.threshold,
        holdout=as_served(read_table(folder / "scored" / "holdout.parquet"), report.cascade),
        rule=served_rule(report, policy),
    )
    found: dict[str, EvaluationReport] = {}
    shown = []
    for path in sorted((folder / _MITIGATED).glob("*/treated.json")):
        treated = read_record(path, TreatedModel)
        own = candidate.model_copy(update={"algorithm": treated.algorithm})
        judged = found[treated.name] = _judged(path.parent, own, baseline, policy)
        table = as_served(read_table(path.parent / "scored" / "holdout.parquet"), judged.cascade)
        shown.append(mitigation_report(treated, judged, table, untreated, policy))
    if not shown:
        return report, folder
    report = report.model_copy(
        update={"mitigations": tuple(shown), "untreated": untreated_report(report)}
    )
    best = preferred(report, policy)
    if best is None:
        return report, folder
    told = (
        f"The untreated model fails the fairness audit; this one, trained with {best} "
        "(policy.mitigate), passes and stands in its place (policy.mitigation_wins)."
    )
    instead = found[best].model_copy(
        update={
            "mitigations": report.mitigations,
            "untreated": report.untreated,
            "mitigation": best,
            "reasons": (*found[best].reasons, told),
        }
    )
    return instead, folder / _MITIGATED / best


def _with_golden_set(
    report: EvaluationReport,
    rule: DecisionRule,
    folders: tuple[Path, Path],
    policy: PolicyConfig,
    past: Sequence[PastEvaluation],
) -> EvaluationReport:
    folder, chosen = folders
    path = chosen / "scored" / "golden.parquet"
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
    golden = as_served(read_table(path), report.cascade)
    found = measure_golden_set(
        golden,
        cuts_as_served(report, golden, policy),
        beside,
        policy=policy,
        history=past,
    )
    return report.model_copy(update={"golden_set": found})


def _functional(
    folder: Path, report: EvaluationReport, policy: PolicyConfig
) -> FunctionalReport | None:
    path = folder / "scored" / "functional.parquet"
    if not path.is_file():
        return None
    scored = as_served(read_table(path), report.cascade)
    cuts = cuts_as_served(report, scored, policy)
    return functional_report(scored, cuts, confidence=policy.confidence)


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
    features: Path | None = None,
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
    features : Path, optional
        Folder of the feature set, for what cleaning changed.
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
        cleaning=None
        if features is None
        else read_record(features / "features.json", FeatureSet).cleaning,
        texts=_error_texts(snapshot, data, report) if _texts_allowed(settings) else None,
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


def _texts_allowed(config: Mapping[str, Any]) -> bool:
    return bool((config.get("report") or {}).get("texts", False))


def _error_texts(folder: Path, snapshot: Snapshot, report: EvaluationReport) -> dict[str, str]:
    """Read the texts of the most confident errors; only where the configuration allows it."""
    columns = [column.name for column in snapshot.columns if column.kind == "text"]
    wanted = {error.id for error in report.confident_errors}
    if not columns or not wanted:
        return {}
    rows = read_table(folder / "holdout.parquet", columns=[ID, *columns])
    own = rows[rows[ID].astype(str).isin(wanted)]
    joined = own[columns].astype(str).agg("\n".join, axis=1)
    return dict(zip(own[ID].astype(str), joined, strict=True))
