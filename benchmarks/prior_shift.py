"""A prior that falls from a half to one in twenty, on real mail: named, and answered.

    python benchmarks/prior_shift.py [--data FILE] [--days 14]

Trains on mail before 15 August 2002, lets a promise be made on rows of that time, and then reads
the later mail window by window, as a monitor does: without labels, which are only used to check.
The last line is one JSON object.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tidegate.config import MonitorConfig, RunConfig
from tidegate.data.ingest import ingest
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.prior_shift import estimate_prior_shift, offer_threshold
from tidegate.features.matrices import featurize
from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle
from tidegate.models.candidate import assemble_candidate
from tidegate.models.watched import watched_table
from tidegate.monitoring.detection import check_level, detect_drift
from tidegate.monitoring.diagnosis import diagnose, estimate_mix
from tidegate.monitoring.open_tests import OpenTests
from tidegate.records import BaselineModel
from tidegate.search.local import run_search
from tidegate.store import read_table

CHANGE = pd.Timestamp("2002-08-15", tz="UTC")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "spamassassin.parquet"


def trained(table: pd.DataFrame, folder: Path) -> tuple[RunConfig, Path]:
    """Train on a table by the pipeline's own steps; return the configuration and the candidate."""
    table.to_parquet(folder / "before.parquet")
    config = RunConfig.model_validate(
        {
            "name": "mail",
            "data": {
                "source": str(folder / "before.parquet"),
                "id": "id",
                "text": ["subject", "body"],
                "label": "y",
                "columns": [],
                "split": {"by": "random", "validation": 0.3, "holdout": 0.1},
            },
            "policy": {"min_precision": 0.9, "confidence": 0.95},
            "search": {"algorithms": ["logistic"], "trials": 4, "minutes": 5, "parallel": 2},
        }
    )
    ingest(config.data, name="mail", source_digest="", out=folder / "snapshot")
    featurize(folder / "snapshot", config.features_in_time, folder / "features")
    run_search(folder / "features", config.search, folder / "search")
    assemble_candidate(
        "mail",
        snapshot=folder / "snapshot",
        features=folder / "features",
        search=folder / "search",
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
        out=folder / "candidate",
    )
    return config, folder / "candidate"


def f1(flagged: np.ndarray, truth: np.ndarray) -> float:
    right = float((flagged & truth).sum())
    return 2 * right / max(1.0, float(flagged.sum() + truth.sum()))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--days", type=int, default=14, help="length of a window")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    mail = pd.read_parquet(asked.data).drop_duplicates("body_md5")
    mail["received_at"] = pd.to_datetime(mail["received_at"], utc=True)
    before, after = (mail[mail["received_at"] < CHANGE], mail[mail["received_at"] >= CHANGE])
    with tempfile.TemporaryDirectory(prefix="prior-shift-") as name:
        config, candidate = trained(before, Path(name))
        bundle = load_bundle(candidate / "bundle")
        reference = read_table(candidate / "scored" / "validation.parquet")
        scores = bundle.score(after)
        norm = read_table(candidate / "bundle" / DRIFT_REFERENCE)
        watched = watched_table(
            bundle.featurizer, bundle.manifest.inputs, after.reset_index(drop=True), scores
        )
    monitor = MonitorConfig(engine="open", window_days=float(asked.days), scales=(1,))
    policy = config.policy
    rows = rows_of(reference, "reference")
    plain = choose(rows, policy).threshold
    in_service = None if plain is None else plain.value
    number = (after["received_at"] - CHANGE).dt.days // asked.days
    windows = []
    print(
        "| window | named | rows | spam | estimated | interval | explained | old precision "
        "| new precision | old F1 | new F1 |"
    )
    print("| --- " * 11 + "|")
    for week in sorted(number.unique()):
        chosen = (number == week).to_numpy()
        if chosen.sum() < 50:
            continue
        truth = after["y"].to_numpy()[chosen] == 1
        shift = estimate_prior_shift(
            reference["score"], reference["label"], scores[chosen], confidence=policy.confidence
        )
        seen = watched[chosen].reset_index(drop=True)
        tests = detect_drift(
            norm.drop(columns=["label", "weight", "time"], errors="ignore"),
            seen,
            engine=OpenTests(0),
            level=check_level(monitor),
            config=monitor,
            bundle_version="benchmark",
        )
        named = diagnose(
            norm,
            seen,
            tests,
            None,
            estimate_mix(norm, seen, policy=policy, config=monitor),
            policy=policy,
            config=monitor,
            threshold=in_service,
        )
        offer = offer_threshold(rows, shift, policy=policy, threshold=in_service)
        old = scores[chosen] >= (in_service or np.inf)
        cut = np.inf if offer.offered is None else offer.offered.value
        new = scores[chosen] >= cut
        found = {
            "kind": named.kind,
            "rows": int(chosen.sum()),
            "prevalence": float(truth.mean()),
            "estimated": shift.prevalence,
            "interval": shift.interval,
            "fit_p_value": shift.fit_p_value,
            "explained_share": shift.explained_share,
            "old_precision": float(truth[old].mean()) if old.any() else None,
            "old_f1": f1(old, truth),
            "old_keeps_promise": offer.in_service_keeps_promise,
            "new_threshold": None if offer.offered is None else cut,
            "new_precision": float(truth[new].mean()) if new.any() else None,
            "new_f1": f1(new, truth),
        }
        windows.append(found)
        low, high = shift.interval
        print(
            f"| {week} | {named.kind} | {found['rows']} | {truth.mean():.3f} "
            f"| {shift.prevalence:.3f} "
            f"| {low:.3f}..{high:.3f} | {shift.explained_share:.2f} "
            f"| {_share(found['old_precision'])} | {_share(found['new_precision'])} "
            f"| {found['old_f1']:.3f} | {found['new_f1']:.3f} |"
        )
    print(json.dumps({"threshold": in_service, "windows": windows}))


if __name__ == "__main__":
    main()
