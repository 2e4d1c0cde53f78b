"""Rows between false alarms of the online detectors, and how soon known changes are found.

    python benchmarks/online.py [--streams 20] [--rows 20000] [--runs 20]

Every stream has a reference and thresholds of its own, as deployments have. The last line is one
JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from tidegate.config import MonitorConfig, OnlineConfig
from tidegate.monitoring.online import OpenOnline
from tidegate.monitoring.online_state import step
from tidegate.records import OnlineState

REFERENCE_ROWS, COMPONENTS, CALM_ROWS, MOST_ROWS, FLAGGED = 2000, 8, 200, 2000, 0.8


def rows(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw rows: dependent components, a number with gaps, a score."""
    values = rng.normal(size=(count, COMPONENTS)) @ MIXING
    frame = pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(COMPONENTS)])
    frame["score"] = 1 / (1 + np.exp(-(2 * values[:, 0])))
    number = np.round(rng.lognormal(2, 1, count))
    return frame.assign(number_age=np.where(rng.random(count) < 0.05, np.nan, number))


MIXING = np.eye(COMPONENTS) + 0.3 * np.random.default_rng(9).normal(size=(COMPONENTS, COMPONENTS))


def shifted(column: str, by: float) -> Callable[..., pd.DataFrame]:
    """Return a drawing of rows whose column has moved by so many of its standard deviations."""

    def draw(rng: np.random.Generator, count: int) -> pd.DataFrame:
        frame = rows(rng, count)
        return frame.assign(**{column: frame[column] + by * frame[column].std()})

    return draw


def emptied(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw rows three in ten of which lack the number."""
    frame = rows(rng, count)
    return frame.assign(number_age=frame["number_age"].where(rng.random(count) >= 0.3))


CHANGES: dict[str, Callable[..., pd.DataFrame]] = {
    "the score by 0.5 of its spread": shifted("score", 0.5),
    "the score by 1": shifted("score", 1.0),
    "a component by 1": shifted("component_03", 1.0),
    "a component by 2": shifted("component_03", 2.0),
    "missing cells from 5 % to 33 %": emptied,
}


def read(
    state: OnlineState | None, reference: pd.DataFrame, new: pd.DataFrame, config: MonitorConfig
) -> tuple[OnlineState, list[int]]:
    """Read rows; return what is then known, and the rows at which alarms were raised."""
    numbers = np.arange(len(new)) + (0 if state is None else state.rows)
    found = step(
        state,
        reference,
        new.assign(id=[f"r{i}" for i in numbers], time=[f"{i:09d}" for i in range(len(new))]),
        until="",
        engine=OpenOnline(config.online),
        config=config,
        threshold=FLAGGED,
        bundle_version="simulated",
    )
    return found.state, [int(alarm.at) for alarm in found.alarms]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--streams", type=int, default=20, help="without change")
    parser.add_argument("--rows", type=int, default=20_000, help="of each")
    parser.add_argument("--runs", type=int, default=20, help="streams of each known change")
    parser.add_argument("--run-rows", type=float, default=OnlineConfig().expected_run_rows)
    asked = parser.parse_args()
    started = time.perf_counter()
    online = OnlineConfig(expected_run_rows=asked.run_rows)
    config = MonitorConfig(engine="open", online=online)
    rng = np.random.default_rng(0)
    alarms, begun = [], []
    for _ in range(asked.streams):
        reference = rows(rng, REFERENCE_ROWS)
        state, found = read(None, reference, rows(rng, asked.rows), config)
        alarms.append(len(found))
        begun.append((reference, state))
    total = asked.streams * asked.rows
    apart = total / max(1, sum(alarms))
    print(
        f"{sum(alarms)} false alarms in {total:,} rows: one in {apart:,.0f}; "
        f"stated {asked.run_rows:,.0f}"
    )
    print("| change | rows until the alarm: median | 90 % | never in 2,000 |")
    print("| --- | --- | --- | --- |")
    delays = {}
    for name, draw in CHANGES.items():
        waited = []
        for run in range(asked.runs):
            reference, state = begun[run % len(begun)]
            calm, _ = read(state, reference, rows(rng, CALM_ROWS), config)
            _, found = read(calm, reference, draw(rng, MOST_ROWS), config)
            waited.append(found[0] + 1 if found else np.inf)
        median, most = np.quantile(waited, [0.5, 0.9], method="higher")
        never = float(np.mean(np.isinf(waited)))
        delays[name] = {"median": float(median), "most": float(most), "never": never}
        print(f"| {name} | {median:g} | {most:g} | {never:.0%} |")
    finite = {
        k: {n: v if np.isfinite(v) else None for n, v in d.items()} for k, d in delays.items()
    }
    summary = {"stated": asked.run_rows, "measured": apart, "false_alarms": sum(alarms)}
    minutes = round((time.perf_counter() - started) / 60, 1)
    print(json.dumps({**summary, "rows": total, "minutes": minutes, "delays": finite}))


if __name__ == "__main__":
    main()
