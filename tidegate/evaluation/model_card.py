"""The model card: what the candidate is for, what it does, and where it must not be trusted."""

from collections.abc import Sequence

from tidegate.evaluation.decision import percent, points, span
from tidegate.records import AuditRecord, GroupMetrics, Metric

_NAMES = {
    "average_precision": "Average precision",
    "roc_auc": "ROC-AUC",
    "log_loss": "Log-loss",
    "brier_score": "Brier score",
    "precision": "Precision at the threshold",
    "recall": "Recall at the threshold",
    "false_negative_rate": "Violating posts missed",
    "calibration_error": "Calibration error",
    "macro_f1": "Macro-F1",
    "roc_auc_ovo": "ROC-AUC over pairs of classes",
}
_SHARES = {"precision", "recall", "false_negative_rate", "calibration_error"}


def model_card(audit: AuditRecord) -> str:
    """Return the card in Markdown; the same facts as ``audit.json``, for reading.

    References
    ----------
    Mitchell et al., "Model cards for model reporting", FAT* 2019.
    """
    parts = [
        f"# Model card: {audit.name}",
        f"A {audit.algorithm} classifier that scores how likely a post violates the policy. "
        f"Decision: **{audit.decision.replace('_', ' ')}**.",
        _list(audit.reasons),
        "## Intended use",
        audit.intended_use,
        "Not for:",
        _list(audit.uses_ruled_out),
        "## Data",
        _data(audit),
        "## Labels",
        _labels(audit),
        "## Performance on the holdout",
        _performance(audit),
        "## Candidate and baseline",
        _baseline(audit),
        "## Groups",
        _groups(audit),
        "## Where it is wrong",
        _errors(audit),
        "## Functional tests",
        _functional(audit),
        "## Golden set",
        _golden(audit),
        "## Limits",
        _list(audit.limits),
        "## Approval",
        _approval(audit),
        "## Lineage",
        _table(("What", "SHA-256 or name"), [(k, f"`{v}`") for k, v in audit.lineage.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _data(audit: AuditRecord) -> str:
    rows = [
        (
            name,
            f"{split.rows:,}",
            f"{split.violating:,}",
            percent(split.prevalence),
            f"{split.time_start} to {split.time_end}" if split.time_start else "–",
        )
        for name, split in audit.splits.items()
    ]
    table = _table(("Split", "Rows", "Violating", "Prevalence", "Time"), rows)
    inputs = ", ".join(f"{column.name} ({column.kind})" for column in audit.inputs)
    broken = len(audit.data_gate_failures)
    gate = "passed" if audit.data_gate_passed else "failed"
    return f"{table}\n\nInputs: {_cell(inputs)}. Data gate: {gate}" + (
        f", {broken} expectation{'s' if broken > 1 else ''} broken." if broken else "."
    )


def _labels(audit: AuditRecord) -> str:
    labels = audit.labels
    what = ", ".join(f"{value} ({count:,})" for value, count in labels.values.items())
    told = [f"Values of the label: {_cell(what)}; violating: {_cell(', '.join(labels.violating))}."]
    if labels.weights:
        trust = ", ".join(f"{name} {weight:g}" for name, weight in labels.weights.items())
        told.append(f"Sources and their weights: {_cell(trust)}.")
    else:
        told.append("Every label counts alike; no source of labels was told apart.")
    return " ".join(told)


def _performance(audit: AuditRecord) -> str:
    count = f"{audit.rows:,} rows, {audit.violating:,} violating. Promised: {audit.promise}."
    if audit.holdout_uses is not None:
        count += f" Decisions that these rows have served: {audit.holdout_uses}."
    sure = f"{percent(audit.confidence)} confidence"
    rows = [_metric(metric) for metric in audit.metrics]
    figures = _table(("Figure", "Value", f"Interval ({sure})"), rows)
    served = [*_segments(audit), *_class_thresholds(audit), *_cascade(audit)]
    return "\n\n".join([count, figures, *_classes(audit), *served])


def _segments(audit: AuditRecord) -> list[str]:
    if not audit.segments:
        return []
    rows = [
        (of.segment, f"{of.threshold.value:.6f}", percent(of.threshold.precision_lower_bound))
        if of.threshold
        else (of.segment, "none: nothing is acted on", "–")
        for of in audit.segments
    ]
    return [_table(("Segment", "Served threshold", "Precision on validation, at least"), rows)]


def _class_thresholds(audit: AuditRecord) -> list[str]:
    if not audit.class_thresholds:
        return []
    rows = []
    for of in audit.class_thresholds:
        served = "none" if of.threshold is None else f"{of.threshold.value:.6f}"
        if of.refuted:
            served = "none: its promise is broken on the holdout"
        seen = "–" if of.precision is None else percent(of.precision)
        found = "–" if of.recall is None else percent(of.recall)
        if of.precision_lower_bound is not None:
            seen += f" (at least {percent(of.precision_lower_bound)})"
        if of.recall_ci is not None:
            found += f" ({span(of.recall_ci)})"
        rows.append((of.name, served, seen, found))
    return [_table(("Class", "Served threshold", "Precision", "Recall"), rows)]


def _cascade(audit: AuditRecord) -> list[str]:
    found = audit.cascade
    if found is None or found.pass_through is None:
        return []
    saved = "" if found.share_saved is None else f"{percent(found.share_saved)} of posts stop there"
    if found.share_saved_ci is not None:
        saved += f" ({span(found.share_saved_ci)})"
    return [
        f"A light filter stands before the model: posts below {found.pass_through:.6f} of its own "
        f"score are left. {saved}; with {percent(found.confidence)} confidence at most "
        f"{percent(found.max_recall_loss)} of what the model would flag is lost."
    ]


def _classes(audit: AuditRecord) -> list[str]:
    if not audit.classes:
        return []
    rows = [
        (
            of.name,
            f"{of.n:,}",
            percent(of.precision),
            percent(of.recall),
            f"{of.f1:.3f}",
            "–" if of.average_precision is None else f"{of.average_precision:.3f}",
        )
        for of in audit.classes
    ]
    return [_table(("Output", "Rows", "Precision", "Recall", "F1", "Average precision"), rows)]


def _metric(of: Metric) -> tuple[str, str, str]:
    name = _NAMES.get(of.name, of.name.replace("_", " "))
    share = of.name in _SHARES
    value = percent(of.value) if share else f"{of.value:.3f}"
    if of.low is None:
        return name, value, ""
    if of.high is None:
        return name, value, f"at least {percent(of.low) if share else f'{of.low:.3f}'}"
    return name, value, span((of.low, of.high)) if share else f"{of.low:.3f} to {of.high:.3f}"


def _baseline(audit: AuditRecord) -> str:
    baseline = audit.baseline
    rows = [
        (
            name.replace("_", " "),
            f"{d.candidate:.3f}",
            f"{d.baseline:.3f}",
            f"{d.difference:+.3f} ({d.difference_ci[0]:+.3f} to {d.difference_ci[1]:+.3f})",
        )
        for name, d in baseline.differences.items()
    ]
    told = f"Baseline: {baseline.name}, on the same {baseline.rows:,} rows."
    return f"{told}\n\n" + _table(("Figure", "Candidate", "Baseline", "Difference"), rows)


def _groups(audit: AuditRecord) -> str:
    fairness = audit.fairness
    parts = [
        f"{gap.column}, {gap.metric}: {gap.highest} exceeds {gap.lowest} by {points(gap.gap)} "
        f"(largest true difference {span(gap.gap_ci)})"
        + ("" if gap.limit is None else f"; limit {points(gap.limit)}: {gap.verdict}")
        for gap in fairness.gaps
    ]
    parts += fairness.notes
    text = f"Verdict: **{fairness.verdict.replace('_', ' ')}**."
    text += f"\n\n{_list(parts)}" if parts else ""
    if not audit.groups:
        return text
    head = ("Column", "Group", "Rows", "Precision", "Recall", "FPR", "FNR")
    table = _table(head, [_group(group) for group in audit.groups])
    return "\n\n".join([text, table, *_mitigations(audit)])


def _mitigations(audit: AuditRecord) -> list[str]:
    if not audit.mitigations:
        return []
    rows = []
    for of in [*([audit.untreated] if audit.untreated else []), *audit.mitigations]:
        gaps = "; ".join(
            f"{gap.column}, {gap.metric}: {points(gap.gap)} ({span(gap.gap_ci)})"
            for gap in of.fairness.gaps
            if gap.limit is not None
        )
        beside = of.differences.get("average_precision")
        lost = "–"
        if beside is not None:
            low, high = beside.difference_ci
            lost = f"{beside.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        verdict = of.fairness.verdict.replace("_", " ")
        rows.append((of.name.replace("_", " "), verdict, gaps or "–", lost))
    chosen = (audit.mitigation or "untreated").replace("_", " ")
    told = f"The untreated model fails this audit. This card is about: {chosen}."
    head = ("Model", "Audit", "Gaps", "Average precision less the untreated")
    return [f"{told}\n\n{_table(head, rows)}"]


def _group(of: GroupMetrics) -> tuple[str, ...]:
    def rate(value: float | None, interval: tuple[float, float] | None) -> str:
        return "–" if value is None or interval is None else f"{percent(value)} ({span(interval)})"

    return (
        of.column,
        of.group + (" (too few rows to judge)" if of.too_small else ""),
        f"{of.n:,}",
        rate(of.precision, of.precision_ci),
        rate(of.recall, of.recall_ci),
        rate(of.fpr, of.fpr_ci),
        rate(of.fnr, of.fnr_ci),
    )


def _errors(audit: AuditRecord) -> str:
    if not audit.worst_slices:
        return "No slice of the holdout is shown to be scored worse than the other rows."
    rows = [
        (
            " and ".join(f"{c.column}: {c.value}" for c in found.conditions),
            f"{found.n:,}",
            f"{found.loss:.3f}",
            f"{found.loss_elsewhere:.3f}",
            "–" if found.recall is None else percent(found.recall),
        )
        for found in audit.worst_slices
    ]
    return _table(("Slice", "Rows", "Loss", "Elsewhere", "Recall"), rows)


def _functional(audit: AuditRecord) -> str:
    if audit.functional is None:
        return "None were scored (data.functional_tests)."
    rows = [
        (
            found.functionality.replace("_", " "),
            "flag" if found.violating else "leave",
            f"{found.cases:,}",
            f"{percent(found.pass_rate)} ({span(found.pass_rate_ci)})",
        )
        for found in audit.functional.functionalities
    ]
    table = _table(("Kind of sentence", "Right answer", "Cases", "Pass rate"), rows)
    rate, interval = audit.functional.flip_rate, audit.functional.flip_rate_ci
    if rate is None or interval is None:
        return table
    return (
        f"{table}\n\nNaming another identity changes the verdict in {percent(rate)} of the "
        f"templates ({span(interval)})."
    )


def _golden(audit: AuditRecord) -> str:
    if audit.golden_set is None:
        return "None was scored (data.golden_set)."
    found = audit.golden_set.figures
    told = f"{found.rows:,} rows: average precision {found.average_precision:.3f}"
    if found.precision is not None and found.recall is not None:
        told += f", precision {percent(found.precision)}, recall {percent(found.recall)}"
    return f"{told}; earlier candidates on the same rows: {len(audit.golden_set.history)}."


def _approval(audit: AuditRecord) -> str:
    if audit.approval is None:
        return "Nobody has approved this model yet."
    note = f" {audit.approval.note}" if audit.approval.note else ""
    return f"Approved by {audit.approval.approved_by} at {audit.approval.approved_at}.{note}"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Keep a name with a bar or a line break from breaking the table."""
    return " ".join(text.replace("|", "\\|").split())
