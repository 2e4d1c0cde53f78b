"""Online detectors: false alarms as far apart as stated, a jump seen soon, no row counted twice."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import MonitorConfig, OnlineConfig
from tidegate.monitoring.online import OpenOnline, follow, streams_of
from tidegate.monitoring.online_state import step
from tidegate.monitoring.online_statistics import cvm, fet
from tidegate.monitoring.online_thresholds import run_rows_at, threshold_for
from tidegate.monitoring.online_view import View

ONLINE = OnlineConfig(expected_run_rows=300, window_rows=(10, 40))
CONFIG = MonitorConfig(engine="open", max_rows=200, online=ONLINE)


def rows(rng, count, *, moved=0.0, missing=0.1):
    values = rng.normal(size=(count, 3))
    values[:, 1] += moved
    frame = pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(3)])
    frame["score"] = 1 / (1 + np.exp(-values[:, 0] - moved))
    age = rng.poisson(3, count).astype(float)
    frame["number_age"] = np.where(rng.random(count) < missing, np.nan, age)
    return frame


def seen(frame, first=0):
    numbers = range(first, first + len(frame))
    return frame.assign(id=[f"r{i}" for i in numbers], time=[f"{i:06d}" for i in numbers])


@pytest.fixture(scope="module")
def reference():
    return rows(np.random.default_rng(0), 1000)


@pytest.fixture(scope="module")
def begun(reference):
    nothing = seen(reference.iloc[:0])
    return advance(None, reference, nothing).state


def advance(state, reference, new):
    return step(
        state,
        reference,
        new,
        until="then",
        engine=OpenOnline(ONLINE),
        config=CONFIG,
        threshold=0.8,
        bundle_version="v",
    )


def test_streams_without_change_alarm_once_in_the_rows_that_are_stated(begun):
    """New streams, each with a reference of its own, as deployments have."""
    rng = np.random.default_rng(1)
    known = np.sort(rng.random((300, 1000)), axis=1)
    drawn = rng.random((300, 600))
    below = [np.searchsorted(k, d) for k, d in zip(known, drawn, strict=True)]
    places = cvm(np.array(below) - 0.5, 1000, ONLINE.window_rows)
    by_detector = {s.detector: s for s in begun.streams if s.feature in ("score", "missing more")}
    stated = by_detector["cvm"].run_rows
    assert stated == 300 * 3 * 2, "three detectors, two numbers"
    assert run_rows_at(by_detector["cvm"].threshold, places) == pytest.approx(stated, rel=0.4)
    share = rng.beta(101, 901, size=(300, 1))
    marks = (rng.random((300, 600)) < share).astype(float)
    told = fet(marks, 100, 1000, ONLINE.window_rows, more=True)
    stated = by_detector["fet"].run_rows
    found = run_rows_at(by_detector["fet"].threshold, told)
    assert 0.6 * stated < found < 4 * stated, "counts leap over the threshold: never too often"


def test_all_detectors_together_alarm_no_more_often_than_stated(begun, reference):
    stream = rows(np.random.default_rng(2), 12_000)
    alarms = advance(begun, reference, seen(stream)).alarms
    assert len(alarms) <= 40 + 2 * 40**0.5, "12,000 rows over 300, and two standard deviations"
    assert alarms, "a detector that never alarms would be of no use"


def test_a_run_time_beyond_the_simulated_lies_on_the_line_of_the_others():
    rng = np.random.default_rng(3)
    statistics = rng.exponential(size=(400, 500))
    for run_rows in (1000.0, 20_000.0):
        assert threshold_for(run_rows, statistics) == pytest.approx(np.log(run_rows), abs=0.4)


def test_a_jump_is_seen_within_a_window_by_the_detector_that_looks_for_it(begun, reference):
    rng = np.random.default_rng(4)
    calm = advance(begun, reference, seen(rows(rng, 150))).state
    moved = advance(calm, reference, seen(rows(rng, 60, moved=2.0), 150)).alarms
    first = {alarm.detector: int(alarm.at) - 150 for alarm in reversed(moved)}
    assert set(first) >= {"mmd", "cvm"}
    assert max(first["mmd"], first["cvm"]) < 40
    gone = advance(calm, reference, seen(rows(rng, 80, missing=0.9), 150)).alarms
    assert any(a.feature == "missing more" for a in gone)


def test_rows_read_in_parts_with_restarts_in_between_are_rows_read_at_once(begun, reference):
    rng = np.random.default_rng(5)
    stream = seen(pd.concat([rows(rng, 500), rows(rng, 200, moved=1.0)], ignore_index=True))
    whole = advance(begun, reference, stream)
    state, alarms = begun, []
    for part in np.split(np.arange(len(stream)), np.sort(rng.choice(700, 9, replace=False))):
        told = state.model_dump_json()
        after = advance(type(state).model_validate_json(told), reference, stream.iloc[part])
        state, alarms = after.state, [*alarms, *after.alarms]
    assert state.rows == 700
    assert state.streams == whole.state.streams
    assert [(a.at, a.feature, a.rows) for a in alarms] == [
        (a.at, a.feature, a.rows) for a in whole.alarms
    ]
    assert len(alarms) > 3


def test_other_settings_or_another_bundle_begin_anew_and_keep_their_place(begun, reference):
    read = advance(begun, reference, seen(rows(np.random.default_rng(6), 30))).state
    assert {stream.rows for stream in read.streams} == {30}
    other = step(
        read,
        reference,
        seen(reference.iloc[:0]),
        until="then",
        engine=OpenOnline(ONLINE),
        config=CONFIG,
        threshold=0.8,
        bundle_version="w",
    ).state
    assert {stream.rows for stream in other.streams} == {0}
    assert other.rows == 30


def test_detectors_are_those_of_the_configuration(reference):
    config = OnlineConfig(detectors=("fet",), expected_run_rows=200, window_rows=(10, 20))
    view = View(reference, threshold=None, window=20, kernel_rows=100, seed=0)
    streams = streams_of(view, config, seed=0)
    assert [(s.detector, s.feature) for s in streams] == [
        ("fet", "missing more"),
        ("fet", "missing less"),
    ], "without a threshold nothing is flagged"
    empty = view.of(reference.iloc[:0], [])
    left = follow(streams, empty, empty, [], view=view, engine=OpenOnline(config), config=config)
    assert left.alarms == ()
