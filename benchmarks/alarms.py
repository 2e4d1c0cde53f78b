"""False alarms a year on streams where nothing changes, and how soon known changes are found.

    python benchmarks/alarms.py [--years 40] [--runs 20] [--rows 200] [--processes 2]
    python benchmarks/alarms.py --seasonal --years 10 --runs 0
    .venv-monitor/bin/python benchmarks/alarms.py --engine alibi

Every simulated year has a reference of its own, weekly windows, and checks over the latest one and
the latest four, each of them a whole `detect_drift`. `--seasonal` has windows of a day, checks over
one and seven, and a share of violating posts that follows the hour and the weekend; the reference
is thinned to the window's season, as the monitor does it. The last line is one JSON object.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2

from tidegate.config import MonitorConfig
from tidegate.monitoring.detection import check_level, detect_drift
from tidegate.monitoring.engine import Engine
from tidegate.monitoring.open_tests import OpenTests
from tidegate.monitoring.reference import matching_rows

WEEKLY = MonitorConfig(
    engine="open", window_days=7, scales=(1, 4), false_alarms_per_year=1.0, max_rows=150
)
DAILY = WEEKLY.model_copy(update={"window_days": 1.0, "scales": (1, 7)})
DAYS, REFERENCE_DAYS, REFERENCE_ROWS, COMPONENTS, HOSTS = 364, 30, 2000, 8, 500
MONDAY = pd.Timestamp("2026-01-05", tz="UTC")
MIXING = np.eye(COMPONENTS) + 0.3 * np.random.default_rng(9).normal(size=(COMPONENTS, COMPONENTS))
FREQUENT = 1 / np.arange(1, HOSTS + 1) ** 1.1


def rows(rng: np.random.Generator, count: int, *, prevalence: Any = 0.3) -> pd.DataFrame:
    """Draw rows that are hard on approximations.

    Dependent components, a score, a heavy-tailed number with gaps and ties, one that is nearly
    always 0, a category of a few values, and one of which most values are rare.
    """
    label = rng.random(count) < prevalence
    values = rng.normal(size=(count, COMPONENTS)) @ MIXING
    values[:, 0] += 1.5 * label
    frame = pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(COMPONENTS)])
    frame["score"] = 1 / (1 + np.exp(-(2 * values[:, 0] - 2)))
    number = np.round(rng.lognormal(2, 1, count))
    frame["number_age"] = np.where(rng.random(count) < 0.05, np.nan, number)
    frame["number_reports"] = np.where(rng.random(count) < 0.02, rng.pareto(1, count), 0.0)
    frame["category_lang"] = rng.choice(list("abcdef"), count, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01])
    frame["category_host"] = rng.choice(HOSTS, count, p=FREQUENT / FREQUENT.sum()).astype(str)
    return frame


def seasonal(rng: np.random.Generator, count: int, *, first: int, days: int) -> pd.DataFrame:
    """Draw rows of some days; more posts violate in the evening and at the weekend."""
    at = np.sort(first + rng.integers(days, size=count) + rng.beta(4, 2, count))
    evening = np.sin(np.pi * (at % 1)) ** 4
    prevalence = 0.2 + 0.1 * evening + 0.15 * (at.astype(int) % 7 >= 5)
    frame = rows(rng, count, prevalence=prevalence)
    return frame.assign(time=MONDAY + pd.to_timedelta(at, unit="D"))


def shifted(rng: np.random.Generator, count: int, *, column: str, by: float) -> pd.DataFrame:
    """Draw rows whose column has moved by so many of its standard deviations."""
    frame = rows(rng, count)
    return frame.assign(**{column: frame[column] + by * frame[column].std()})


def unseen_category(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw rows a tenth of which are of a category that nobody has seen."""
    frame = rows(rng, count)
    return frame.assign(category_lang=frame["category_lang"].where(rng.random(count) >= 0.1, "new"))


