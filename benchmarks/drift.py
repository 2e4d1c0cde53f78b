"""Tidegate's drift check beside Evidently's and NannyML's: seconds, memory, and what each finds.

    python benchmarks/drift.py [--peers FOLDER] [--rows 100000] [--columns 50] [--windows 200]

`FOLDER/evidently` and `FOLDER/nannyml` are environments of their own:

    python -m venv FOLDER/evidently
    FOLDER/evidently/bin/python -m pip install -r benchmarks/peers/evidently.txt

and nannyml alike; one that is not there is left out and said so. Every tool reads the same files.
First one large window like the reference and one of which a column moved: seconds and memory of a
process that does nothing else. Then many small windows: every tool says how strong its evidence
against each is (its smallest p-value, or its largest statistic over the threshold it chose), and
its alarm is put where so many of the windows *without* change alarm as `--level` says. What it
finds of known changes is compared there, at equal false alarms. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
ENGINES, PEERS = ("open", "alibi"), ("evidently", "nannyml")
MONITOR_PYTHON = HERE.parent / ".venv-monitor" / "bin" / "python"
SAME = "no change"
KINDS = (
    SAME,
    "one column by 0.3 of its spread",
    "all columns by 0.1",
    "one column half as wide again",
    "two columns correlated by 0.6",
    "a tenth more cells missing",
    "a tenth of rows of a new category",
    "one row in twenty far out",
)
SMALL_COLUMNS, SMALL_ROWS = 10, 500


def large(folder: Path, rows: int, columns: int) -> None:
    """Write a reference, a window like it, and one of which a column has moved a little."""
    rng = np.random.default_rng(0)
    names = [f"component_{i:02d}" for i in range(columns)]
    for name, moved in (("reference", 0.0), ("same", 0.0), ("moved", 0.1)):
        values = rng.normal(size=(rows, columns))
        values[:, 3] += moved
        frame = pd.DataFrame(values.astype(np.float32), columns=names)
        frame["score"] = 1 / (1 + np.exp(-values[:, 0]))
        frame.to_parquet(folder / f"{name}.parquet", index=False)


def small(rng: np.random.Generator, rows: int, kind: str) -> pd.DataFrame:
    """Draw a window with one kind of change."""
    values = rng.normal(size=(rows, SMALL_COLUMNS))
    if kind == KINDS[1]:
        values[:, 3] += 0.3
    elif kind == KINDS[2]:
        values += 0.1
    elif kind == KINDS[3]:
        values[:, 3] *= 1.5
    elif kind == KINDS[4]:
        values[:, 3] = 0.6 * values[:, 2] + 0.8 * values[:, 3]
    elif kind == KINDS[7]:
        values[rng.random(rows) < 0.05, 3:6] += 4 * rng.choice([-1, 1])
    frame = pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(SMALL_COLUMNS)])
    frame["score"] = 1 / (1 + np.exp(-2 * values[:, 0]))
    missing = 0.15 if kind == KINDS[5] else 0.05
    frame["number_age"] = np.where(rng.random(rows) < missing, np.nan, rng.gamma(2, 10, rows))
    language = rng.choice(list("abcd"), rows, p=[0.5, 0.3, 0.15, 0.05]).astype(object)
    new = rng.random(rows) < (0.1 if kind == KINDS[6] else 0.0)
    frame["category_lang"] = np.where(new, "new", language)
    return frame


def windows(folder: Path, count: int) -> list[str]:
    """Write a reference and windows, a quarter as many of every change; return their kinds."""
    rng = np.random.default_rng(1)
    kinds = [SAME] * count + [k for k in KINDS[1:] for _ in range(max(1, count // 4))]
    small(rng, 5000, SAME).to_parquet(folder / "norm.parquet", index=False)
    every = [small(rng, SMALL_ROWS, kind).assign(window=i) for i, kind in enumerate(kinds)]
    pd.concat(every, ignore_index=True).to_parquet(folder / "windows.parquet", index=False)
    return kinds


def measured(command: list[str]) -> dict[str, object]:
    """Run a side; return its last line with wall seconds."""
    started = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        lines = (done.stderr.strip() or "ended without a word").splitlines()
        return {"skipped": lines[-1][:200]}
    told = json.loads(done.stdout.splitlines()[-1])
    return {**told, "seconds": round(time.perf_counter() - started, 1)}


def found_by(evidence: list[float], kinds: list[str], level: float) -> dict[str, float]:
    """Return the share of windows of each kind that alarm, with so many of no change.

    The alarm is where at most this share of the unchanged windows lies beyond; evidence that is
    the same for many of them counts against the tool.
    """
    strength, kind = np.array(evidence), np.array(kinds)
    calm = np.sort(strength[kind == SAME])
    cut = calm[min(len(calm) - 1, int(np.ceil((1 - level) * len(calm))) - 1)]
    return {name: float((strength[kind == name] > cut).mean()) for name in KINDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="of the large window")
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--windows", type=int, default=200, help="small ones without change")
    parser.add_argument("--level", type=float, default=0.05, help="of false alarms")
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    asked = parser.parse_args()
    sides: dict[str, list[str]] = {}
    for engine in asked.engine or ENGINES:
        python = MONITOR_PYTHON if engine == "alibi" else Path(sys.executable)
        sides[f"tidegate {engine}"] = [str(python), "drift_tidegate_side.py", engine]
    for peer in PEERS:
        python = (asked.peers or Path("nowhere")) / peer / "bin" / "python"
        sides[peer] = [str(python), f"{peer}_side.py"]
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="drift-benchmark-") as name:
        large(Path(name), asked.rows, asked.columns)
        kinds = windows(Path(name), asked.windows)
        for who, (python, script, *more) in sides.items():
            if not Path(python).exists():
                found[who] = {"skipped": "no environment of it: see --peers"}
                continue
            command = [python, str(HERE / "peers" / script), name]
            speed = measured([*command, "speed", repr(asked.level), *more])
            power = measured([*command, "power", repr(asked.level), *more])
            if isinstance(power.get("evidence"), list):
                found[who] = {**speed, "found": found_by(power["evidence"], kinds, asked.level)}
            else:
                found[who] = {**speed, **power}
    ran = [who for who in found if "found" in found[who]]
    print(f"| share of windows that alarm | {' | '.join(ran)} |")
    print("| --- " * (len(ran) + 1) + "|")
    for kind in KINDS:
        shares = [f"{found[who]['found'][kind]:.0%}" for who in ran]
        print(f"| {kind} | {' | '.join(shares)} |")
    for who, told in found.items():
        print(f"{who}: { {k: v for k, v in told.items() if k != 'found'} }")
    size = {"rows": asked.rows, "columns": asked.columns, "windows": asked.windows}
    print(json.dumps({**size, "level": asked.level, "cpus": os.cpu_count(), **found}))


if __name__ == "__main__":
    main()
