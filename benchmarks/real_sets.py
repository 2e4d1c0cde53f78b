"""What the pipeline reaches on real labelled sets: the configurations in examples/, run.

The sets are not part of the project; a configuration whose table is absent is left out, and the
table says so. Run as ``python benchmarks/real_sets.py [--out DIR] [NAME ...]``.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from pipelines.run_record import RunRecord
from tidegate.config import load_config
from tidegate.records import EvaluationReport
from tidegate.store import read_record

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
HEADINGS = ("set", "holdout", "model", "AP", "floor", "precision", "≥", "recall", "decision", "s")


def run_set(config: Path, out: Path) -> tuple[EvaluationReport, RunRecord] | None:
    """Run one configuration; None when its table is not on this machine."""
    sources = load_config(config).data.source
    if not all("://" in uri or Path(uri).exists() for uri in sources):
        return None
    command = [sys.executable, "-m", "pipelines.cli", "run", str(config), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (
        read_record(out / "evaluation.json", EvaluationReport),
        read_record(out / "run.json", RunRecord),
    )


def row(name: str, report: EvaluationReport, run: RunRecord) -> list[str]:
    """Return one row of the table."""
    figures = (report.precision, report.precision_lower_bound, report.recall)
    return [
        name,
        f"{report.rows:,}",
        report.algorithm,
        f"{report.average_precision:.3f}",
        f"{report.min_precision:.2f}",
        *("-" if value is None else f"{value:.3f}" for value in figures),
        report.decision,
        f"{run.seconds:.0f}",
    ]


def main() -> None:
    """Run the sets one after the other and print the table, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="examples to run [all]")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    options = parser.parse_args()
    configs = sorted(EXAMPLES.glob("*.yaml"))
    figures: dict[str, object] = {}
    rows = [list(HEADINGS)]
    for config in configs:
        if options.names and config.stem not in options.names:
            continue
        found = run_set(config, options.out / config.stem)
        if found is None:
            print(f"{config.stem}: left out, its table is not here")
            continue
        report, run = found
        rows.append(row(config.stem, report, run))
        figures[config.stem] = {
            "average_precision": report.average_precision,
            "precision": report.precision,
            "precision_lower_bound": report.precision_lower_bound,
            "recall": report.recall,
            "decision": report.decision,
            "prevalence": dict(report.prevalence),
            "seconds": run.seconds,
        }
    for cells in rows:
        print("| " + " | ".join(cells) + " |")
        if cells[0] == "set":
            print("|" + " --- |" * len(cells))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
