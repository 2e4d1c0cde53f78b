"""The model card: what the candidate is for, what it does, and where it must not be trusted."""

from collections.abc import Mapping, Sequence

from tidegate.evaluation.decision import percent, points, span
from tidegate.records import EvaluationReport, GroupMetrics, Snapshot


def model_card(
    *, evaluation: EvaluationReport, snapshot: Snapshot, digests: Mapping[str, str]
) -> str:
    """Return the card in Markdown.

    References
    ----------
    Mitchell et al., "Model cards for model reporting", FAT* 2019.
    """
    parts = [
        f"# Model card: {evaluation.name}",
        f"A {evaluation.algorithm} classifier that scores how likely a post violates the policy. "
        f"Decision: **{evaluation.decision.replace('_', ' ')}**.",
        "\n".join(f"- {reason}" for reason in evaluation.reasons),
        "## Intended use",
        _use(evaluation),
        "## Data",
        _data(snapshot),
        "## Performance on the holdout",
        _performance(evaluation),
        "## Groups",
        _groups(evaluation),
        "## Limits",
        _limits(evaluation, snapshot),
        "## Lineage",
        _table(("What", "SHA-256"), [(name, f"`{digest}`") for name, digest in digests.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _use(evaluation: EvaluationReport) -> str:
    if evaluation.threshold is None:
        return "None yet: no threshold keeps the policy, so that the model must not act on posts."
    return (
        f"Flag posts that score at least {evaluation.threshold:.6f}. The threshold was chosen so "
        f"that at least {percent(evaluation.min_precision)} of the flagged posts violate, with "
        f"{percent(evaluation.confidence)} confidence, on traffic like the validation rows. Below "
        "the threshold a score orders posts for review; it does not clear them."
    )


def _data(snapshot: Snapshot) -> str:
    rows = [
        (
            name,
            f"{split.rows:,}",
            f"{split.violating:,}",
            percent(split.prevalence),
            f"{split.time_start} to {split.time_end}" if split.time_start else "–",
        )
        for name, split in snapshot.splits.items()
    ]
    table = _table(("Split", "Rows", "Violating", "Prevalence", "Time"), rows)
    inputs = ", ".join(f"{column.name} ({column.kind})" for column in snapshot.columns)
    return f"{table}\n\nInputs: {_cell(inputs)}."


def _performance(evaluation: EvaluationReport) -> str:
    baseline = evaluation.baseline.differences
    rows = [("Average precision", f"{evaluation.average_precision:.3f}", "")]
    if "average_precision" in baseline:
        found = baseline["average_precision"]
        low, high = found.difference_ci
        rows = [
            (
                "Average precision",
                f"{evaluation.average_precision:.3f}",
                f"{found.difference:+.3f} ({low:+.3f} to {high:+.3f}) against "
                f"{evaluation.baseline.name}",
            )
        ]
    rows += [
        ("ROC-AUC", f"{evaluation.roc_auc:.3f}", ""),
        ("Log-loss", f"{evaluation.log_loss:.3f}", ""),
        ("Brier score", f"{evaluation.brier_score:.3f}", ""),
    ]
    if evaluation.precision is not None and evaluation.precision_lower_bound is not None:
        bound = f"at least {percent(evaluation.precision_lower_bound)}"
        rows.append(("Precision at the threshold", percent(evaluation.precision), bound))
    if evaluation.recall is not None and evaluation.recall_ci is not None:
        rows.append(
            ("Recall at the threshold", percent(evaluation.recall), span(evaluation.recall_ci))
        )
    count = f"{evaluation.rows:,} rows, {evaluation.violating:,} violating."
    sure = f"{percent(evaluation.confidence)} confidence"
    figures = _table(("Figure", "Value", f"Interval ({sure})"), rows)
    return "\n\n".join([count, figures, *_classes(evaluation)])


def _classes(evaluation: EvaluationReport) -> list[str]:
    if not evaluation.classes:
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
        for of in evaluation.classes
    ]
    told = f"Macro-F1 {evaluation.macro_f1:.3f}"
    if evaluation.roc_auc_ovo is not None:
        told += f", ROC-AUC over pairs of classes {evaluation.roc_auc_ovo:.3f}"
    head = ("Output", "Rows", "Precision", "Recall", "F1", "Average precision")
    return [f"{told}.", _table(head, rows)]


def _groups(evaluation: EvaluationReport) -> str:
    fairness = evaluation.fairness
    parts = [f"Verdict: **{fairness.verdict.replace('_', ' ')}**."]
    parts += [
        f"- {gap.column}, {gap.metric}: {gap.highest} exceeds {gap.lowest} by {points(gap.gap)} "
        f"(largest true difference {span(gap.gap_ci)})"
        + ("" if gap.limit is None else f"; limit {points(gap.limit)}: {gap.verdict}")
        for gap in fairness.gaps
    ]
    parts += [f"- {note}" for note in fairness.notes]
    text = parts[0] + ("\n\n" + "\n".join(parts[1:]) if len(parts) > 1 else "")
    if not evaluation.groups:
        return text
    head = ("Column", "Group", "Rows", "Precision", "Recall", "FPR", "FNR")
    return f"{text}\n\n{_table(head, [_group(group) for group in evaluation.groups])}"


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


def _limits(evaluation: EvaluationReport, snapshot: Snapshot) -> str:
    limits = [
        "The promise holds for traffic that looks like the validation rows. When prevalence or "
        "content moves, precision moves with it: watch for drift and retrain.",
        "Labels are taken as true; where reviewers err, the figures err with them.",
        f"Groups are judged by false-positive rate among rows whose group is known; "
        f"groups below the policy's minimum are not judged ({evaluation.fairness.verdict})."
        if evaluation.groups
        else "No group was named, so that nothing is known about unequal treatment.",
    ]
    limits += snapshot.notices
    return "\n".join(f"- {limit}" for limit in limits)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Keep a name with a bar or a line break from breaking the table."""
    return " ".join(text.replace("|", "\\|").split())
