"""Tidegate's side of `benchmarks/automl.py`: featurize, search and bundle, from the snapshot on.

What featurizing takes comes out of the search's minutes.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from tidegate.config import RunConfig
from tidegate.features.matrices import featurize
from tidegate.models.bundle import load_bundle
from tidegate.models.candidate import assemble_candidate
from tidegate.records import BaselineModel
from tidegate.search.local import run_search
from tidegate.store import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--cores", type=int)
    asked = parser.parse_args()
    config = RunConfig.model_validate_json((asked.folder / "config.json").read_bytes())
    snapshot, out = asked.folder / "snapshot", asked.folder / "tidegate"
    started = time.monotonic()
    config = config.model_copy(
        update={"search": config.search.model_copy(update={"minutes": asked.minutes})}
    )
    featurize(snapshot, config.features_in_time, out / "features")
    minutes = asked.minutes - (time.monotonic() - started) / 60
    parallel = min(config.search.parallel, asked.cores)
    search = config.search.model_copy(
        update={"minutes": max(0.01, minutes), "trials": None, "parallel": parallel}
    )
    found = run_search(out / "features", search, out / "search")
    seconds = time.monotonic() - started
    assemble_candidate(
        config.name,
        snapshot=snapshot,
        features=out / "features",
        search=out / "search",
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
        out=out / "candidate",
    )
    bundle = load_bundle(out / "candidate" / "bundle")
    tables = {s: read_table(snapshot / f"{s}.parquet") for s in ("validation", "holdout")}
    for split, table in tables.items():
        np.save(asked.folder / f"tidegate_{split}.npy", bundle.score(table))
    rows = tables["holdout"].head(50).to_dict("records")
    taken = []
    for row in rows:
        began = time.perf_counter()
        bundle.score_rows([row])
        taken.append(1000 * (time.perf_counter() - began))
    files = [path for path in (out / "candidate" / "bundle").rglob("*") if path.is_file()]
    told = {
        "seconds": seconds,
        "latency_ms": float(np.median(taken)),
        "model_bytes": sum(path.stat().st_size for path in files),
        "winner": found.trials[found.best].algorithm,
        "trials": len(found.trials),
        "featurize_seconds": 60 * (asked.minutes - minutes),
    }
    (asked.folder / "tidegate.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
