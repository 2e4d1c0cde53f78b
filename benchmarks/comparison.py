"""How often the paired intervals hold the true difference, and the margin lets a worse model pass.

The candidate is truly worse than the baseline. Figures of two million rows stand for the truth. Run
as ``python benchmarks/comparison.py [--rounds 1000] [--confidence 0.95]``; ``--strengths 4.0 4.2``
compares two models that are nearly right: their figures lie near 1.
"""

import argparse
import json
import time

import numpy as np
import pandas as pd

from tidegate.evaluation.comparison import Baseline, compare
from tidegate.records import Difference

CUTS = (0.75, 0.7)
NAMES = ("average_precision", "roc_auc", "precision", "recall")


def sample(
    rng: np.random.Generator, rows: int, strengths: tuple[float, float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    label = (rng.random(rows) < 0.2).astype(int)
    shared = rng.normal(size=rows)
    scores = [
        1 / (1 + np.exp(-(strength * label - 0.6 + 0.7 * shared + 0.7 * rng.normal(size=rows))))
        for strength in strengths
    ]
    tables = [pd.DataFrame({"label": label, "score": score}) for score in scores]
    return tables[0], tables[1]


def compared(
    rows: tuple[pd.DataFrame, pd.DataFrame], confidence: float, seed: int
) -> dict[str, Difference]:
    baseline = Baseline("old", "in_service", CUTS[1], rows[1])
    return dict(compare(rows[0], CUTS[0], baseline, confidence=confidence, seed=seed).differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--strengths", type=float, nargs=2, default=(1.9, 2.0))
    given = parser.parse_args()
    strengths = (given.strengths[0], given.strengths[1])
    begin = time.process_time()
    truth = {
        name: found.difference
        for name, found in compared(
            sample(np.random.default_rng(99), 2_000_000, strengths), given.confidence, 0
        ).items()
    }
    two_million = time.process_time() - begin
    margin = -truth["average_precision"]
    figures: dict[str, object] = {"truth": truth, "seconds_of_2_million_rows": two_million}
    print(f"comparing 2,000,000 rows takes {two_million:.1f} s of CPU")
    print(f"{'':28}" + "".join(f"{name:>20}" for name in NAMES) + f"{'wrongly in margin':>20}")
    for size in (200, 500, 2000, 50_000):
        title = f"{size:,} rows"
        rng = np.random.default_rng(0)
        held = dict.fromkeys(NAMES, 0)
        passed = 0
        for seed in range(given.rounds):
            found = compared(sample(rng, size, strengths), given.confidence, seed)
            for name in NAMES:
                low, high = found[name].difference_ci
                held[name] += low <= truth[name] <= high
            # The margin is the true loss: to be shown within it would be an error.
            passed += found["average_precision"].difference_ci[0] > -margin
        shares = {name: count / given.rounds for name, count in held.items()}
        figures[title] = {**shares, "wrongly_within_margin": passed / given.rounds}
        print(
            f"{title:28}"
            + "".join(f"{shares[name]:20.1%}" for name in NAMES)
            + f"{passed / given.rounds:20.1%}"
        )
    print(json.dumps({"rounds": given.rounds, "confidence": given.confidence, **figures}))


if __name__ == "__main__":
    main()
