"""How long judging many scores takes, against one sort of them, scikit-learn and fairlearn.

Times the threshold with its guarantee, the curve, the figures at the threshold with their
intervals and the audit of 50 groups; and the paired comparison with another model, with the same
audit. The bar of each is three times one ``numpy.sort`` of the scores plus two seconds, in CPU
seconds. Each runs in a process of its own; the memory is its peak above that of making the
inputs. Run as
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


def made(rows: int) -> Any:
    """Return a scored table with a second model's scores; groups as Arrow's dictionaries give."""
    import pandas as pd

    rng = np.random.default_rng(0)
    scores = rng.random(rows)
    labels = (rng.random(rows) < scores**3).astype(np.int8)
    names = [f"group {number:02d}" for number in range(GROUPS)]
    return pd.DataFrame(
        {
            "score": scores,
            "label": labels,
            "other": 0.8 * scores + 0.2 * rng.random(rows),
            "lang": pd.Categorical.from_codes(rng.integers(0, GROUPS, rows), names),
        },
        copy=False,
    )


def _audit(table: Any, threshold: float) -> None:
    from tidegate.config import PolicyConfig
    from tidegate.evaluation.fairness import audit

    audit(table, groups=["lang"], threshold=threshold, policy=PolicyConfig())


def judged(table: Any) -> None:
    from tidegate.evaluation.measurement import measure, roc_points
    from tidegate.evaluation.threshold import choose_threshold

    threshold = choose_threshold(table["score"], table["label"], min_precision=0.7)
    assert threshold is not None
    measure(table, threshold.value, confidence=0.95)
    roc_points(table)
    _audit(table, threshold.value)


def paired(table: Any) -> None:
    from tidegate.evaluation.comparison import Baseline, compare

    other = table.assign(score=table["other"])
    compare(table, 0.8, Baseline("old", "in_service", 0.8, other), confidence=0.95)
    _audit(table, 0.8)


def curves(table: Any) -> None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    precision_recall_curve(table["label"], table["score"])
    roc_curve(table["label"], table["score"])


def frame(table: Any) -> None:
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


def sort(table: Any) -> None:
    np.sort(table["score"].to_numpy())


def _timed(work: Callable[[Any], None], rows: int, answer: Any) -> None:
    # Imports are paid once a process, not once a table.
    for few in (5000, 50_000):
        work(made(few))
    inputs = made(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    work(inputs)
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
    print(f"{'':<46}{'seconds':>9}{'CPU s':>9}{'MiB more':>10}")
    for name, work in {
        "numpy.sort": sort,
        "tidegate, threshold to audit": judged,
        "tidegate, paired comparison and audit": paired,
        "scikit-learn, the two curves alone": curves,
        "fairlearn, four rates a group, no intervals": frame,
    }.items():
        answer = spawn.Queue()
        process = spawn.Process(target=_timed, args=(work, asked.rows, answer))
        process.start()
        seconds, cpu, memory = answer.get()
        process.join()
        figures[name] = {"seconds": seconds, "cpu_seconds": cpu, "memory_mib": memory}
        print(f"{name:<46}{seconds:>9.2f}{cpu:>9.2f}{memory:>10.0f}")
    bar = 3 * figures["numpy.sort"]["cpu_seconds"] + 2
    kept = all(found["cpu_seconds"] <= bar for name, found in figures.items() if "tidegate" in name)
    print(f"\nbar: {bar:.2f} CPU s, {'kept' if kept else 'missed'}\n")
    print(json.dumps({"benchmark": "evaluation", "rows": asked.rows, "bar": bar, **figures}))


if __name__ == "__main__":
    main()
