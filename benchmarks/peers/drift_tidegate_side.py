"""Tidegate's side of `benchmarks/drift.py`: one check, by the engine that is named last."""

import math
import sys

import pandas as pd
from drift_side import Check, run

from tidegate.config import MonitorConfig
from tidegate.monitoring.detection import detect_drift
from tidegate.monitoring.drift import AlibiTests
from tidegate.monitoring.open_tests import OpenTests

CONFIG = MonitorConfig.model_validate({"engine": sys.argv[4]})


def judge(reference: pd.DataFrame, level: float) -> Check:
    if CONFIG.engine == "alibi":
        engine = AlibiTests(CONFIG.seed, CONFIG.permutations)
    else:
        engine = OpenTests(CONFIG.seed)

    def check(window: pd.DataFrame) -> tuple[float, bool]:
        report = detect_drift(
            comparable(reference),
            comparable(window),
            engine=engine,
            level=level,
            config=CONFIG,
            bundle_version="benchmark",
        )
        # A p-value over its own threshold: families and their features share the level.
        ratios = [max(test.p_value, 1e-300) / test.threshold for test in report.tests]
        return -math.log(min(ratios)), report.drifted

    return check


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table's columns as `tidegate.monitoring.window.read_comparable` does."""
    numbers = table.select_dtypes("number").columns
    return table.astype(dict.fromkeys(numbers, "float64"))


if __name__ == "__main__":
    run(judge)