def rotated_hosts(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw rows a third of whose hosts nobody has seen, no two of them alike."""
    frame = rows(rng, count)
    fresh = pd.Series([f"new{n}" for n in rng.integers(2**31, size=count)])
    return frame.assign(
        category_host=frame["category_host"].where(rng.random(count) > 1 / 3, fresh)
    )


Draw = Callable[[np.random.Generator, int], pd.DataFrame]
CHANGES: dict[str, Draw] = {
    "a component by 0.25 of its spread": partial(shifted, column="component_03", by=0.25),
    "a component by 0.5": partial(shifted, column="component_03", by=0.5),
    "a component by 1": partial(shifted, column="component_03", by=1.0),
    "prevalence from 0.3 to 0.15": partial(rows, prevalence=0.15),
    "prevalence from 0.3 to 0.05": partial(rows, prevalence=0.05),
    "a tenth of rows of an unseen category": unseen_category,
    "a third of rows from hosts of their own": rotated_hosts,
}


class Year(NamedTuple):
    """Checks that alarmed at the end of each window, and the families that did."""

    alarms: list[int]
    families: dict[str, int]
    checks: int

    @property
    def episodes(self) -> int:
        """Windows that alarm after one that did not."""
        before = [0, *self.alarms[:-1]]
        return sum(bool(now) and not was for was, now in zip(before, self.alarms, strict=True))


def simulated(
    seed: int, *, draw: Draw | None, count: int, until_found: bool, config: MonitorConfig
) -> Year:
    """Check a year of windows against a reference where nothing had changed.

    Windows are drawn by `draw`; without one rows are `seasonal`.
    """
    rng, level = np.random.default_rng(seed), check_level(config)
    config = config.model_copy(update={"seed": seed})
    reference = (
        rows(rng, REFERENCE_ROWS)
        if draw
        else seasonal(rng, REFERENCE_ROWS, first=-REFERENCE_DAYS, days=REFERENCE_DAYS)
    )
    alarms: list[int] = []
    families: Counter[str] = Counter()
    latest: list[pd.DataFrame] = []
    checks = 0
    while len(alarms) < DAYS / config.window_days and not (until_found and any(alarms)):
        window = draw(rng, count) if draw else seasonal(rng, count, first=len(alarms), days=1)
        latest = [*latest, window][-max(config.scales) :]
        fired = 0
        for scale in config.scales:
            if len(latest) < scale:
                continue
            window = pd.concat(latest[-scale:], ignore_index=True)
            norm = reference
            if not draw:
                norm = matching_rows(
                    reference, window["time"], min_rows=config.min_rows, seed=seed
                ).rows
            report = detect_drift(
                norm,
                window,
                engine=engine_of(config),
                level=level,
                config=config,
                bundle_version="simulated",
            )
            checks += 1
            fired += report.drifted
            families.update({test.name: int(test.drifted) for test in report.tests})
        alarms.append(fired)
    return Year(alarms, dict(families), checks)


def engine_of(config: MonitorConfig) -> Engine:
    """Return the engine that a configuration names; Alibi Detect needs its own environment."""
    if config.engine == "open":
        return OpenTests(config.seed)
    from tidegate.monitoring.drift import AlibiTests

    return AlibiTests(config.seed, config.permutations)


def interval(events: int, exposure: float) -> tuple[float, float]:
    """Return the exact 95 % interval of a Poisson rate (Garwood, Biometrika 28, 1936)."""
    low = float(chi2.ppf(0.025, 2 * events)) / 2 if events else 0.0
    return low / exposure, float(chi2.ppf(0.975, 2 * events + 2)) / 2 / exposure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--years", type=int, default=40)
    parser.add_argument("--runs", type=int, default=20, help="streams of each known change")
    parser.add_argument("--rows", type=int, default=200, help="rows of a window")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--engine", choices=["open", "alibi"], default="open")
    parser.add_argument("--seasonal", action="store_true")
    asked = parser.parse_args()
    if asked.years < 2 or asked.runs < 0:
        parser.error("--years must be at least 2 and --runs not below 0")
    config = (DAILY if asked.seasonal else WEEKLY).model_copy(update={"engine": asked.engine})
    started = time.perf_counter()
    with ProcessPoolExecutor(asked.processes) as pool:

        def all_of(draw: Draw | None, seeds: range, *, until_found: bool) -> list[Year]:
            one = partial(
                simulated, draw=draw, count=asked.rows, until_found=until_found, config=config
            )
            return list(pool.map(one, seeds))

        calm = None if asked.seasonal else rows
        found = stationary(all_of(calm, range(asked.years), until_found=False), config)
        changes = CHANGES if asked.runs and not asked.seasonal else {}
        streams = range(10_000, 10_000 + asked.runs)
        delays = {
            name: delay(all_of(draw, streams, until_found=True)) for name, draw in changes.items()
        }
    if delays:
        print("| change | windows until the alarm: median | 90 % | never in a year |")
        print("| --- | --- | --- | --- |")
    for name, waited in delays.items():
        print(f"| {name} | {waited['median']} | {waited['most']} | {waited['never']:.0%} |")
    minutes = round((time.perf_counter() - started) / 60, 1)
    print(json.dumps({**found, "years": asked.years, "minutes": minutes, "delays": delays}))


def stationary(years: list[Year], config: MonitorConfig) -> dict[str, object]:
    """Print how often years without a change alarmed; return it."""
    stated, count = config.false_alarms_per_year, len(years)
    alarms = [sum(year.alarms) for year in years]
    error = float(np.std(alarms, ddof=1) / np.sqrt(count))
    episodes = sum(year.episodes for year in years)
    low, high = interval(episodes, count)
    quiet = float(np.mean([total == 0 for total in alarms]))
    print(f"false alarms a year: {np.mean(alarms):.2f} ± {error:.2f}; stated {stated:g}")
    print(f"episodes of them a year: {episodes / count:.2f} ({low:.2f} to {high:.2f})")
    print(f"years without any: {quiet:.0%}; most in a year: {max(alarms)}")
    print("| tests | alarms a check, of those allowed | 95 % |")
    print("| --- | --- | --- |")
    checks = sum(year.checks for year in years)
    families = {}
    for name in years[0].families:
        fired = sum(year.families[name] for year in years)
        allowed = checks * check_level(config) / len(years[0].families)
        least, most = interval(fired, allowed)
        families[name] = round(fired / allowed, 2)
        print(f"| {name} | {fired / allowed:.2f} | {least:.2f} to {most:.2f} |")
    return {
        "stated": stated,
        "false_alarms": float(np.mean(alarms)),
        "standard_error": error,
        "episodes": episodes / count,
        "episodes_interval": [low, high],
        "years_without": quiet,
        "most_in_a_year": max(alarms),
        "families": families,
    }


def delay(runs: list[Year]) -> dict[str, float | None]:
    """Return windows until the alarm: the median, nine in ten, and the share that never comes."""
    waited = [len(run.alarms) if run.alarms[-1] else np.inf for run in runs]
    median, most = np.quantile(waited, [0.5, 0.9], method="higher")
    return {
        "median": float(median) if np.isfinite(median) else None,
        "most": float(most) if np.isfinite(most) else None,
        "never": float(np.mean(np.isinf(waited))),
    }


if __name__ == "__main__":
    main()
