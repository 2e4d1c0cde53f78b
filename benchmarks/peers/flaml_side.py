"""FLAML's side of `benchmarks/automl.py`: TF-IDF of words and word pairs, then its AutoML.

Runs in FLAML's own environment; the holdout comes without labels. Vectorizing counts in its time.
"""

import argparse
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
from flaml import AutoML
from sklearn.feature_extraction.text import TfidfVectorizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--cores", type=int)
    asked = parser.parse_args()
    columns = json.loads((asked.folder / "columns.json").read_text())
    tables = {
        split: pd.read_parquet(asked.folder / f"{split}.parquet")
        for split in ("train", "validation", "holdout")
    }
    texts = {
        split: table[columns["text"]].fillna("").agg(" ".join, axis=1)
        for split, table in tables.items()
    }
    started = time.monotonic()
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, max_features=50_000, sublinear_tf=True, dtype=np.float32
    )
    X = vectorizer.fit_transform(texts["train"])
    found = AutoML()
    found.fit(
        X,
        tables["train"]["_label"].to_numpy(),
        X_val=vectorizer.transform(texts["validation"]),
        y_val=tables["validation"]["_label"].to_numpy(),
        task="classification",
        metric="ap",
        time_budget=60 * asked.minutes - (time.monotonic() - started),
        n_jobs=asked.cores,
        seed=0,
        retrain_full=False,
        verbose=0,
    )
    seconds = time.monotonic() - started

    def score(rows: pd.Series) -> np.ndarray:
        return found.predict_proba(vectorizer.transform(rows))[:, 1]

    for split in ("validation", "holdout"):
        np.save(asked.folder / f"flaml_{split}.npy", score(texts[split]))
    taken = []
    for place in range(50):
        began = time.perf_counter()
        score(texts["holdout"].iloc[[place % len(texts["holdout"])]])
        taken.append(1000 * (time.perf_counter() - began))
    told = {
        "seconds": seconds,
        "latency_ms": float(np.median(taken)),
        "model_bytes": len(pickle.dumps([vectorizer, found.model])),
        "winner": str(found.best_estimator),
    }
    (asked.folder / "flaml.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
