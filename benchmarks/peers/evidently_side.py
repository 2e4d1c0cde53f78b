"""Evidently's side of `benchmarks/drift.py`: its data drift preset over all columns."""

import json
import resource
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset


def main() -> None:
    folder, level = Path(sys.argv[1]), float(sys.argv[2])
    reference = pd.read_parquet(folder / "reference.parquet")
    found: dict[str, object] = {}
    for name in ("same", "moved"):
        started = time.perf_counter()
        window = pd.read_parquet(folder / f"{name}.parquet")
        each = level / window.shape[1]  # its threshold is a column's
        report = Report([DataDriftPreset(num_method="ks", num_threshold=each)])
        result = report.run(window, reference).dict()
        counted = next(m["value"] for m in result["metrics"] if "count" in m["value"])
        found[f"{name}_seconds"] = round(time.perf_counter() - started, 1)
        found[f"{name}_drifted"] = counted["count"] > 0
    found["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
