"""How fast a large window is checked, and what two other libraries take for it.

    python benchmarks/drift.py [--rows 100000] [--columns 50] [--engine alibi] [--peers FOLDER]

`FOLDER/evidently` and `FOLDER/nannyml` are environments of their own, made of
benchmarks/peers/evidently.txt and nannyml.txt; one that is not there is left out and said so.
Every tool reads the same two Parquet files, at the same false-alarm rate for a whole window where
it lets one be set. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
LEVEL = 0.01
PEERS = ("evidently", "nannyml")


def tables(folder: Path, rows: int, columns: int) -> None:
    """Write a reference, a window like it, and one of which a column has moved a little."""
    rng = np.random.default_rng(0)
    names = [f"component_{i:02d}" for i in range(columns)]
    for name, moved in (("reference", 0.0), ("same", 0.0), ("moved", 0.1)):
        values = rng.normal(size=(rows, columns))
        values[:, 3] += moved
        frame = pd.DataFrame(values.astype(np.float32), columns=names)
        frame["score"] = 1 / (1 + np.exp(-values[:, 0]))
        frame.to_parquet(folder / f"{name}.parquet", index=False)


def measured(command: list[str]) -> dict[str, object]:
    """Run a side; return its last line with wall seconds and the largest resident memory."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        lines = (done.stderr.strip() or "ended without a word").splitlines()
        return {"skipped": lines[-1][:200]}
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": round(seconds, 1)}


def side(folder: Path, engine: str) -> None:
    """Be Tidegate's side: one check of each window, its seconds and this process's memory."""
    from tidegate.config import MonitorConfig
    from tidegate.monitoring.check import compare_tables
    from tidegate.monitoring.window import read_comparable

    config = MonitorConfig.model_validate({"engine": engine})
    python = HERE.parent / ".venv-monitor" / "bin" / "python"
    found: dict[str, object] = {}
    for name in ("same", "moved"):
        started = time.perf_counter()
        before, after = read_comparable(
            folder / "reference.parquet", folder / f"{name}.parquet", min_rows=20
        )
        report = compare_tables(
            before, after, bundle_version="b", config=config, python=python, level=LEVEL
        )
        found[f"{name}_seconds"] = round(time.perf_counter() - started, 1)
        found[f"{name}_drifted"] = report.drifted
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found["peak_gib"] = round(max(usage.ru_maxrss for usage in used) / 2**20, 2)
    found["cpu_seconds"] = round(sum(usage.ru_utime + usage.ru_stime for usage in used), 1)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--engine", choices=["alibi", "open"], action="append")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    engines = asked.engine or ["open", "alibi"]
    if asked.side:
        side(asked.side, engines[0])
        return
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="drift-benchmark-") as name:
        folder = Path(name)
        tables(folder, asked.rows, asked.columns)
        for engine in engines:
            command = [sys.executable, str(HERE / "drift.py"), "--engine", engine]
            found[f"tidegate {engine}"] = measured([*command, "--side", name])
        for peer in PEERS:
            python = None if asked.peers is None else asked.peers / peer / "bin" / "python"
            if python is None or not python.exists():
                found[peer] = {"skipped": "no environment of it: see --peers"}
                continue
            script = HERE / "peers" / f"{peer}_side.py"
            found[peer] = measured([str(python), str(script), name, repr(LEVEL)])
    for who, told in found.items():
        print(f"{who}: {told}")
    print(
        json.dumps({"rows": asked.rows, "columns": asked.columns, "cpus": os.cpu_count(), **found})
    )


if __name__ == "__main__":
    main()
