"""FLAML's side of `benchmarks/automl.py`: TF-IDF of words and word pairs, then its AutoML.

Runs in FLAML's own environment; the holdout comes without labels. Vectorizing counts in its time.
"""

import pickle
import time

import numpy as np
import pandas as pd
from flaml import AutoML
from side import Side, latency_ms, one_by_one
from sklearn.feature_extraction.text import TfidfVectorizer


def main() -> None:
    side = Side.asked("flaml", __doc__)
    columns, tables = side.columns(), side.tables()
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
        time_budget=60 * side.minutes - (time.monotonic() - started),
        n_jobs=side.cores,
        seed=0,
        retrain_full=False,
        verbose=0,
    )
    seconds = time.monotonic() - started

    def score(rows: pd.Series) -> np.ndarray:
        return found.predict_proba(vectorizer.transform(rows))[:, 1]

    for split in ("validation", "holdout"):
        side.keep_scores(split, score(texts[split]))
    side.tell(
        seconds=seconds,
        latency_ms=latency_ms(score, one_by_one(texts["holdout"])),
        model_bytes=len(pickle.dumps([vectorizer, found.model])),
        winner=str(found.best_estimator),
    )


if __name__ == "__main__":
    main()
