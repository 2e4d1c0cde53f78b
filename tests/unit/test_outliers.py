"""Rows far out are counted against those of the reference, and a learned place names columns."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import MonitorConfig
from tidegate.monitoring.detection import detect_drift
from tidegate.monitoring.open_tests import OpenTests

OUTLIER = MonitorConfig(engine="open", families=("outlier",))


def rows(rng, count, *, far=0.0, unsure=0.0):
    values = rng.normal(size=(count, 5)) @ (np.eye(5) + 0.4)
    values[rng.random(count) < far, 2] += 12
    frame = pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(5)])
    score = 1 / (1 + np.exp(-4 * rng.normal(size=count) - 3))
    return frame.assign(score=np.where(rng.random(count) < unsure, 0.5, score))


def report(seed, config=OUTLIER, level=0.02, **kind):
    rng = np.random.default_rng(seed)
    return detect_drift(
        rows(rng, 1000),
        rows(rng, 400, **kind),
        engine=OpenTests(0),
        level=level,
        config=config,
        bundle_version="v",
    )


def test_shares_that_did_not_change_alarm_no_more_often_than_their_level():
    alarms = sum(report(seed, level=0.1).drifted for seed in range(80))
    assert alarms <= 8 + 2.5 * 7**0.5


def test_far_rows_are_found_with_the_column_that_they_are_far_out_in():
    (test,) = report(0, far=0.08).tests
    assert test.drifted
    assert test.moved_features[0] == "component_02"
    assert test.distance == pytest.approx(0.08, abs=0.03)


def test_a_model_that_is_unsure_of_more_rows_is_found():
    (test,) = report(0, unsure=0.1).tests
    assert test.moved_features == ("score",)


def test_a_cluster_of_new_rows_is_a_place_that_names_its_columns():
    config = MonitorConfig(engine="open", families=("spot_the_diff",))
    calm = [report(seed, config=config, level=0.1).drifted for seed in range(12)]
    assert sum(calm) <= 4
    (test,) = report(1, config=config, far=0.25).tests
    assert test.drifted
    assert test.moved_features[0] == "component_02"
