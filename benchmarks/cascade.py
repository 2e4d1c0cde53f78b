"""What a cascade saves and loses: heavy calls saved, flags and recall lost on the holdout.

    python benchmarks/cascade.py [--task edos|spamassassin|simulator|FILE.yaml ...] [--minutes M]

Each task is ingested, searched for M minutes (cross-fitted scores and the distilled model
included) and judged once for each allowed loss. ``simulator`` simulates a platform and takes all
its posts as unlabelled rows. *Saved* is the share of holdout rows that never reach the heavy model;
*at most* is what a filter without a fault would save, as every flagged row has to pass; *lost*
counts the holdout rows that the heavy model flags among them. *Unproven* is what would be saved by
the plain quantile of the same evidence, a rule that breaks its promise every other time.
The last line is one JSON object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.config import CascadeConfig, RunConfig, load_config
from tidegate.data.ingest import ingest
from tidegate.data.simulate import World, simulate
from tidegate.evaluation.steps import evaluate_candidate
from tidegate.features.matrices import featurize
from tidegate.models.bundle import load_bundle, with_decision_rule
from tidegate.models.candidate import LIGHT_FOLDER, assemble_candidate, served_bundle
from tidegate.models.quality import average_precision
from tidegate.records import LIGHT, BaselineModel
from tidegate.search.local import run_search
from tidegate.store import read_table

HERE = Path(__file__).resolve().parent
TASKS = ("edos", "spamassassin", "simulator")
COLUMNS = (
    *("task", "heavy", "allowed", "flagged rows", "saved", "at most", "95 % of it"),
    *("lost", "recall lost"),
    *("AP heavy", "AP cascade", "ms heavy", "ms cascade", "unproven"),
)
_TIMED_ROWS = 200


def config_of(task: str, folder: Path, accounts: int) -> RunConfig:
    """Return a task's configuration, after simulating it where it is the simulator's."""
    if task != "simulator":
        path = Path(task) if task.endswith(".yaml") else HERE.parent / "examples" / f"{task}.yaml"
        return load_config(path)
    simulate(folder / "platform", World(accounts=accounts), 0)
    # Labelled training rows were chosen by their difficulty: they show nothing of other rows.
    return load_config(
        folder / "platform" / "config.yaml",
        ["data.unlabelled=posts.parquet", "policy.cascade={evidence: [validation, unlabelled]}"],
    )


def candidate_of(config: RunConfig, asked: argparse.Namespace, folder: Path) -> str:
    """Search and assemble ``folder/candidate``; return the winner."""
    ingest(config.data, name=config.name, source_digest="", out=folder / "snapshot")
    started = time.monotonic()
    budget = {"minutes": asked.minutes, "trials": asked.trials}
    search = config.search.model_copy(
        update={**budget, "distill": True, "crossfit_folds": asked.folds, "parallel": 2}
    )
    config = config.model_copy(update={"search": search})
    featurize(folder / "snapshot", config.features_in_time, folder / "features")
    left = asked.minutes - (time.monotonic() - started) / 60
    search = search.model_copy(update={"minutes": max(0.05, left)})
    result = run_search(folder / "features", search, folder / "search")
    assemble_candidate(
        config.name,
        snapshot=folder / "snapshot",
        features=folder / "features",
        search=folder / "search",
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
        out=folder / "candidate",
    )
    return result.trials[result.best].algorithm


def row_ms(bundle: Any, rows: Any) -> float:
    """Return the mean milliseconds of scoring rows one by one: most of a cascade's are light."""
    taken = []
    for row in rows.head(_TIMED_ROWS).to_dict("records"):
        began = time.perf_counter()
        bundle.score_rows([row])
        taken.append(time.perf_counter() - began)
    return 1000 * float(np.mean(taken))


def unproven_share(folder: Path, validation: Any, holdout: Any, cut: float, loss: float) -> float:
    """Return what the plain quantile of all evidence would save on the holdout."""
    pairs = [(validation[LIGHT].to_numpy(), validation["score"].to_numpy())]
    place = folder / "candidate" / LIGHT_FOLDER / "agreement.parquet"
    if place.is_file():
        further = read_table(place)
        pairs.append((further["light"].to_numpy(), further["heavy"].to_numpy()))
    flagged = np.concatenate([light[heavy >= cut] for light, heavy in pairs])
    return float((holdout[LIGHT] < np.quantile(flagged, loss)).mean()) if flagged.size else 0.0


