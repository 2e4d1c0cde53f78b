"""``tidegate monitor``: one table, or a payload log for as long as it runs."""

import time
from datetime import UTC, datetime
from pathlib import Path

import typer

from tidegate.config import RunConfig

_SECONDS_BETWEEN_LOOKS = 300.0


def check_table(bundle: Path, window: str, config: RunConfig, out: Path, python: Path) -> None:
    """Check one table of rows and write the report."""
    from tidegate.data.ingest import read_source
    from tidegate.monitoring.check import check_drift

    rows = read_source([window])
    report = check_drift(bundle, rows, config=config.monitor, out=out, python=python)
    for test in report.tests:
        verdict = "drift" if test.drifted else "no drift"
        typer.echo(
            f"{test.name:<6} p={test.p_value:.4f} (alarm below {test.threshold:.4f}) {verdict}"
        )
    typer.echo(f"{'drift' if report.drifted else 'no drift'}; wrote {out}")


def follow_log(
    bundle: Path,
    log: str,
    config: RunConfig,
    out: Path,
    python: Path,
    *,
    labels: str | None,
    once: bool,
) -> None:
    """Check every window of a log when it is due, until stopped; `once` ends after the first."""
    from tidegate.monitoring.recurring import write_signals
    from tidegate.monitoring.watch import check_log
    from tidegate.monitoring.wording import line_of

    while True:
        report = check_log(
            bundle,
            log,
            out=out,
            now=datetime.now(UTC),
            config=config.monitor,
            policy=config.policy,
            python=python,
            labels=labels,
        )
        write_signals(report, out, config.monitor)
        for check in report.checks:
            typer.echo(line_of(check))
        if once or report.checks:
            typer.echo(f"{report.says}; wrote {out}")
        if once:
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)
