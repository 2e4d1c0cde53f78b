"""Tidegate's side of `benchmarks/automl.py`: featurize, search and bundle, from the snapshot on.

What featurizing takes comes out of the search's minutes. Of several classes it also tells how well
the holdout's are told apart.
"""

import time

from side import Side, folder_bytes, latency_ms

from tidegate.config import RunConfig
from tidegate.evaluation.classes import macro_f1, roc_auc_ovo
from tidegate.features.matrices import featurize
from tidegate.models.bundle import load_bundle
from tidegate.models.candidate import assemble_candidate
from tidegate.records import BaselineModel
from tidegate.search.local import run_search
from tidegate.store import read_table


def main() -> None:
    side = Side.asked("tidegate", __doc__)
    config = RunConfig.model_validate_json((side.folder / "config.json").read_bytes())
    snapshot, out = side.folder / "snapshot", side.folder / "tidegate"
    started = time.monotonic()
    config = config.model_copy(
        update={"search": config.search.model_copy(update={"minutes": side.minutes})}
    )
    featurize(snapshot, config.features_in_time, out / "features")
    minutes = side.minutes - (time.monotonic() - started) / 60
    parallel = min(config.search.parallel, side.cores)
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
        side.keep_scores(split, bundle.score(table))
    rows = tables["holdout"].head(50).to_dict("records")
    scored = read_table(out / "candidate" / "scored" / "holdout.parquet")
    of_classes = macro_f1(scored, confidence=0.95)
    side.tell(
        class_macro_f1=None if of_classes is None else of_classes[0],
        class_macro_f1_interval=None if of_classes is None else of_classes[1],
        class_roc_auc=roc_auc_ovo(scored),
        seconds=seconds,
        latency_ms=latency_ms(lambda row: bundle.score_rows([row]), rows),
        model_bytes=folder_bytes(out / "candidate" / "bundle"),
        winner=found.trials[found.best].algorithm,
        trials=len(found.trials),
        featurize_seconds=60 * (side.minutes - minutes),
    )


if __name__ == "__main__":
    main()
