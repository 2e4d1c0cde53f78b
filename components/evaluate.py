"""Scored tables to a decision, and the bundle that serves by it."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def evaluate(
    policy: str,
    model_store: str,
    run_digest: str,
    code_digest: str,
    candidate: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    bundle: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    """Choose the threshold, audit, compare, and return the decision."""
    from pathlib import Path

    from components.kubeflow_ui import log_curves, log_report
    from tidegate.config import PolicyConfig
    from tidegate.evaluation.served_rule import served_rule
    from tidegate.evaluation.steps import evaluate_candidate, model_folder
    from tidegate.models.bundle import with_decision_rule
    from tidegate.models.candidate import served_bundle

    rules = PolicyConfig.model_validate_json(policy)
    report = evaluate_candidate(
        Path(candidate.path),
        rules,
        Path(evaluation.path),
        model_store=Path(model_store),
        run_digest=run_digest,
    )
    with_decision_rule(
        served_bundle(
            model_folder(Path(candidate.path), report), report.cascade, Path(bundle.path)
        ),
        Path(bundle.path),
        threshold=report.threshold,
        min_precision=report.min_precision,
        confidence=report.confidence,
        rule=served_rule(report, rules),
    )
    log_report(metrics, report)
    log_curves(curves, Path(evaluation.path), report, rules)
    return report.decision
