"""Tidegate beside a general AutoML tool: the same rows, minutes and cores, one after the other.

    python benchmarks/automl.py [--peer autogluon|flaml] --task NAME|FILE.yaml --minutes M

NAME is a configuration in examples/. The peer runs in an environment of its own, ``.peers/PEER``,
which is made from ``benchmarks/peers/PEER.txt`` when it is not there; ``--peer-env`` names another.
Every side learns from the training rows, may tune on the labelled validation rows and gets the
holdout without labels. A configuration that names no algorithms lets Tidegate try all that this
installation can train. Minutes count from the snapshot's tables on, featurizing included. Macro-F1
is at the threshold that is best on each side's own validation scores. Memory is the peak of the
side's processes together (proportional set size, sampled).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import load_config
from tidegate.data.ingest import ingest
from tidegate.errors import BadInput
from tidegate.models.catalogue import algorithms, learnable
from tidegate.models.encoder_shape import default_encoder
from tidegate.records import GROUP_PREFIX, LABEL, WEIGHT
from tidegate.store import read_table, write_json, write_table

HERE = Path(__file__).resolve().parent
PEERS = ("autogluon", "flaml")
COLUMNS = ("AP", "recall@P.9", "macro-F1", "seconds", "RSS MiB", "model MiB", "row ms", "winner")
_MIB = 1024**2

Array = npt.NDArray[np.float64]


def prepare(config_path: Path, overrides: list[str], folder: Path) -> tuple[Array, Array, Any]:
    """Write every side's tables; return the holdout's labels and weights, and the snapshot."""
    config = load_config(config_path, overrides)
    if "algorithms" not in config.search.model_fields_set:
        search = config.search.model_copy(
            update={"algorithms": algorithms_here(config.search.encoder)}
        )
        config = config.model_copy(update={"search": search})
    snapshot = ingest(config.data, name=config.name, source_digest="", out=folder / "snapshot")
    (folder / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    kinds = {column.name: column.kind for column in snapshot.columns}
    text = [name for name, kind in kinds.items() if kind == "text"]
    other = [name for name in kinds if name not in text]
    write_json(folder / "columns.json", {"text": text, "other": other})
    for split in ("train", "validation", "holdout"):
        table = read_table(folder / "snapshot" / f"{split}.parquet")
        seen = [name for name in table if not str(name).startswith(GROUP_PREFIX)]
        if split == "holdout":
            seen = [*text, *other]
        write_table(folder / f"{split}.parquet", table[seen])
    holdout = read_table(folder / "snapshot" / "holdout.parquet")
    return holdout[LABEL].to_numpy(dtype=float), holdout[WEIGHT].to_numpy(dtype=float), snapshot


def algorithms_here(encoder: str | None) -> tuple[str, ...]:
    """Return every algorithm that this installation can train, nets where torch is there."""
    names = []
    for name in algorithms():
        try:
            learnable(name)
        except BadInput:
            continue
        if name != "encoder" or (encoder or default_encoder()):
            names.append(name)
    return tuple(names)


def run_side(name: str, python: str, folder: Path, minutes: float, cores: int) -> dict[str, Any]:
    """Run one side on so many cores and return what it told, with its peak memory in bytes."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    process = subprocess.Popen(
        [
            *("taskset", "--cpu-list", ",".join(map(str, chosen))),
            *(python, str(HERE / "peers" / f"{name}_side.py"), str(folder)),
            *("--minutes", str(minutes), "--cores", str(cores)),
        ],
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
        stdout=sys.stderr,
    )
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], held_bytes(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = process.wait()
    over.set()
    watcher.join()
    if code:
        raise SystemExit(f"{name}'s side ended with exit code {code}; its own words stand above")
    told: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return {**told, "peak_bytes": peak[0]}


def held_bytes(root: int) -> int:
    """Return the memory of a process and all below it, pages that several share counted once."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    family = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    total = 0
    for pid in family:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:"))
    return 1024 * total


def figures(name: str, folder: Path, truth: Array, weight: Array) -> dict[str, float]:
    """Return how good a side's scores of the holdout are."""
    from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

    validation = read_table(folder / "snapshot" / "validation.parquet")
    tuned, score = (np.load(folder / f"{name}_{s}.npy") for s in ("validation", "holdout"))
    cuts = np.unique(np.quantile(tuned, np.linspace(0, 1, 201)))
    y = validation[LABEL].to_numpy()
    reached = [f1_score(y, tuned >= cut, average="macro", zero_division=0) for cut in cuts]
    threshold = cuts[int(np.argmax(reached))]
    precision, recall, _ = precision_recall_curve(truth, score, sample_weight=weight)
    flagged = score >= threshold
    return {
        "average_precision": float(average_precision_score(truth, score, sample_weight=weight)),
        "recall_at_precision_0.9": float(recall[precision >= 0.9].max(initial=0.0)),
        "macro_f1": float(f1_score(truth, flagged, average="macro", sample_weight=weight)),
        "threshold": float(threshold),
    }


def peer_python(peer: str, folder: Path) -> str:
    """Return the interpreter of a peer's environment, which is made when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder} from benchmarks/peers/{peer}.txt", file=sys.stderr)
        venv.create(folder, with_pip=True)
        wanted = HERE / "peers" / f"{peer}.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", wanted], check=True)
    return str(python)


def row(name: str, found: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    return [
        name,
        *(f"{found[k]:.4f}" for k in ("average_precision", "recall_at_precision_0.9", "macro_f1")),
        f"{found['seconds']:.0f}",
        *(f"{found[key] / _MIB:.0f}" for key in ("peak_bytes", "model_bytes")),
        f"{found['latency_ms']:.1f}",
        found["winner"],
    ]


def main() -> None:
    """Run the sides, print the table, keep the results, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--peer-env", type=Path, help="environment of the peer [.peers/PEER]")
    parser.add_argument("--task", required=True, help="a configuration in examples/, or a file")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    config = Path(asked.task)
    if config.suffix != ".yaml":
        config = HERE.parent / "examples" / f"{asked.task}.yaml"
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="automl-") as scratch:
        folder = Path(scratch)
        truth, weight, snapshot = prepare(config, asked.set, folder)
        sides = {"tidegate": sys.executable}
        if asked.peer:
            sides[asked.peer] = peer_python(
                asked.peer, asked.peer_env or Path(".peers", asked.peer)
            )
        for name, python in sides.items():
            told = run_side(name, python, folder, asked.minutes, asked.cores)
            found[name] = {**told, **figures(name, folder, truth, weight)}
    rows = [["", *COLUMNS], *(row(name, side) for name, side in found.items())]
    for cells in rows:
        print("| " + " | ".join(cells) + " |")
        if not cells[0]:
            print("|" + " --- |" * len(cells))
    command = f"python benchmarks/automl.py --task {config.stem} --minutes {asked.minutes:g}"
    command += f" --peer {asked.peer}" if asked.peer else ""
    command += "".join(f" --set {override}" for override in asked.set)
    told = {
        "benchmark": "automl",
        "command": command,
        "task": config.stem,
        "minutes": asked.minutes,
        "cores": asked.cores,
        "machine": platform.processor() or platform.machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rows": {split: summary.rows for split, summary in snapshot.splits.items()},
        "sides": found,
    }
    if asked.peer:
        ours, theirs = (found[name]["average_precision"] for name in ("tidegate", asked.peer))
        told["average_precision_ratio"] = ours / theirs
    asked.results.mkdir(parents=True, exist_ok=True)
    name = f"automl-{config.stem}-{asked.peer or 'alone'}-{asked.minutes:g}min.json"
    kept = asked.results / name
    kept.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
