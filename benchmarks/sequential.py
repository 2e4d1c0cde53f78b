"""Whether always-valid evidence keeps its error over all looks, and how soon it finds harm.

Every path is read after every row. *missed* is the share of paths whose interval ever excluded the
truth; it may be at most the stated error. *rows to find* is the median number of candidate rows
until harm is shown, where a z-test with a fixed number of rows needs the number beside it (80 %
power, read once). Then whole releases: equal models that may never be rolled back, and bad ones
that must be stopped at the first look that sees them. Run as
``python benchmarks/sequential.py [--paths 1000] [--rows 2000] [--releases 200] [--runs 20]``.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.release_sample import (
    CONFIG,
    POLICY,
    equal,
    ops_counts,
    summed,
    with_ops,
    with_platform,
    with_scores,
)
from tidegate.evaluation.sequential import (
    MeanSums,
    asymptotic_bounds,
    difference_above,
    is_shown,
    mean_above,
    paired_above,
    share_above,
)
from tidegate.rollout.analysis import analyse
from tidegate.rollout.evidence import Evidence, OpsEvidence

Rng = np.random.Generator
Shape = tuple[int, int]
ERROR = 0.05
CHUNK = 50


def two_sided(above: Any, below: Any) -> Any:
    return (is_shown(above, ERROR / 2) | is_shown(below, ERROR / 2)).any(axis=-1)


def share(rng: Rng, shape: Shape, p: float) -> Any:
    hits, n = (rng.random(shape) < p).cumsum(axis=1), np.arange(1, shape[1] + 1)
    return two_sided(share_above(hits, n, p), share_above(n - hits, n, 1 - p))


def difference(rng: Rng, shape: Shape, p: float, q: float, many: int) -> Any:
    k, n = (rng.random(shape) < p).cumsum(axis=1), np.arange(1, shape[1] + 1)
    j = rng.binomial(many, q, shape).cumsum(axis=1)
    other = (j, many * n)
    return two_sided(difference_above(k, n, *other, p - q), difference_above(*other, k, n, q - p))


def paired(rng: Rng, shape: Shape, gain: float, loss: float) -> Any:
    draw, n = rng.random(shape), np.arange(1, shape[1] + 1)
    up, down = (draw < gain).cumsum(axis=1), (draw > 1 - loss).cumsum(axis=1)
    return two_sided(paired_above(up, down, n, gain - loss), paired_above(down, up, n, loss - gain))


def weighted(rng: Rng, shape: Shape, p: float, least: float) -> Any:
    value = (rng.random(shape) < p).astype(float)
    chance = np.where(rng.random(shape) < 0.5, 1.0, least)
    w = (rng.random(shape) < chance) / chance
    parts = (np.ones(shape), w, w * value, w * w, w * w * value, w * w * value)
    sums = MeanSums(*(part.cumsum(axis=1) for part in parts))
    mirrored = MeanSums(sums.rows, sums.w, -sums.wx, sums.ww, -sums.wwx, sums.wwxx)
    weight = 1 / least
    return two_sided(
        mean_above(sums, p, max_weight=weight),
        mean_above(mirrored, -p, low=-1.0, high=0.0, max_weight=weight),
    )


def asymptotic(rng: Rng, shape: Shape) -> Any:
    x, n = rng.exponential(3.0, shape), np.arange(1, shape[1] + 1)
    mean = x.cumsum(axis=1) / n
    deviation = np.sqrt(np.maximum((x**2).cumsum(axis=1) / n - mean**2, 0) / n)
    low, high = asymptotic_bounds(mean, deviation, n, ERROR, tuned_rows=shape[1] / 2)
    return ((low > 3.0) | (high < 3.0))[:, 100:].any(axis=1)


CASES = {
    "share 0.01": lambda rng, shape: share(rng, shape, 0.01),
    "share 0.3": lambda rng, shape: share(rng, shape, 0.3),
    "share 0.95": lambda rng, shape: share(rng, shape, 0.95),
    "difference 0.01 - 0.01, 19 times the rows": lambda rng, shape: difference(
        rng, shape, 0.01, 0.01, 19
    ),
    "difference 0.4 - 0.3": lambda rng, shape: difference(rng, shape, 0.4, 0.3, 1),
    "paired +0.1 -0.05": lambda rng, shape: paired(rng, shape, 0.1, 0.05),
    "weighted mean 0.9, weights to 5": lambda rng, shape: weighted(rng, shape, 0.9, 0.2),
    "weighted mean 0.5, weights to 20": lambda rng, shape: weighted(rng, shape, 0.5, 0.05),
    "asymptotic, exponential, from row 100": asymptotic,
}


def coverage(paths: int, rows: int) -> dict[str, float]:
    found = {}
    for number, (name, once) in enumerate(CASES.items()):
        rng = np.random.default_rng(number)
        missed = [once(rng, (CHUNK, rows)).mean() for _ in range(max(1, paths // CHUNK))]
        found[name] = float(np.mean(missed))
        print(f"{name:45} missed {found[name]:.4f} of at most {ERROR}", flush=True)
    return found


def rows_to_find(paths: int = 200, error: float = 1e-4) -> dict[str, Any]:
    """Errors of 1 % against more, one row of the candidate to nineteen of the baseline."""
    from scipy.stats import norm

    found = {}
    for bad in (0.02, 0.03, 0.05, 0.2):
        rng = np.random.default_rng(0)
        n = np.arange(20, 20_001, 20)
        k = rng.binomial(20, bad, (paths, n.size)).cumsum(axis=1)
        j = rng.binomial(380, 0.01, (paths, n.size)).cumsum(axis=1)
        shown = is_shown(difference_above(k, n, j, 19 * n), error)
        first = np.where(shown.any(axis=1), n[shown.argmax(axis=1)], n[-1])
        z = norm.isf(error) + norm.isf(0.2)
        fixed = z**2 * (bad * (1 - bad) + 0.01 * 0.99 / 19) / (bad - 0.01) ** 2
        found[str(bad)] = {"median_rows": int(np.median(first)), "fixed_rows": round(fixed)}
        print(f"errors {bad:.0%} against 1 %: {found[str(bad)]}", flush=True)
    return found


def equal_releases(count: int, looks: int = 2) -> dict[str, Any]:
    rollbacks = pauses = analyses = 0
    began = time.process_time()
    for seed in range(count):
        rng, memory = np.random.default_rng(1000 + seed), {}
        for step, percent in enumerate(CONFIG.steps):
            total = None
            for _ in range(looks):
                evidence = equal(rng, step=step, percent=percent, requests=500, rows=250)
                ops = evidence.ops
                if total is not None:
                    ops = OpsEvidence(
                        summed(total.candidate, ops.candidate), summed(total.baseline, ops.baseline)
                    )
                total = ops
                evidence = replace(evidence, ops=ops)
                analysis, memory = analyse(evidence, CONFIG, memory, policy=POLICY)
                analyses += 1
                rollbacks += analysis.verdict == "rollback"
                pauses += analysis.verdict == "pause"
    spent = (time.process_time() - began) / analyses
    found = {"releases": count, "analyses": analyses, "rollbacks": rollbacks, "pauses": pauses}
    print(f"equal models: {found}, {1000 * spent:.0f} ms an analysis", flush=True)
    return {**found, "ms_per_analysis": round(1000 * spent, 1)}


def nan_scores(rng: Rng, e: Evidence) -> Evidence:
    scores = e.decisions.candidate_score.copy()
    scores[:3] = np.nan
    return with_scores(e, scores)


def one_group(rng: Rng, e: Evidence) -> Evidence:
    scores = e.decisions.candidate_score.copy()
    scores[np.array(e.decisions.groups["dialect"]) == "west"] = 0.95
    return with_scores(e, scores)


def flood(rng: Rng, e: Evidence) -> Evidence:
    scores = e.decisions.baseline_score
    return with_scores(e, scores, threshold=float(np.quantile(scores, 0.75)))


def inverted(rng: Rng, e: Evidence) -> Evidence:
    return with_scores(e, 1 - e.decisions.candidate_score)


def leak(rng: Rng, e: Evidence) -> Evidence:
    return with_ops(e, saturation=[(8.0 * i, 0.5 + 0.01 * i) for i in range(8)])


FAULTS = {
    "5xx on 5 % of requests": lambda rng, e: with_ops(
        e, errors=float(rng.binomial(int(e.ops.candidate.requests), 0.05))
    ),
    "p99 three times": lambda rng, e: with_ops(
        e, slower=ops_counts(rng, int(e.ops.candidate.requests), median_ms=36.0).slower
    ),
    "scores that are no number": nan_scores,
    "inverted decisions": inverted,
    "one group of a tenth harmed": one_group,
    "review flood": flood,
    "memory leak": leak,
    "wrong threshold": lambda rng, e: with_platform(e, served_thresholds=frozenset({0.2})),
    "stale model": lambda rng, e: with_platform(e, served_versions=frozenset({"v1"})),
    "crash loop": lambda rng, e: with_platform(e, restarts=4),
    "schema changed": lambda rng, e: with_platform(e, served_outputs=frozenset()),
    "metrics missing": lambda rng, e: replace(e, ops=OpsEvidence(problem="down")),
}


def faults(runs: int = 20) -> dict[str, Any]:
    found = {}
    for name, spoil in FAULTS.items():
        caught = {}
        for requests in (250, 500, 1000):
            verdicts = []
            for seed in range(runs):
                rng = np.random.default_rng(seed)
                e = spoil(rng, equal(rng, requests=requests, rows=min(requests, 500)))
                verdicts.append(analyse(e, CONFIG, {}, policy=POLICY)[0].verdict)
            caught[str(requests)] = sum(verdict != "advance" for verdict in verdicts) / runs
        found[name] = caught
        print(f"{name:30} stopped at the first look, by requests: {caught}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--paths", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--releases", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20)
    given = parser.parse_args()
    print(
        json.dumps(
            {
                "error": ERROR,
                "paths": given.paths,
                "looks": given.rows,
                "missed": coverage(given.paths, given.rows),
                "rows_to_find": rows_to_find(),
                "equal_models": equal_releases(given.releases),
                "faults": faults(given.runs),
            }
        )
    )


if __name__ == "__main__":
    main()
