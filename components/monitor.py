"""The payload log to a diagnosis of every window that is due."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def monitor(
    config: str,
    workspace: str,
    page: dsl.Output[dsl.HTML],
    report: dsl.Output[dsl.Artifact],
    signals: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Check what was served, and hand on the page, the report and what a trigger should know."""
    from datetime import UTC, datetime
    from pathlib import Path

    from components.kubeflow_ui import log_metrics
    from tidegate.config import RunConfig
    from tidegate.monitoring.recurring import check_served, report_figures, write_outputs

    settings = RunConfig.model_validate_json(config)
    found = check_served(settings, Path(workspace), now=datetime.now(UTC))
    write_outputs(found, Path(page.path), Path(report.path), Path(signals.path))
    log_metrics(metrics, report_figures(found.report))
