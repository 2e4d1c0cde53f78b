"""What the year's alarms are worth: false ones are as rare as stated, real ones are found."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import MonitorConfig
from tidegate.monitoring.detection import check_level, detect_drift
from tidegate.monitoring.open_tests import OpenTests

CONFIG = MonitorConfig(engine="open", max_rows=60)


def rows(rng, count, *, moved=0.0, unseen=0.0, missing=0.05):
    values = rng.normal(size=(count, 3))
    values[:, 2] = values[:, :2].sum(axis=1) + moved
    frame = pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(3)])
    frame["score"] = 1 / (1 + np.exp(-values[:, 0]))
    number = np.round(rng.lognormal(1, 1, count))
    frame["number_age"] = np.where(rng.random(count) < missing, np.nan, number)
    language = rng.choice(list("abcd"), count, p=[0.6, 0.3, 0.09, 0.01]).astype(object)
    frame["category_lang"] = np.where(rng.random(count) < unseen, "new", language)
    return frame


def drifted(rng, level, count=120, **kind):
    return detect_drift(
        rows(rng, 300),
        rows(rng, count, **kind),
        engine=OpenTests(int(rng.integers(2**31))),
        level=level,
        config=CONFIG,
        bundle_version="v",
    )


def test_checks_of_stationary_rows_alarm_no_more_often_than_their_level():
    rng = np.random.default_rng(0)
    reports = [drifted(rng, 0.1) for _ in range(60)]
    assert sum(report.drifted for report in reports) <= 13, "six are stated, their spread is two"
    every = np.array([[test.p_value / test.threshold for test in r.tests] for r in reports])
    assert every.shape == (60, 9)
    # Each family's p-values below ten times its threshold: its share of the level, ten times.
    assert ((every <= 5).mean(axis=0) <= 5 * 0.1 / 9 + 0.1).all()


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ({"moved": 1.5}, "kolmogorov_smirnov_per_component"),
        ({"moved": 1.5}, "maximum_mean_discrepancy"),
        ({"moved": 1.5}, "classifier"),
        ({"unseen": 0.3}, "category"),
        ({"missing": 0.5}, "missing"),
    ],
)
def test_a_known_change_is_found_by_the_family_that_looks_for_it(kind, family):
    report = drifted(np.random.default_rng(1), 0.002, count=300, **kind)
    assert next(test for test in report.tests if test.name == family).drifted


def test_the_checks_of_a_year_share_the_false_alarms_that_are_allowed():
    config = MonitorConfig(false_alarms_per_year=2.0, window_days=7, scales=(1, 4))
    assert check_level(config) * 2 * 365.25 / 7 == pytest.approx(2.0)
    often = MonitorConfig(false_alarms_per_year=1000.0)
    assert check_level(often) == 0.5
