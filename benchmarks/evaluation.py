"""How long judging many scores takes, against one sort of them and against scikit-learn.

Times the threshold with its guarantee, both curves, the figures at the threshold with their
intervals, and precision and false-positive rate of 50 groups with Wilson intervals; the bar is
three times one ``numpy.sort`` of the scores plus two seconds, in CPU seconds. Each runs in a
process of its own; the memory is its peak above that of making the inputs. Run as
``python benchmarks/evaluation.py [--rows 10000000]``.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

GROUPS = 50


def made(rows: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    scores = rng.random(rows)
    labels = (rng.random(rows) < scores**3).astype(np.int8)
    return scores, labels, rng.integers(0, GROUPS, rows, dtype=np.int16)


def ours(scores: Any, labels: Any, groups: Any) -> None:
    import pandas as pd

    from tidegate.evaluation.intervals import wilson
    from tidegate.evaluation.measurement import measure, precision_recall_points, roc_points
    from tidegate.evaluation.threshold import choose_threshold

    threshold = choose_threshold(scores, labels, min_precision=0.7)
    assert threshold is not None
    table = pd.DataFrame({"score": scores, "label": labels}, copy=False)
    measure(table, threshold.value, confidence=0.95)
    precision_recall_points(table)
    roc_points(table)
    flagged = scores >= threshold.value
    cell = (groups * 2 + labels) * 2 + flagged
    counts = np.bincount(cell, minlength=4 * GROUPS).reshape(GROUPS, 2, 2)
    for group in counts:
        wilson(group[1, 1], group[:, 1].sum(), 0.95)
        wilson(group[0, 1], group[0].sum(), 0.95)


def sklearns(scores: Any, labels: Any, groups: Any) -> None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    precision_recall_curve(labels, scores)
    roc_curve(labels, scores)


def sort(scores: Any, labels: Any, groups: Any) -> None:
    np.sort(scores)


def _timed(work: Callable[[Any, Any, Any], None], rows: int, answer: Any) -> None:
    # Imports are paid once a process, not once a table.
    small = made(2000)
    work(*small)
    inputs = made(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    work(*inputs)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.put((seconds, cpu_seconds, (peak - before) / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    asked = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    figures: dict[str, dict[str, float]] = {}
    print(f"{asked.rows:,} scores, {GROUPS} groups\n")
    print(f"{'':<36}{'seconds':>9}{'CPU s':>9}{'MiB more':>10}")
    for name, work in {
        "numpy.sort": sort,
        "tidegate, all of it": ours,
        "scikit-learn, the two curves alone": sklearns,
    }.items():
        answer = spawn.Queue()
        process = spawn.Process(target=_timed, args=(work, asked.rows, answer))
        process.start()
        seconds, cpu, memory = answer.get()
        process.join()
        figures[name] = {"seconds": seconds, "cpu_seconds": cpu, "memory_mib": memory}
        print(f"{name:<36}{seconds:>9.2f}{cpu:>9.2f}{memory:>10.0f}")
    bar = 3 * figures["numpy.sort"]["cpu_seconds"] + 2
    kept = figures["tidegate, all of it"]["cpu_seconds"] <= bar
    print(f"\nbar: {bar:.2f} CPU s, {'kept' if kept else 'missed'}\n")
    print(json.dumps({"benchmark": "evaluation", "rows": asked.rows, "bar": bar, **figures}))


if __name__ == "__main__":
    main()
