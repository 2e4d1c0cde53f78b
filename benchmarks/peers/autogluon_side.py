"""AutoGluon's side of `benchmarks/automl.py`: its tabular predictor with its own text features.

Runs in AutoGluon's own environment, with its default preset; the holdout comes without labels.
"""

import time

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor
from side import Side, folder_bytes, latency_ms, one_by_one


def main() -> None:
    side = Side.asked("autogluon", __doc__)
    columns, tables = side.columns(), side.tables()
    inputs = [*columns["text"], *columns["other"]]
    place = side.folder / "autogluon"
    started = time.monotonic()
    predictor = TabularPredictor(
        label="_label", eval_metric="average_precision", path=str(place), verbosity=0
    )
    predictor.fit(
        tables["train"][[*inputs, "_label"]],
        tuning_data=tables["validation"][[*inputs, "_label"]],
        time_limit=60 * side.minutes,
        num_cpus=side.cores,
    )
    seconds = time.monotonic() - started

    def score(rows: pd.DataFrame) -> np.ndarray:
        return predictor.predict_proba(rows[inputs])[1].to_numpy()

    for split in ("validation", "holdout"):
        side.keep_scores(split, score(tables[split]))
    predictor.persist()
    side.tell(
        seconds=seconds,
        latency_ms=latency_ms(score, one_by_one(tables["holdout"])),
        model_bytes=folder_bytes(place),
        winner=str(predictor.model_best),
    )


if __name__ == "__main__":
    main()
