"""AutoGluon's side of `benchmarks/automl.py`: its tabular predictor with its own text features.

Runs in AutoGluon's own environment, with its default preset; the holdout comes without labels.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--cores", type=int)
    asked = parser.parse_args()
    columns = json.loads((asked.folder / "columns.json").read_text())
    inputs = [*columns["text"], *columns["other"]]
    tables = {
        split: pd.read_parquet(asked.folder / f"{split}.parquet")
        for split in ("train", "validation", "holdout")
    }
    place = asked.folder / "autogluon"
    started = time.monotonic()
    predictor = TabularPredictor(
        label="_label", eval_metric="average_precision", path=str(place), verbosity=0
    )
    predictor.fit(
        tables["train"][[*inputs, "_label"]],
        tuning_data=tables["validation"][[*inputs, "_label"]],
        time_limit=60 * asked.minutes,
        num_cpus=asked.cores,
    )
    seconds = time.monotonic() - started

    def score(rows: pd.DataFrame) -> np.ndarray:
        return predictor.predict_proba(rows[inputs])[1].to_numpy()

    for split in ("validation", "holdout"):
        np.save(asked.folder / f"autogluon_{split}.npy", score(tables[split]))
    predictor.persist()
    taken = []
    for number in range(50):
        began = time.perf_counter()
        score(tables["holdout"].iloc[[number % len(tables["holdout"])]])
        taken.append(1000 * (time.perf_counter() - began))
    told = {
        "seconds": seconds,
        "latency_ms": float(np.median(taken)),
        "model_bytes": sum(path.stat().st_size for path in place.rglob("*") if path.is_file()),
        "winner": str(predictor.model_best),
    }
    (asked.folder / "autogluon.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
