"""NannyML's side of `benchmarks/drift.py`: its univariate drift calculator over all columns.

Its thresholds are three standard deviations of the reference's own chunks; no false-alarm rate can
be set, so that its verdict stands beside the others' without being comparable.
"""

import json
import resource
import sys
import time
from pathlib import Path

import nannyml
import pandas as pd


def main() -> None:
    folder = Path(sys.argv[1])
    reference = pd.read_parquet(folder / "reference.parquet")
    names = list(reference.columns)
    started = time.perf_counter()
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=names, continuous_methods=["kolmogorov_smirnov"], chunk_number=10
    ).fit(reference)
    found: dict[str, object] = {"fit_seconds": round(time.perf_counter() - started, 1)}
    for name in ("same", "moved"):
        started = time.perf_counter()
        window = pd.read_parquet(folder / f"{name}.parquet")
        alarms = calculator.calculate(window).filter(period="analysis").to_df()
        alerts = [column for column in alarms.columns if column[-1] == "alert"]
        found[f"{name}_seconds"] = round(time.perf_counter() - started, 1)
        found[f"{name}_drifted"] = bool(alarms[alerts].to_numpy().any())
    found["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
