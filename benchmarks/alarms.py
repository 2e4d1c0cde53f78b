"""False alarms a year on streams where nothing changes, and how soon known changes are found.

    python benchmarks/alarms.py [--years 40] [--runs 20] [--rows 200]

Every simulated year has a reference of its own, weekly windows, and checks over the latest one and
the latest four. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from tidegate.config import MonitorConfig
from tidegate.monitoring.detection import check_level, detect_drift
from tidegate.monitoring.open_tests import OpenTests

CONFIG = MonitorConfig(
    engine="open", window_days=7, scales=(1, 4), false_alarms_per_year=1.0, max_rows=150
)
WINDOWS, REFERENCE_ROWS, COMPONENTS = 52, 2000, 8


def rows(rng: np.random.Generator, count: int, *, prevalence: float = 0.3) -> pd.DataFrame:
    """Draw rows: dependent components, a heavy-tailed number with gaps, a category, a score."""
    label = rng.random(count) < prevalence
    values = rng.normal(size=(count, COMPONENTS)) @ MIXING
    values[:, 0] += 1.5 * label
    frame = pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(COMPONENTS)])
    frame["score"] = 1 / (1 + np.exp(-(2 * values[:, 0] - 2)))
    number = np.round(rng.lognormal(2, 1, count))
    frame["number_age"] = np.where(rng.random(count) < 0.05, np.nan, number)
    frame["category_lang"] = rng.choice(list("abcdef"), count, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01])
    return frame


MIXING = np.eye(COMPONENTS) + 0.3 * np.random.default_rng(9).normal(size=(COMPONENTS, COMPONENTS))


def shifted(column: str, by: float) -> Callable[..., pd.DataFrame]:
    """Return a drawing of rows whose column has moved by so many of its standard deviations."""

    def draw(rng: np.random.Generator, count: int) -> pd.DataFrame:
        frame = rows(rng, count)
        return frame.assign(**{column: frame[column] + by * frame[column].std()})

    return draw


def turned_category(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw rows a tenth of which are of a category that nobody has seen."""
    frame = rows(rng, count)
    return frame.assign(category_lang=frame["category_lang"].where(rng.random(count) >= 0.1, "new"))


CHANGES: dict[str, Callable[..., pd.DataFrame]] = {
    "a component by 0.25 of its spread": shifted("component_03", 0.25),
    "a component by 0.5": shifted("component_03", 0.5),
    "a component by 1": shifted("component_03", 1.0),
    "prevalence from 0.3 to 0.15": lambda rng, count: rows(rng, count, prevalence=0.15),
    "prevalence from 0.3 to 0.05": lambda rng, count: rows(rng, count, prevalence=0.05),
    "a tenth of rows of an unseen category": turned_category,
}


def alarms(seed: int, draw: Callable[..., pd.DataFrame], count: int, *, windows: int) -> list[int]:
    """Return the alarms at the end of each window; with `draw` another one, stop at the first."""
    rng = np.random.default_rng(seed)
    reference = rows(rng, REFERENCE_ROWS)
    level, found = check_level(CONFIG), []
    latest: list[pd.DataFrame] = []
    for _ in range(windows):
        latest = [*latest, draw(rng, count)][-max(CONFIG.scales) :]
        fired = 0
        for scale in CONFIG.scales:
            if len(latest) >= scale:
                report = detect_drift(
                    reference,
                    pd.concat(latest[-scale:], ignore_index=True),
                    engine=OpenTests(int(rng.integers(2**31))),
                    level=level,
                    config=CONFIG,
                    bundle_version="simulated",
                )
                fired += report.drifted
        found.append(fired)
        if fired and draw is not rows:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--years", type=int, default=40)
    parser.add_argument("--runs", type=int, default=20, help="streams of each known change")
    parser.add_argument("--rows", type=int, default=200, help="rows of a window")
    asked = parser.parse_args()
    if asked.years < 2:
        parser.error("--years must be at least 2")
    started = time.perf_counter()
    years = [sum(alarms(seed, rows, asked.rows, windows=WINDOWS)) for seed in range(asked.years)]
    error = float(np.std(years, ddof=1) / np.sqrt(len(years)))
    stated = CONFIG.false_alarms_per_year
    print(f"false alarms a year: {np.mean(years):.2f} ± {error:.2f}; stated {stated:g}")
    print("| change | windows until the alarm: median | 90 % | never in a year |")
    print("| --- | --- | --- | --- |")
    delays = {}
    for name, draw in CHANGES.items():
        runs = [
            alarms(1000 + seed, draw, asked.rows, windows=WINDOWS) for seed in range(asked.runs)
        ]
        waited = [len(run) if run[-1] else np.inf for run in runs]
        median, most = np.quantile(waited, [0.5, 0.9], method="higher")
        never = float(np.mean(np.isinf(waited)))
        delays[name] = {"median": float(median), "most": float(most), "never": never}
        print(f"| {name} | {median:g} | {most:g} | {never:.0%} |")
    summary = {"stated": stated, "false_alarms": float(np.mean(years)), "standard_error": error}
    minutes = round((time.perf_counter() - started) / 60, 1)
    finite = {
        k: {n: v if np.isfinite(v) else None for n, v in d.items()} for k, d in delays.items()
    }
    print(json.dumps({**summary, "years": asked.years, "minutes": minutes, "delays": finite}))


if __name__ == "__main__":
    main()
