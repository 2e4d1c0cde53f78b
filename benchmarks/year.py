"""A year of a simulated platform: Tidegate's loop against retraining by the calendar.

    python benchmarks/year.py [--weeks 52] [--accounts 1500] [--seed 0] [--parallel 2]
                              [--confidence 0.9]
                              [--policies none,monthly,weekly,tidegate] [--plot docs/year.svg]

Every policy lives on its own platform of the same seed: the same accounts, times and kinds of
post, and authors who answer its own decisions. Measured against the truth, which no policy sees.
The last line is one JSON object.
"""

import argparse
import json
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from year_model import Archive
from year_policies import RECENT_WEEKS, ROWS, Loop, Policy, Scheduled

from tidegate.config import PolicyConfig
from tidegate.data.simulate import Drift, Platform, World
from tidegate.data.simulate.world import START

POLICIES = ("none", "monthly", "weekly", "tidegate")
NAMES = {
    "none": "no retrain",
    "monthly": "retrain every 4 weeks, plain threshold",
    "weekly": "retrain every week, plain threshold",
    "tidegate": "Tidegate's loop",
}
WARM_UP_WEEKS = 6
POLICY = PolicyConfig(min_precision=0.80, confidence=0.90)


def world_of(accounts: int, weeks: int) -> World:
    """Return a year with two of each drift, there and back, at fixed parts of its length."""

    def day(share: float) -> int:
        return 7 * (WARM_UP_WEEKS + round(share * weeks))

    return World(
        accounts=accounts,
        days=7 * (WARM_UP_WEEKS + weeks),
        drifts=(
            Drift("covariate", day(0.12), 0.3),
            Drift("prior", day(0.25), 0.6),
            Drift("concept", day(0.40), 1.0),
            Drift("prior", day(0.55), 1.7),
            Drift("covariate", day(0.70), 0.2),
            Drift("concept", day(0.85), 0.0),
        ),
    )


def week_end(week: int) -> datetime:
    """Return when a week is over and its labels are read."""
    return START + timedelta(days=7 * (week + 1))


def start(name: str, archive: Archive, week: int, seed: int, policy: PolicyConfig) -> Policy:
    """Put a policy in charge of the first model, which is searched for and the same for all."""
    archive.first = archive.search(week, recent_weeks=RECENT_WEEKS, rows=ROWS)
    every = {"none": None, "monthly": 4, "weekly": 1}
    if name == "tidegate":
        # About three weeks' labels.
        fresh = round(2.3 * len(archive.labelled) / WARM_UP_WEEKS)
        return Loop(archive, policy, week, week_end, fresh, seed)
    return Scheduled(archive, policy, week, every[name])


class Judgement:
    """A policy's decisions of one week, with the features and scores that led to them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __call__(self, posts: pd.DataFrame) -> Any:
        self.matrix = self._policy.archive.features(posts)
        self.scores = self._policy.learnt.score(self.matrix)
        return self._policy.flags(posts, self.scores)


def live(
    name: str, accounts: int, weeks: int, seed: int, confidence: float = POLICY.confidence
) -> dict[str, Any]:
    """Live one policy's year; return its weeks and what it spent."""
    warnings.simplefilter("ignore")
    began, cpu = time.perf_counter(), time.process_time()
    platform = Platform(world_of(accounts, weeks), seed)
    archive = Archive(platform.accounts()["signup_ip"].to_numpy())
    for number in range(WARM_UP_WEEKS):
        week = platform.week(number)
        if number == 0:
            archive.features(week.posts.head(3000))
        archive.add(week, archive.features(week.posts))
    promise = POLICY.model_copy(update={"confidence": confidence})
    policy = start(name, archive, WARM_UP_WEEKS - 1, seed, promise)
    lived: list[dict[str, Any]] = []
    for number in range(WARM_UP_WEEKS, WARM_UP_WEEKS + weeks):
        seen = Judgement(policy)
        week = platform.week(number, flagged=seen)
        lived.append(measured(number, week.truth, seen.scores, policy.tally.retrains))
        print(name, lived[-1], file=sys.stderr, flush=True)
        if number == WARM_UP_WEEKS + weeks - 1:
            break  # a retrain now would serve no week
        archive.add(week, seen.matrix)
        policy.after(number, week.posts, seen.matrix, seen.scores)
    return {
        "policy": name,
        "weeks": lived,
        "retrains": policy.tally.retrains,
        "full_retrains": policy.tally.full_retrains,
        "threshold_updates": policy.tally.threshold_updates,
        "fits": archive.fits,
        "journal": getattr(policy, "journal", []),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "seconds": round(time.perf_counter() - began, 1),
    }


