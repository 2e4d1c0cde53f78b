"""Evidently's side of `benchmarks/drift.py`: its data drift preset over all columns."""

import math

import pandas as pd
from drift_side import Check, run
from evidently import Report
from evidently.presets import DataDriftPreset


def judge(reference: pd.DataFrame, level: float) -> Check:
    def check(window: pd.DataFrame) -> tuple[float, bool]:
        each = level / window.shape[1]  # its threshold is a column's
        preset = DataDriftPreset(
            num_method="ks", num_threshold=each, cat_method="chisquare", cat_threshold=each
        )
        metrics = Report([preset]).run(window, reference).dict()["metrics"]
        p_values = [float(m["value"]) for m in metrics if not isinstance(m["value"], dict)]
        return -math.log(max(min(p_values), 1e-300)), min(p_values) < each

    return check


if __name__ == "__main__":
    run(judge)
