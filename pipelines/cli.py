"""The command line; exit codes: 0 done, 1 a defect, 2 bad input, 3 when asked to refuse."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipelines.approve_cli import approve, approver, release
from pipelines.cluster_cli import schedule, submit
from pipelines.rollout_cli import rollback, rollout
from pipelines.simulate_cli import simulate
from pipelines.trigger_cli import trigger
from tidegate.errors import BadInput

app = typer.Typer(
    help="Retrain, check and release content-moderation classifiers from one YAML file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration; see `tidegate init`")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="override a key: search.minutes=2")
]
RunOrBundle = Annotated[Path, typer.Argument(help="a run directory or a bundle")]


@app.command()
def init(
    data: Annotated[str, typer.Argument(help="Parquet, CSV or JSONL table, path or URI")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file to write [standard output]")
    ] = None,
) -> None:
    """Look at a table and write a commented configuration."""
    from tidegate.data.draft import draft_config
    from tidegate.store import write_text

    text = draft_config(data, folder=None if output is None else output.resolve().parent)
    if output is None:
        typer.echo(text, nl=False)
        return
    if output.exists():
        raise BadInput("-o", f"{output} exists already", "choose another name or remove it")
    write_text(output, text)
    typer.echo(f"wrote {output}; read it, then: tidegate run {output}")


@app.command()
def run(
    config: ConfigFile,
    out: Annotated[
        Path | None, typer.Option(help="run directory [runs/NAME]", show_default=False)
    ] = None,
    overrides: Overrides = None,
    fail_on_hold: Annotated[
        bool, typer.Option("--fail-on-hold", help="exit 3 unless the decision is promote")
    ] = False,
) -> None:
    """Run the whole retrain pipeline on this machine."""
    from rich.console import Console

    from pipelines.display import StepTable, print_outcome
    from pipelines.run import STEPS, execute, plan_run
    from tidegate.config import load_config
    from tidegate.records import EvaluationReport
    from tidegate.store import read_record

    settings = load_config(config, overrides or ())
    folder = (out or Path("runs") / settings.name).resolve()
    plan = plan_run(settings, folder)
    console = Console(highlight=False)
    with StepTable(STEPS, console).live() as table:
        try:
            record = execute(plan, table.see)
        except KeyboardInterrupt:
            typer.echo("interrupted; run the same command again to go on from the cache", err=True)
            raise typer.Exit(130) from None
        table.finish()
    print_outcome(
        console, folder, record, read_record(folder / "evaluation.json", EvaluationReport)
    )
    if fail_on_hold and record.decision != "promote":
        raise typer.Exit(3)


app.command()(submit)
app.command()(schedule)
app.command()(simulate)
app.command()(trigger)
app.command()(rollback)
app.add_typer(rollout, name="rollout")
app.command()(approver)
app.command()(approve)
app.command()(release)


@app.command(name="compile")
def compile_(
    output: Annotated[Path, typer.Option("-o", "--output", help="file to write")],
    pipeline: Annotated[str, typer.Option(help="which pipeline: retrain or monitor")] = "retrain",
    image: Annotated[
        str | None, typer.Option(help="image of every step, pinned by digest [cluster.image]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="configuration whose cluster section counts")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="ir, or crd: Kubernetes resources of the pipeline")
    ] = "ir",
) -> None:
    """Write a pipeline as KFP IR YAML, or as resources for Kubeflow's Kubernetes-native mode."""
    from pipelines.compile import compile_pipeline, lint_pipeline, write_pipeline
    from tidegate.config import ClusterConfig, load_config

    cluster = ClusterConfig() if config is None else load_config(config).cluster
    if image is not None:
        cluster = cluster.model_copy(update={"image": image})
    text = compile_pipeline(pipeline, cluster)
    for finding in lint_pipeline(text):
        typer.echo(f"warning: {finding}", err=True)
    write_pipeline(output, text, form=form, namespace=cluster.namespace)
    typer.echo(f"wrote {output}")


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="folder that holds run directories")] = Path(
        "runs"
    ),
    html: Annotated[
        Path | None, typer.Option("--html", help="write a page instead of printing a table")
    ] = None,
) -> None:
    """Show runs side by side: data, model, metrics, decision."""
    from rich.console import Console

    from pipelines.display import runs_table
    from pipelines.run_record import RunRecord
    from tidegate.store import read_record

    if not folder.is_dir():
        raise BadInput("DIR", f"{folder} is not a folder", "name the folder that holds the runs")
    found = [
        (path.parent, read_record(path, RunRecord))
        for path in sorted({*folder.glob("run.json"), *folder.glob("*/run.json")})
    ]
    if not found:
        raise BadInput("DIR", f"{folder} holds no runs", "run `tidegate run CONFIG` first")
    if html is not None:
        from pipelines.runs_page import runs_page
        from tidegate.store import write_text

        write_text(html, runs_page(found, beside=html.resolve().parent))
        typer.echo(f"wrote {html}")
        return
    Console(highlight=False).print(runs_table(found))


