"""What every side of `benchmarks/drift.py` does: reads its arguments, is timed, tells.

Runs in each tool's own environment: NumPy and pandas only.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

#: What a tool says of a window: how strong its evidence is, and whether it drifted.
Check = Callable[[pd.DataFrame], tuple[float, bool]]
#: From a reference and the level of a check to a check.
Judge = Callable[[pd.DataFrame, float], Check]


def run(judge: Judge) -> None:
    """Be one side: ``python SIDE.py FOLDER speed|power LEVEL``."""
    folder, part, level = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    found: dict[str, object] = {}
    if part == "power":
        every = pd.read_parquet(folder / "windows.parquet")
        check = judge(pd.read_parquet(folder / "norm.parquet"), level)
        windows = [
            w.drop(columns="window").reset_index(drop=True) for _, w in every.groupby("window")
        ]
        found["evidence"] = [check(window)[0] for window in windows]
        print(json.dumps(found))
        return
    started = time.perf_counter()
    check = judge(pd.read_parquet(folder / "reference.parquet"), level)
    found["fit_seconds"] = round(time.perf_counter() - started, 1)
    for name in ("same", "moved"):
        started = time.perf_counter()
        drifted = check(pd.read_parquet(folder / f"{name}.parquet"))[1]
        found[f"{name}_seconds"] = round(time.perf_counter() - started, 1)
        found[f"{name}_drifted"] = bool(drifted)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found["peak_mib"] = round(used.ru_maxrss / 2**10)
    found["cpu_seconds"] = round(used.ru_utime + used.ru_stime, 1)
    print(json.dumps(found))
