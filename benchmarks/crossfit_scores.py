"""Write the fold scores that ``benchmarks/threshold_promise.py --crossfit`` reads.

One logistic regression with the catalogue's defaults on all training rows and one on all but each
fold, the features fitted anew each time; each scores the rows that it did not learn from. Run as
``python benchmarks/crossfit_scores.py CONFIG --out DIR [--folds 5]``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidegate.config import load_config
from tidegate.data.ingest import build_snapshot, read_source
from tidegate.features.featurizer import Featurizer
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.models.target import score_of
from tidegate.records import ID, LABEL, WEIGHT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    asked = parser.parse_args()
    config = load_config(asked.config)
    source = read_source(config.data.source)
    snapshot, tables = build_snapshot(source, config.data, name=config.name, source_digest="")
    recipe = algorithm("logistic")
    asked.out.mkdir(parents=True, exist_ok=True)

    def scores(rows: Any, others: dict[str, Any]) -> list[Any]:
        label = rows[LABEL].to_numpy(dtype=np.int8)
        features = Featurizer.fit(rows, snapshot.columns, label, config.features)
        model = recipe.build(recipe.defaults, Setting(target=snapshot.target))
        model.fit(features.transform(rows), label, rows[WEIGHT].to_numpy(dtype=float))
        return [
            pd.DataFrame(
                {
                    "split": split,
                    "id": other[ID],
                    "label": other[LABEL],
                    "weight": other[WEIGHT],
                    "score": score_of(
                        snapshot.target, model.predict_proba(features.transform(other))
                    ),
                }
            )
            for split, other in others.items()
        ]

    unseen = {name: tables[name] for name in ("validation", "holdout")}
    for table in scores(tables["train"], unseen):
        table.to_parquet(asked.out / f"{table['split'].iloc[0]}.parquet")
    train = tables["train"]
    fold = np.random.default_rng(0).permutation(len(train)) % asked.folds
    found = []
    for k in range(asked.folds):
        for table in scores(train[fold != k], {"train": train[fold == k], **unseen}):
            found.append(table.assign(fold=k))
    pd.concat(found).to_parquet(asked.out / "crossfit.parquet")
    print(json.dumps({"benchmark": "crossfit_scores", "rows": len(train), "folds": asked.folds}))


if __name__ == "__main__":
    main()
