"""NannyML's side of `benchmarks/drift.py`: its univariate drift calculator over all columns.

Its thresholds are three standard deviations of the reference's own chunks; how far the largest
statistic is beyond its threshold is its evidence.
"""

import nannyml
import pandas as pd
from drift_side import Check, run

_CHUNKS = 10


def judge(reference: pd.DataFrame, level: float) -> Check:
    names = list(reference.columns)
    numbers = set(reference.select_dtypes("number").columns)
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=names,
        treat_as_categorical=[name for name in names if name not in numbers],
        continuous_methods=["kolmogorov_smirnov"],
        categorical_methods=["chi2"],
        chunk_number=_CHUNKS,
    ).fit(reference)

    def check(window: pd.DataFrame) -> tuple[float, bool]:
        found = calculator.calculate(window).filter(period="analysis").to_df()
        alerts = [column for column in found.columns if column[-1] == "alert"]
        ratios = []
        for column in (c for c in found.columns if c[-1] == "value"):
            limits = found[(*column[:-1], "upper_threshold")]
            ratios.append((found[column] / limits.astype(float)).mean())
        return float(max(ratios)), bool(found[alerts].to_numpy().any())

    return check


if __name__ == "__main__":
    run(judge)
