"""How often the fairness gate passes, fails and abstains, simulated where the true gap is known.

A model with a true gap beyond the limit should hardly ever pass, one within it hardly ever fail:
each at most half of one minus the confidence. Run as
``python benchmarks/fairness_gate.py [--rounds 1000] [--confidence 0.95]``.
"""

import argparse
import json
from typing import Any

import numpy as np
import pandas as pd

from tidegate.config import PolicyConfig
from tidegate.evaluation.fairness import audit

LIMIT = 0.05
BASE = 0.05
VIOLATING = 0.2

# name: harmless-and-violating rows a group, true gap in false-positive rate, share of two groups
SETTINGS: dict[str, tuple[tuple[int, ...], float, float]] = {
    "2 groups of 2000, no gap": ((2000, 2000), 0.0, 0.0),
    "2 groups of 2000, gap at the limit": ((2000, 2000), LIMIT, 0.0),
    "2 groups of 2000, gap 1.5 x limit": ((2000, 2000), 1.5 * LIMIT, 0.0),
    "2 groups of 10000, gap at half": ((10000, 10000), LIMIT / 2, 0.0),
    "2 groups of 10000, gap 1.5 x limit": ((10000, 10000), 1.5 * LIMIT, 0.0),
    "5 uneven groups, gap at the limit": ((4000, 2000, 1000, 500, 250), LIMIT, 0.0),
    "20 groups of 1000, no gap": ((1000,) * 20, 0.0, 0.0),
    "20 groups of 1000, gap at the limit": ((1000,) * 20, LIMIT, 0.0),
    "2 groups of 150, gap at the limit": ((150, 150), LIMIT, 0.0),
    "2 groups of 60, gap at the limit": ((60, 60), LIMIT, 0.0),
    "3 groups of 2000, gap at the limit, 30 % overlap": ((2000,) * 3, LIMIT, 0.3),
}


def holdout(rng: np.random.Generator, sizes: tuple[int, ...], gap: float, overlap: float) -> Any:
    """Half of the groups are at the base rate, the others at base + gap; scores are calibrated."""
    frames = []
    for i, size in enumerate(sizes):
        label = (rng.random(size) < VIOLATING).astype(int)
        rate = np.where(label == 1, 0.7, BASE + (gap if i >= len(sizes) / 2 else 0.0))
        flagged = rng.random(size) < rate
        names: Any = [f"g{i}"] * size
        if overlap:
            # Rows of two groups of one rate, so that the true gap stays what it is said to be.
            other = f"g{i ^ 1}" if i < 2 else f"g{i}"
            names = [[f"g{i}", other] if both else [f"g{i}"] for both in rng.random(size) < overlap]
        frames.append(pd.DataFrame({"label": label, "score": np.where(flagged, 0.9, 0.1)}))
        frames[-1]["group"] = names
    return pd.concat(frames, ignore_index=True)


def outcomes(name: str, rounds: int, policy: PolicyConfig, seed: int) -> dict[str, Any]:
    sizes, gap, overlap = SETTINGS[name]
    if overlap:
        gap_groups = [i for i in range(len(sizes)) if i >= len(sizes) / 2]
        assert gap_groups == [2], "the overlapping groups g0 and g1 share one rate"
    rng = np.random.default_rng(seed)
    counted = {"pass": 0, "fail": 0, "insufficient_data": 0}
    covered = 0
    for _ in range(rounds):
        rows = holdout(rng, sizes, gap, overlap)
        _, report = audit(rows, groups=["group"], threshold=0.5, policy=policy)
        counted[report.verdict] += 1
        low, high = next(g.gap_ci for g in report.gaps if g.metric == "fpr")
        covered += low <= gap <= high
    shares = {verdict: count / rounds for verdict, count in counted.items()}
    wrong = shares["pass"] if gap >= LIMIT else shares["fail"]
    return {"true_gap": gap, **shares, "wrong": wrong, "interval_holds": covered / rounds}


def calibration_coverage(rounds: int, policy: PolicyConfig, seed: int) -> dict[str, float]:
    """Return how often a group's interval holds its true calibration gap, by its rows."""
    rng = np.random.default_rng(seed)
    found = {}
    for size in (60, 200, 2000):
        covered = 0
        for _ in range(rounds):
            truth = rng.beta(0.5, 3.0, size)
            label = (rng.random(size) < truth).astype(int)
            # Scores a tenth too high in log-odds terms: the true gap is their mean excess.
            score = truth * 1.1 / (1 + 0.1 * truth)
            rows = pd.DataFrame({"label": label, "score": score, "group": "g"})
            (group,), _ = audit(rows, groups=["group"], threshold=0.5, policy=policy)
            low, high = group.calibration_ci or (0.0, 0.0)
            covered += low <= EXCESS <= high
        found[f"{size} rows"] = covered / rounds
    return found


def _excess() -> float:
    truth = np.random.default_rng(99).beta(0.5, 3.0, 2_000_000)
    return float((truth * 1.1 / (1 + 0.1 * truth) - truth).mean())


EXCESS = _excess()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    policy = PolicyConfig(max_fpr_gap=LIMIT, confidence=given.confidence)
    found = {}
    print(f"{'':52}{'pass':>8}{'fail':>8}{'abstain':>9}{'wrong':>8}{'holds':>8}")
    for name in SETTINGS:
        f = found[name] = outcomes(name, given.rounds, policy, given.seed)
        print(
            f"{name:52}{f['pass']:8.1%}{f['fail']:8.1%}{f['insufficient_data']:9.1%}"
            f"{f['wrong']:8.1%}{f['interval_holds']:8.1%}"
        )
    calibration = calibration_coverage(given.rounds, policy, given.seed)
    for rows, share in calibration.items():
        print(f"calibration interval of a group of {rows:10} holds the truth {share:6.1%}")
    figures = {
        "rounds": given.rounds,
        "confidence": given.confidence,
        "settings": found,
        "calibration_coverage": calibration,
        "worst_wrong": max(f["wrong"] for f in found.values()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