@app.command()
def score(
    model: RunOrBundle,
    data: Annotated[str, typer.Argument(help="Parquet, CSV or JSONL table, path or URI")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Parquet file to write")],
    id_column: Annotated[
        str | None, typer.Option("--id", help="column that names the rows [id, or row number]")
    ] = None,
    explain: Annotated[
        int, typer.Option("--explain", min=0, help="features or words that explain each score")
    ] = 0,
) -> None:
    """Score a table: one row in, one score and one verdict out."""
    from tidegate.data.ingest import read_source
    from tidegate.models.bundle import load_bundle
    from tidegate.models.explanation import with_explanations
    from tidegate.models.scoring import score_source
    from tidegate.rollout.baseline import bundle_folder
    from tidegate.store import write_table

    bundle = load_bundle(bundle_folder(model, where="RUN_OR_BUNDLE"))
    table = read_source([data])
    scored = score_source(bundle, table, id_column=id_column)
    if explain:
        scored = with_explanations(scored, bundle, table, top=explain)
    write_table(output, scored)
    typer.echo(f"wrote {len(scored)} rows to {output}")


@app.command()
def serve(
    model: RunOrBundle,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port")] = 8080,
    grpc_port: Annotated[
        str | None, typer.Option(help="gRPC port, or none [the HTTP port + 1]")
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(help="serving section: JSON, or a file of it [that of the run, if any]"),
    ] = None,
) -> None:
    """Serve a bundle with the KServe model server on this machine."""
    from tidegate.rollout.baseline import bundle_folder
    from tidegate.store import read_json

    folder = bundle_folder(model, where="RUN_OR_BUNDLE")
    if settings is None and (model / "run.json").is_file():
        settings = json.dumps(read_json(model / "run.json")["config"].get("serving", {}))
    sys.stdout.flush()
    # A fresh process: KServe reads sys.argv when it is imported.
    os.execv(
        sys.executable,
        [
            *(sys.executable, "-m", "tidegate.serving"),
            *("--bundle", str(folder), "--host", host, "--port", str(port)),
            *(() if grpc_port is None else ("--grpc-port", grpc_port)),
            *(() if settings is None else ("--settings", settings)),
        ],
    )


@app.command()
def monitor(
    config: ConfigFile,
    model: Annotated[Path, typer.Option("--model", help="a run directory or a bundle")],
    window: Annotated[
        str | None, typer.Option(help="table of the rows to check, path or URI")
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="payload log to check window by window, path or URI")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="with --log: table of row_id and label, path or URI")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="with --log: check what is due and end")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="file to write; with --log a folder [drift]"),
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="interpreter of the drift environment [.venv-monitor]")
    ] = None,
) -> None:
    """Check a table of rows, or a payload log, for drift from the training reference."""
    from pipelines.monitor_cli import check_table, follow_log
    from tidegate.config import load_config
    from tidegate.rollout.baseline import bundle_folder

    if (window is None) == (log is None):
        raise BadInput("--window", "give either --window or --log", "name one of them")
    settings = load_config(config)
    bundle = bundle_folder(model, where="--model")
    interpreter = python or Path(sys.prefix).parent / ".venv-monitor" / "bin" / "python"
    if window is not None:
        check_table(bundle, window, settings, output or Path("drift.json"), interpreter)
    elif log is not None:
        out = output or Path("drift")
        follow_log(bundle, log, settings, out, interpreter, labels=labels, once=once)


@app.command()
def doctor(
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="examine the cluster instead of this machine")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="configuration to examine for [defaults]")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="context of the kubeconfig [the current one]")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit 3 on a problem")] = False,
) -> None:
    """Say what is missing here or on the cluster, and how to mend it; changes nothing."""
    from rich.console import Console

    from tidegate.config import load_config
    from tidegate.doctor.cluster import check_cluster
    from tidegate.doctor.findings import findings_table, summary
    from tidegate.doctor.machine import check_machine, checkout

    if context is not None and not on_cluster:
        raise BadInput("--context", "names a cluster", "write --cluster too")
    settings = None if config is None else load_config(config)
    if on_cluster:
        findings = check_cluster(settings, context)
    else:
        out = Path("runs") / settings.name if settings else Path("runs")
        python = Path(sys.prefix).parent / ".venv-monitor" / "bin" / "python"
        findings = check_machine(
            out.resolve(), monitor_python=python, root=checkout(), config=settings
        )
    Console(highlight=False).print(findings_table(findings))
    typer.echo(summary(findings))
    if strict and any(finding.status == "problem" for finding in findings):
        raise typer.Exit(3)


def main() -> None:
    """Run the command line and turn what went wrong into an exit code."""
    from pipelines.local import StepFailed

    try:
        app()
    except BadInput as error:
        _end(error, 2)
    except StepFailed as error:
        _end(error, 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        mend = "free space or choose another folder"
        _end(BadInput(str(error.filename or "disk"), str(error.strerror), mend), 2)


def _end(error: Exception, code: int) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
