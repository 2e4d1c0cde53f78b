"""What the year's alarms are worth: false ones are as rare as stated, real ones are found."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

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


def test_no_family_of_tests_alarms_more_often_on_stationary_rows_than_its_share():
    rng = np.random.default_rng(0)
    checks, level = 120, 0.32
    reports = [drifted(rng, level) for _ in range(checks)]
    every = np.array([[test.drifted for test in report.tests] for report in reports])
    share = level / len(reports[0].tests)
    assert binom.sf(sum(report.drifted for report in reports) - 1, checks, level) > 1e-4
    for test, alarms in zip(reports[0].tests, every.sum(axis=0), strict=True):
        assert binom.sf(alarms - 1, checks, share) > 1e-4, (test.name, alarms)


def test_rare_categories_alarm_no_more_often_than_their_level():
    rng = np.random.default_rng(0)
    often = 1 / np.arange(1, 301)

    def hosts(count):
        drawn = rng.choice(300, count, p=often / often.sum()).astype(str)
        return pd.DataFrame({"category_host": drawn})

    reports = [
        detect_drift(
            hosts(1000),
            hosts(400),
            engine=OpenTests(0),
            level=0.02,
            config=CONFIG,
            bundle_version="v",
        )
        for _ in range(200)
    ]
    assert binom.sf(sum(report.drifted for report in reports) - 1, 200, 0.02) > 1e-3


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
