"""How long judging many scores takes, against one sort of them, scikit-learn and fairlearn.

Times the threshold with its guarantee, the curve, the figures at the threshold with their
intervals and the audit of 50 groups; and the paired comparison with another model, with the same
audit. The bar of each is three times one ``numpy.sort`` of the scores plus two seconds, in CPU
seconds. The tables lie on disk as Parquet, ids and group names as strings, and are read as the
evaluation step reads them; reading has a column of its own. Each runs in a process of its own; the
memory is its peak above that of the tables. Run as
``python benchmarks/evaluation.py [--rows 10000000] [--alone]``; with ``--alone`` without the other
libraries, whose audit takes minutes.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

GROUPS = 50


def write(folder: Path, rows: int) -> None:
    """Write the scored holdout, and the baseline's scores of the same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    scores = rng.random(rows)
    labels = (rng.random(rows) < scores**3).astype(np.int8)
    ids = pa.array(np.arange(rows)).cast(pa.string())
    names = pa.array([f"group {number:02d}" for number in range(GROUPS)])
    groups = names.take(pa.array(rng.integers(0, GROUPS, rows)))
    holdout = {"id": ids, "label": labels, "score": scores, "lang": groups}
    other = {"id": ids, "label": labels, "score": 0.8 * scores + 0.2 * rng.random(rows)}
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(holdout), folder / "holdout.parquet")
    pq.write_table(pa.table(other), folder / "baseline.parquet")


def read(folder: Path) -> tuple[Any, Any]:
    from tidegate.store import read_table

    holdout = read_table(folder / "holdout.parquet", categories=["lang"])
    return holdout, read_table(folder / "baseline.parquet")


def _audit(table: Any, threshold: float) -> None:
    from tidegate.config import PolicyConfig
    from tidegate.evaluation.fairness import audit

    audit(table, groups=["lang"], threshold=threshold, policy=PolicyConfig())


def judged(table: Any, other: Any) -> None:
    from tidegate.evaluation.measurement import measure, roc_points
    from tidegate.evaluation.threshold import choose_threshold

    threshold = choose_threshold(table["score"], table["label"], min_precision=0.7)
    assert threshold is not None
    measure(table, threshold.value, confidence=0.95)
    roc_points(table)
    _audit(table, threshold.value)


def paired(table: Any, other: Any) -> None:
    from tidegate.evaluation.comparison import Baseline, compare

    compare(table, 0.8, Baseline("old", "in_service", 0.8, other), confidence=0.95)
    _audit(table, 0.8)


def curves(table: Any, other: Any) -> None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    precision_recall_curve(table["label"], table["score"])
    roc_curve(table["label"], table["score"])


def frame(table: Any, other: Any) -> None:
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate
    from sklearn.metrics import precision_score, recall_score

    MetricFrame(
        metrics={
            "fpr": false_positive_rate,
            "selection_rate": selection_rate,
            "precision": precision_score,
            "recall": recall_score,
        },
        y_true=table["label"],
        y_pred=table["score"] >= 0.8,
        sensitive_features=table["lang"],
    )


def sort(table: Any, other: Any) -> None:
    np.sort(table["score"].to_numpy())


def _timed(work: Callable[[Any, Any], None], folders: list[Path], answer: Any) -> None:
    # Imports are paid once a process, not once a table.
    for few in folders[:-1]:
        work(*read(few))
    started = time.process_time()
    tables = read(folders[-1])
    reading = time.process_time() - started
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    work(*tables)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.put((seconds, cpu_seconds, (peak - before) / 1024, reading))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args()
    works = {
        "numpy.sort": sort,
        "tidegate, threshold to audit": judged,
        "tidegate, paired comparison and audit": paired,
    }
    if not asked.alone:
        works |= {
            "scikit-learn, the two curves alone": curves,
            "fairlearn, four rates a group, no intervals": frame,
        }
    spawn = multiprocessing.get_context("spawn")
    figures: dict[str, dict[str, float]] = {}
    print(f"{asked.rows:,} scores, {GROUPS} groups\n")
    print(f"{'':<46}{'seconds':>9}{'CPU s':>9}{'MiB more':>10}{'CPU s to read':>15}")
    with tempfile.TemporaryDirectory() as place:
        folders = []
        for rows in (5000, 50_000, asked.rows):
            folders.append(Path(place) / str(rows))
            write(folders[-1], rows)
        for name, work in works.items():
            answer = spawn.Queue()
            process = spawn.Process(target=_timed, args=(work, folders, answer))
            process.start()
            found = answer.get()
            process.join()
            keys = ("seconds", "cpu_seconds", "memory_mib", "reading_cpu_seconds")
            figures[name] = dict(zip(keys, found, strict=True))
            print(f"{name:<46}{found[0]:>9.2f}{found[1]:>9.2f}{found[2]:>10.0f}{found[3]:>15.2f}")
    bar = 3 * figures["numpy.sort"]["cpu_seconds"] + 2
    kept = all(found["cpu_seconds"] <= bar for name, found in figures.items() if "tidegate" in name)
    print(f"\nbar: {bar:.2f} CPU s, {'kept' if kept else 'missed'}\n")
    print(json.dumps({"benchmark": "evaluation", "rows": asked.rows, "bar": bar, **figures}))


if __name__ == "__main__":
    main()