def measured(number: int, truth: pd.DataFrame, scores: Any, retrains: int) -> dict[str, Any]:
    """Hold a week's decisions against the truth, and its scores: which recall they allowed."""
    violating = truth["violating"].to_numpy() == 1
    flagged = truth["flagged"].to_numpy()
    right, acted = int((violating & flagged).sum()), int(flagged.sum())
    precision = right / acted if acted else None
    return {
        "week": number - WARM_UP_WEEKS + 1,
        "precision": precision,
        "recall": right / max(1, int(violating.sum())),
        "reachable": reachable_recall(scores, violating),
        "flagged": acted,
        "prevalence": float(violating.mean()),
        "in_violation": precision is not None and precision < POLICY.min_precision,
        "retrains": retrains,
    }


def reachable_recall(scores: Any, violating: Any) -> float:
    """Return the best recall at the floor of who knew the truth of the week beforehand."""
    right = np.cumsum(violating[np.argsort(-scores, kind="stable")])
    kept = np.flatnonzero(right / np.arange(1, len(right) + 1) >= POLICY.min_precision)
    return float(right[kept[-1]] / right[-1]) if kept.size else 0.0


def summary(year: dict[str, Any]) -> dict[str, Any]:
    """Return a policy's figures, means over weeks.

    `recall` is at the precision floor: a week whose precision is below it counts nothing.
    `recall_at_any_precision` leaves the floor out of it, `reachable` is what the scores allowed.
    """
    weeks = year["weeks"]
    kept = [0.0 if week["in_violation"] else week["recall"] for week in weeks]
    return {
        "weeks_in_violation": sum(week["in_violation"] for week in weeks),
        "recall": round(float(np.mean(kept)), 4),
        "recall_at_any_precision": round(float(np.mean([week["recall"] for week in weeks])), 4),
        "reachable": round(float(np.mean([week["reachable"] for week in weeks])), 4),
        "retrains": year["retrains"],
        "threshold_updates": year["threshold_updates"],
        "fits": year["fits"],
        "cpu_seconds": year["cpu_seconds"],
    }


def main() -> None:
    """Live the years, print the table, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--accounts", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--confidence", type=float, default=POLICY.confidence)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--plot", type=Path, help="where to draw the weeks, as SVG")
    parser.add_argument("--details", type=Path, help="where to write every week, as JSON")
    asked = parser.parse_args()
    names = asked.policies.split(",")
    if unknown := set(names) - set(POLICIES):
        parser.error(f"policies are {', '.join(POLICIES)}; got {', '.join(sorted(unknown))}")
    given = (asked.accounts, asked.weeks, asked.seed, asked.confidence)
    began = time.perf_counter()
    # The longest first, so that the processes end together.
    order = sorted(names, key=["weekly", "tidegate", "monthly", "none"].index)
    with ProcessPoolExecutor(asked.parallel) as pool:
        years = {
            year["policy"]: year
            for year in pool.map(
                live,
                order,
                *([value] * len(order) for value in given),
            )
        }
    print(
        f"| policy | weeks in violation of {asked.weeks} | recall at the floor "
        "| at any precision | reachable | retrains | threshold updates | fits |"
    )
    print("| --- " * 8 + "|")
    found = {name: summary(years[name]) for name in names}
    for name, f in found.items():
        print(
            f"| {NAMES[name]} | {f['weeks_in_violation']} | {f['recall']:.3f} "
            f"| {f['recall_at_any_precision']:.3f} | {f['reachable']:.3f} | {f['retrains']} "
            f"| {f['threshold_updates']} | {f['fits']} |"
        )
    print(f"{time.perf_counter() - began:.0f} s by the clock")
    if asked.details is not None:
        asked.details.write_text(json.dumps(years, indent=1))
    if asked.plot is not None:
        from year_plot import draw

        world = world_of(asked.accounts, asked.weeks)
        draw(years, world, asked.plot, floor=POLICY.min_precision, warm_up=WARM_UP_WEEKS)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
