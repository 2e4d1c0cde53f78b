"""How often the promised precision holds, and what it costs in recall.

Each round draws a validation sample, chooses a threshold, and looks at the population: does the
threshold keep the floor there? A refusal breaks no promise and counts as kept; the table tells
the share among the thresholds found as well.

``python benchmarks/threshold_promise.py`` draws from a built-in population whose precision at
every threshold is known; ``--scored PATH`` resamples the rows of scored tables (``label``,
``score``) and takes all of them as the population.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.evaluation.threshold import choose_threshold, empirical_threshold

Array = npt.NDArray[np.float64]
Rule = Callable[[Array, Array], float | None]


def synthetic(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw rows whose chance of violating is the given function of a uniform score."""
    scores = rng.random(rows)
    return scores, (rng.random(rows) < _chance(scores)).astype(float)


def _chance(scores: Array) -> Array:
    return 0.01 + 0.98 * (1 - (1 - scores) ** 2)


def _true_figures(cut: float) -> tuple[float, float]:
    """Integrate the chance of violating over the scores above the cut."""

    def violating(share: float) -> float:
        return 0.99 * share - 0.98 * share**3 / 3

    flagged = min(max(1 - cut, 1e-12), 1.0)
    return violating(flagged) / flagged, violating(flagged) / violating(1.0)


def rules(floor: float, confidence: float) -> dict[str, Rule]:
    """Return the rules to compare, each from a sample to a cut."""

    def promised(scores: Array, labels: Array) -> float | None:
        found = choose_threshold(scores, labels, min_precision=floor, confidence=confidence)
        return None if found is None else found.value

    def plain(scores: Array, labels: Array) -> float | None:
        return empirical_threshold(scores, labels, min_precision=floor)

    return {"fixed sequence": promised, "plain empirical": plain}


def play(
    draw: Callable[[np.random.Generator], tuple[Array, Array]],
    truth: Callable[[float], tuple[float, float]],
    *,
    floor: float,
    confidence: float,
    rounds: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return per rule how often the floor holds, how often a threshold is found, and recall."""
    rng = np.random.default_rng(seed)
    outcomes: dict[str, list[tuple[bool, bool, float]]] = {}
    for _ in range(rounds):
        scores, labels = draw(rng)
        for name, rule in rules(floor, confidence).items():
            cut = rule(scores, labels)
            precision, recall = (1.0, 0.0) if cut is None else truth(cut)
            outcomes.setdefault(name, []).append((precision >= floor, cut is not None, recall))
    return {
        name: {
            "promise_kept": float(np.mean([kept for kept, _, _ in rows])),
            "kept_when_found": float(np.mean([kept for kept, found, _ in rows if found] or [1.0])),
            "found": float(np.mean([found for _, found, _ in rows])),
            "recall": float(np.mean([recall for _, _, recall in rows])),
        }
        for name, rows in outcomes.items()
    }


def _scored(paths: Sequence[Path]) -> tuple[Array, Array]:
    import pandas as pd

    frame: Any = pd.concat([pd.read_parquet(path, columns=["label", "score"]) for path in paths])
    return frame["score"].to_numpy(dtype=float), frame["label"].to_numpy(dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--scored", type=Path, nargs="+", help="scored Parquet tables")
    parser.add_argument("--rows", type=int, default=1900, help="rows a validation sample")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--min-precision", type=float, default=0.9)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.scored:
        all_scores, all_labels = _scored(asked.scored)
        order = np.argsort(-all_scores)
        ranked, right = all_scores[order], np.cumsum(all_labels[order])

        def draw(rng: np.random.Generator) -> tuple[Array, Array]:
            rows = rng.integers(0, all_scores.size, asked.rows)
            return all_scores[rows], all_labels[rows]

        def truth(cut: float) -> tuple[float, float]:
            flagged = int(np.searchsorted(-ranked, -cut, side="right"))
            return float(right[flagged - 1] / flagged), float(right[flagged - 1] / right[-1])

    else:

        def draw(rng: np.random.Generator) -> tuple[Array, Array]:
            return synthetic(asked.rows, rng)

        truth = _true_figures
    begin = time.perf_counter()
    found = play(
        draw,
        truth,
        floor=asked.min_precision,
        confidence=asked.confidence,
        rounds=asked.rounds,
        seed=asked.seed,
    )
    kept = found["fixed sequence"]["promise_kept"]
    error = math.sqrt(kept * (1 - kept) / asked.rounds)
    print(
        f"{asked.rounds} samples of {asked.rows} rows; floor {asked.min_precision:g} "
        f"with {asked.confidence:g} confidence (standard error {error:.3f})\n"
    )
    columns = ("promise_kept", "kept_when_found", "found", "recall")
    print(f"{'rule':<18}" + "".join(f"{name.replace('_', ' '):>17}" for name in columns))
    for name, row in found.items():
        print(f"{name:<18}" + "".join(f"{row[column]:>17.3f}" for column in columns))
    print()
    figures = {
        "benchmark": "threshold_promise",
        "population": "scored" if asked.scored else "synthetic",
        "rows": asked.rows,
        "rounds": asked.rounds,
        "min_precision": asked.min_precision,
        "confidence": asked.confidence,
        "rules": {name.replace(" ", "_"): row for name, row in found.items()},
        "seconds": round(time.perf_counter() - begin, 2),
    }
    print(json.dumps(figures))


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the paragraphs of the description and show the defaults."""


if __name__ == "__main__":
    main()
