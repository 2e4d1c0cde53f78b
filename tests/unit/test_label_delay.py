"""How long labels take: a queue that grows shows, a young log and missing labels do not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.label_delay import check_label_delay, read_arrivals

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
CONFIG = MonitorConfig(engine="open", label_days=3)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Ten days of 100 posts each."""
    folder = tmp_path_factory.mktemp("log")
    for day in range(10):
        at = START + day * DAY
        table = pd.DataFrame(
            {
                "event_id": [f"e{day}-{i}" for i in range(100)],
                "row_id": [f"r{day}-{i}" for i in range(100)],
                "time": pd.to_datetime([at + timedelta(seconds=i) for i in range(100)], utc=True),
            }
        )
        hour = folder / f"date={at:%Y-%m-%d}" / "hour=00"
        hour.mkdir(parents=True)
        table.to_parquet(hour / "part.parquet")
    return folder


def labels(folder, slow_from=99):
    """Labels after 10 hours on average, three times that of posts from one day on."""
    rng = np.random.default_rng(0)
    told = [
        {
            "row_id": f"r{day}-{i}",
            "label": 0,
            "labelled_at": START
            + day * DAY
            + timedelta(hours=(3 if day >= slow_from else 1) * rng.exponential(10)),
        }
        for day in range(10)
        for i in range(100)
    ]
    path = folder / "labels.parquet"
    pd.DataFrame(told).to_parquet(path)
    return str(path)


def delay(log, source, day):
    return check_label_delay(
        str(log),
        read_arrivals(source),
        (START + (day - 1) * DAY, START + day * DAY),
        begun_at=START,
        level=0.01,
        config=CONFIG,
        bundle_version="v",
        python=Path("nowhere"),
    )


def test_delays_that_stay_raise_no_alarm_once_the_log_is_old_enough_to_hold_them(log, tmp_path):
    source = labels(tmp_path)
    assert delay(log, source, 3) is None, "only quick labels could have come by then"
    found = [delay(log, source, day) for day in range(5, 11)]
    assert not any(told.test.drifted for told in found)
    assert found[-1].reference_median_hours == pytest.approx(7, abs=2)
    assert found[-1].labels == pytest.approx(100, abs=30)


def test_a_queue_that_grows_shows(log, tmp_path):
    found = delay(log, labels(tmp_path, slow_from=6), 9)
    assert found.test.drifted
    assert found.test.name == "label_delay"
    assert found.median_hours > 1.5 * found.reference_median_hours


def test_labels_without_times_are_not_watched_and_odd_times_are_bad_input(tmp_path):
    path = tmp_path / "labels.csv"
    pd.DataFrame({"row_id": ["a"], "label": [1]}).to_csv(path, index=False)
    assert read_arrivals(str(path)) is None
    odd = {"row_id": ["a", "b"], "label": [1, 0], "labelled_at": ["soon", "later"]}
    pd.DataFrame(odd).to_csv(path, index=False)
    with pytest.raises(BadInput, match="labelled_at: is not a time"):
        read_arrivals(str(path))
