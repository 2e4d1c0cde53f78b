"""How often the promised precision holds, and what it costs in recall.

Each round draws a validation sample, chooses a threshold by each rule, and looks at the
population: does the threshold keep the floor there? A refusal breaks no promise and counts as
kept; the table tells how often a threshold was found, and the share kept among those.

``threshold_promise.py`` draws from a built-in population whose precision at every threshold is
known. ``--scored PATH...`` resamples the rows of scored tables (``label``, ``score``) and takes all
of them as the population; with ``--crossfit PATH`` (``benchmarks/crossfit_scores.py`` writes one)
each round also draws training rows from that population, each scored by the model of a random
fold. ``--retrain`` trains the model and the models of its folds anew in every round, on synthetic
rows whose every probability is known, so that the folds depend on each other as they really do.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.crossfit import Fold
from tidegate.evaluation.intervals import exact_tail
from tidegate.evaluation.ranking import rank
from tidegate.evaluation.threshold import (
    choose_threshold,
    empirical_threshold,
    minimum_flagged,
)

Array = npt.NDArray[np.float64]
Truth = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Sample:
    """One round: validation rows, the folds, and precision and recall at any cut."""

    scores: Array
    labels: Array
    folds: tuple[Fold, ...]
    truth: Truth


Draw = Callable[[np.random.Generator], Sample]


def known_population(rows: int) -> Draw:
    """Draw rows whose chance of violating is a given function of a uniform score."""

    def truth(cut: float) -> tuple[float, float]:
        def violating(share: float) -> float:
            return 0.99 * share - 0.98 * share**3 / 3

        flagged = min(max(1 - cut, 1e-12), 1.0)
        return violating(flagged) / flagged, violating(flagged) / violating(1.0)

    def draw(rng: np.random.Generator) -> Sample:
        scores = rng.random(rows)
        chance = 0.01 + 0.98 * (1 - (1 - scores) ** 2)
        return Sample(scores, (rng.random(rows) < chance).astype(float), (), truth)

    return draw


def real_population(
    paths: Sequence[Path], crossfit: Path | None, rows: int, train_rows: int
) -> Draw:
    """Resample the rows of scored tables, and training rows scored by the models of folds."""
    import pandas as pd

    tables: list[Any] = [pd.read_parquet(path) for path in paths]
    scores = np.concatenate([table["score"].to_numpy(dtype=float) for table in tables])
    labels = np.concatenate([table["label"].to_numpy(dtype=float) for table in tables])
    by_fold = np.empty((0, scores.size))
    if crossfit is not None:
        seen: Any = pd.read_parquet(crossfit)
        numbers = sorted(seen["fold"].unique())
        ids = pd.concat([table["id"] for table in tables])
        by_fold = np.stack(
            [
                seen[(seen["fold"] == k) & (seen["split"] != "train")]
                .set_index("id")["score"]
                .loc[ids]
                for k in numbers
            ]
        )
    order = np.argsort(-scores)
    ranked, right = scores[order], np.cumsum(labels[order])

    def truth(cut: float) -> tuple[float, float]:
        flagged = int(np.searchsorted(-ranked, -cut, side="right"))
        return float(right[flagged - 1] / flagged), float(right[flagged - 1] / right[-1])

    def draw(rng: np.random.Generator) -> Sample:
        own = rng.integers(0, scores.size, rows)
        folds = []
        for k in range(len(by_fold)):
            other = rng.integers(0, scores.size, train_rows // len(by_fold))
            weight = np.ones(other.size)
            folds.append(Fold(by_fold[k, other], labels[other], weight, by_fold[k, own]))
        return Sample(scores[own], labels[own], tuple(folds), truth)

    return draw


def retrained(rows: int, train_rows: int, folds: int, features: int = 20) -> Draw:
    """Train a logistic regression and the models of its folds anew in every round."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(99)
    coefficients = rng.normal(size=features) * 0.9

    def made(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        X = rng.normal(size=(count, features))
        X[:, 0] += 0.3 * X[:, 1] ** 2
        return X, 1 / (1 + np.exp(-(X @ coefficients) - 0.5 * X[:, 2] * X[:, 3] + 1.5))

    world, chance = made(100_000, rng)

    def draw(rng: np.random.Generator) -> Sample:
        def fit(X: Array, y: Array) -> Any:
            return LogisticRegression(C=1.0).fit(X, y)

        X, p = made(train_rows, rng)
        y = (rng.random(train_rows) < p).astype(float)
        V, q = made(rows, rng)
        labels = (rng.random(rows) < q).astype(float)
        model = fit(X, y)
        fold = np.arange(train_rows) % folds
        found = []
        for k in range(folds):
            other = fit(X[fold != k], y[fold != k])
            out = other.predict_proba(X[fold == k])[:, 1]
            weight = np.ones(out.size)
            found.append(Fold(out, y[fold == k], weight, other.predict_proba(V)[:, 1]))
        scored = model.predict_proba(world)[:, 1]

        def truth(cut: float) -> tuple[float, float]:
            flagged = scored >= cut
            right = float(chance[flagged].sum())
            return right / max(int(flagged.sum()), 1), right / float(chance.sum())

        return Sample(model.predict_proba(V)[:, 1], labels, tuple(found), truth)

    return draw


def examined(sample: Sample, floor: float, confidence: float) -> dict[str, float | None]:
    """Return the cuts of other valid procedures on the same validation rows.

    Fixed sequences from other starts; fallback procedures (Wiens, Pharmaceutical Statistics 2,
    2003), which restart with a share of the level that a first failure cannot spend; and one bound
    for 30 thresholds at once (Bonferroni).
    """
    ranked = rank(sample.scores, sample.labels)
    fewest = minimum_flagged(floor, confidence) or 1
    level = 1 - confidence

    def fallback(starts: Sequence[float], shares: Sequence[float]) -> float | None:
        ranks = [max(fewest, math.ceil(start * ranked.violating)) for start in starts]
        tried = ranked.grid(ranks[0])
        mass = ranked.mass(tried)
        tails = exact_tail(ranked.hits(tried), mass, floor)
        given = np.zeros(tried.size + 1)
        np.add.at(given, np.searchsorted(mass, ranks), shares)
        carried, chosen = 0.0, None
        for i, cut in enumerate(tried):
            carried += given[i]
            if tails[i] <= carried * level:
                chosen = ranked.serving_cut(cut)
            else:
                carried = 0.0
        return chosen

    spread = np.unique(np.geomspace(fewest, ranked.total, 30).round())
    together = ranked.cuts_at(spread)
    together = together[np.isfinite(together)]
    tails = exact_tail(ranked.hits(together), ranked.mass(together), floor)
    kept = np.flatnonzero(tails <= level / spread.size)
    return {
        "start at 0.15": fallback([0.15], [1.0]),
        "start at 0.35": fallback([0.35], [1.0]),
        "fallback, 2 starts": fallback([0.25, 0.35], [0.5, 0.5]),
        "fallback, 3 starts": fallback([0.15, 0.25, 0.35], [1 / 3] * 3),
        "30 at once": ranked.serving_cut(together[kept[-1]]) if kept.size else None,
    }


def cuts(sample: Sample, floor: float, confidence: float) -> dict[str, float | None]:
    """Return each rule's cut."""
    wanted = {"min_precision": floor, "confidence": confidence}

    def promised(folds: tuple[Fold, ...], evidence: Any) -> float | None:
        found = choose_threshold(
            sample.scores, sample.labels, folds=folds, evidence=evidence, **wanted
        )
        return None if found is None else found.value

    plain = empirical_threshold(sample.scores, sample.labels, min_precision=floor)
    chosen = {"plain empirical": plain, "fixed sequence": promised((), "validation")}
    if sample.folds:
        chosen["folds: start"] = promised(sample.folds, "start")
        chosen["folds: combined"] = promised(sample.folds, "combined")
    return chosen


def play(
    draw: Draw, *, floor: float, confidence: float, rounds: int, seed: int, others: bool
) -> dict[str, dict[str, float]]:
    """Return per rule how often the floor holds, how often a threshold is found, and recall."""
    rng = np.random.default_rng(seed)
    outcomes: dict[str, list[tuple[bool, bool, float]]] = {}
    for _ in range(rounds):
        sample = draw(rng)
        found = cuts(sample, floor, confidence)
        if others:
            found |= examined(sample, floor, confidence)
        for name, cut in found.items():
            precision, recall = (1.0, 0.0) if cut is None else sample.truth(cut)
            outcomes.setdefault(name, []).append((precision >= floor, cut is not None, recall))
    figures = {}
    for name, rows in outcomes.items():
        kept = float(np.mean([kept for kept, _, _ in rows]))
        figures[name] = {
            "promise_kept": kept,
            "standard_error": math.sqrt(kept * (1 - kept) / rounds),
            "kept_when_found": float(np.mean([kept for kept, found, _ in rows if found] or [1.0])),
            "found": float(np.mean([found for _, found, _ in rows])),
            "recall": float(np.mean([recall for _, _, recall in rows])),
        }
    return figures


def known_threshold(sample: Sample, *, floor: float, confidence: float) -> dict[str, float]:
    """Return what one exact test reaches if an oracle names the one threshold to test.

    ``recall`` is the best recall times power of any single threshold, ``recall_at_half_power`` the
    recall of the lowest threshold that passes half of the time: validation rows alone cannot tell
    a lower one from a broken promise more often than that.
    """
    from scipy.stats import binom

    best, half = 0.0, 0.0
    prevalence = sample.truth(float("-inf"))[0]
    for cut in np.quantile(sample.scores, np.linspace(0.01, 0.99, 197)):
        precision, recall = sample.truth(float(cut))
        rows = round(sample.scores.size * recall * prevalence / precision)
        passing = exact_tail(np.arange(rows + 1), rows, floor) <= 1 - confidence
        power = float(binom.sf(rows - passing.sum(), rows, precision)) if passing.any() else 0.0
        best = max(best, power * recall)
        half = max(half, recall if power >= 0.5 else 0.0)
    return {"recall": best, "recall_at_half_power": half}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--scored", type=Path, nargs="+", help="scored Parquet tables")
    parser.add_argument("--crossfit", type=Path, help="fold scores of the same rows")
    parser.add_argument("--retrain", action="store_true", help="train anew in every round")
    parser.add_argument("--rows", type=int, default=1900, help="rows a validation sample")
    parser.add_argument("--train-rows", type=int, default=15_000)
    parser.add_argument("--folds", type=int, default=5, help="folds of --retrain")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--min-precision", type=float, default=0.9)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examined", action="store_true", help="other procedures as well")
    asked = parser.parse_args()
    if asked.scored:
        draw = real_population(asked.scored, asked.crossfit, asked.rows, asked.train_rows)
    elif asked.retrain:
        draw = retrained(asked.rows, asked.train_rows, asked.folds)
    else:
        draw = known_population(asked.rows)
    begin = time.perf_counter()
    found = play(
        draw,
        floor=asked.min_precision,
        confidence=asked.confidence,
        rounds=asked.rounds,
        seed=asked.seed,
        others=asked.examined,
    )
    print(
        f"{asked.rounds} samples of {asked.rows} rows; floor {asked.min_precision:g} "
        f"with {asked.confidence:g} confidence\n"
    )
    columns = ("promise_kept", "standard_error", "kept_when_found", "found", "recall")
    print(f"{'rule':<18}" + "".join(f"{name.replace('_', ' '):>17}" for name in columns))
    for name, row in found.items():
        print(f"{name:<18}" + "".join(f"{row[column]:>17.3f}" for column in columns))
    lost = {name: found["plain empirical"]["recall"] - row["recall"] for name, row in found.items()}
    share = lost["folds: combined"] / lost["fixed sequence"] if "folds: combined" in lost else None
    if share is not None:
        print(f"\ncombined loses {share:.0%} of the recall that the fixed sequence loses")
    sample = draw(np.random.default_rng(asked.seed))
    oracle = known_threshold(sample, floor=asked.min_precision, confidence=asked.confidence)
    print(
        f"\nvalidation rows alone, told the one threshold to test: recall {oracle['recall']:.3f}; "
        f"passes half of the time at recall {oracle['recall_at_half_power']:.3f}\n"
    )
    figures = {
        "benchmark": "threshold_promise",
        "population": "scored" if asked.scored else "retrained" if asked.retrain else "synthetic",
        "rows": asked.rows,
        "rounds": asked.rounds,
        "min_precision": asked.min_precision,
        "confidence": asked.confidence,
        "rules": {name.replace(" ", "_").replace(":", ""): row for name, row in found.items()},
        "share_of_loss_left": share,
        "known_threshold": oracle,
        "seconds": round(time.perf_counter() - begin, 2),
    }
    print(json.dumps(figures))


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the paragraphs of the description and show the defaults."""


if __name__ == "__main__":
    main()