def judged(config: RunConfig, folder: Path, loss: float) -> dict[str, Any]:
    """Judge the candidate at one allowed loss and time both bundles on the holdout."""
    rules = (config.policy.cascade or CascadeConfig()).model_copy(
        update={"max_recall_loss": loss, "overload_recall_loss": max(loss, 0.05)}
    )
    policy = config.policy.model_copy(update={"cascade": rules})
    report = evaluate_candidate(folder / "candidate", policy, folder / "evaluation")
    cascade = report.cascade
    assert cascade is not None
    scored = folder / "candidate" / "scored"
    validation, holdout = (read_table(scored / f"{s}.parquet") for s in ("validation", "holdout"))
    y, weight = holdout["label"].to_numpy(), holdout["weight"].to_numpy()
    heavy_score = holdout["score"].to_numpy()
    found: dict[str, Any] = {
        "allowed": loss,
        "threshold": report.threshold,
        "pass_through": cascade.pass_through,
        "reason": cascade.reason,
        "evidence": {source: of.model_dump() for source, of in cascade.evidence.items()},
        "flagged": sum(of.flagged for of in cascade.evidence.values()),
        "flagged_needed": cascade.flagged_needed,
        "average_precision_heavy": average_precision(y, heavy_score, weight),
        "share_saved_ci": cascade.share_saved_ci,
        "curve": [point.model_dump() for point in cascade.curve],
        "holdout": cascade.holdout.model_dump() if cascade.holdout else None,
        "average_precision": report.average_precision,
    }
    if report.threshold is not None and LIGHT in validation:
        cut = cascade.threshold or report.threshold
        found["unproven_share"] = unproven_share(folder, validation, holdout, cut, loss)
    rows = read_table(folder / "snapshot" / "holdout.parquet")
    found["heavy_ms"] = row_ms(load_bundle(folder / "candidate" / "bundle"), rows)
    if cascade.pass_through is not None:
        served = served_bundle(folder / "candidate", cascade, folder / "served")
        with_decision_rule(
            served,
            folder / "served",
            threshold=report.threshold,
            min_precision=report.min_precision,
            confidence=report.confidence,
        )
        found["cascade_ms"] = row_ms(load_bundle(folder / "served"), rows)
    return found


def cells(task: str, heavy: str, found: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    of, ci = found["holdout"], found["share_saved_ci"]
    flagged = f"{found['flagged']:,} of {found['flagged_needed']:,}"
    saved = f"{of['stopped'] / of['rows']:.1%}" if of else "refused"
    unproven = found.get("unproven_share")
    return [
        *(task, heavy, f"{found['allowed']:g}", flagged, saved),
        f"{1 - of['flagged'] / of['rows']:.1%}" if of else "",
        f"{ci[0]:.1%} to {ci[1]:.1%}" if ci else "",
        f"{of['flagged_lost']} of {of['flagged']}" if of else "",
        f"{of['recall_lost']:.4f}, at most {of['recall_lost_upper_bound']:.4f}" if of else "",
        f"{found['average_precision_heavy']:.4f}",
        f"{found['average_precision']:.4f}" if of else "",
        f"{found['heavy_ms']:.1f}",
        f"{found['cascade_ms']:.1f}" if of else "",
        "" if unproven is None else f"{unproven:.1%}",
    ]


def main() -> None:
    """Run every task, print the table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", nargs="+", default=list(TASKS), metavar="NAME")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each search")
    parser.add_argument("--trials", type=int, help="a search of so many trials instead")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-fitted scores")
    parser.add_argument("--losses", type=float, nargs="+", default=[0.002, 0.005, 0.01, 0.02, 0.05])
    parser.add_argument("--accounts", type=int, default=4000, help="of the simulator")
    asked = parser.parse_args()
    told: dict[str, Any] = {"benchmark": "cascade", "minutes": asked.minutes, "tasks": {}}
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for task in asked.task:
        with tempfile.TemporaryDirectory(prefix="cascade-") as scratch:
            folder = Path(scratch)
            config = config_of(task, folder, asked.accounts)
            heavy = candidate_of(config, asked, folder)
            figures = [judged(config, folder, loss) for loss in asked.losses]
        for found in figures:
            print("| " + " | ".join(cells(config.name, heavy, found)) + " |", flush=True)
        told["tasks"][config.name] = {"heavy": heavy, "allowed": figures}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
