"""The monitor over a payload log, with a clock that the test turns."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.toy_bundle import write_toy_bundle
from tidegate.config import MonitorConfig, OnlineConfig, PolicyConfig
from tidegate.errors import BadInput
from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle
from tidegate.monitoring.watch import PAGE, REPORT, STATE, check_log, signals_from
from tidegate.records import Column, MonitorReport
from tidegate.store import read_record

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
CONFIG = MonitorConfig(
    engine="open",
    scales=(1, 2),
    max_rows=100,
    false_alarms_per_year=0.5,
    online=OnlineConfig(detectors=()),
)
COLUMNS = (
    Column(name="text", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="lang", kind="categorical"),
)
CALM = ["lunch", "noon", "code", "tea", "walk", "sea"]
FOUL = ["prize", "free", "win", "cash", "bonus", "spin"]


def posts(rows, seed, prevalence=0.5, age=30.0):
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < prevalence).astype(np.int8)
    texts = []
    for bad in label:
        share = 0.8 if bad else 0.2
        kinds = rng.random(6) < share
        texts.append(" ".join(rng.choice(FOUL) if foul else rng.choice(CALM) for foul in kinds))
    lang = rng.choice(["en", "de"], rows)
    frame = pd.DataFrame({"text": texts, "age": rng.exponential(age, rows), "lang": lang})
    return frame, label


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    write_toy_bundle(
        folder,
        train=posts(300, seed=0),
        norm=posts(1500, seed=1),
        columns=COLUMNS,
        max_rows=1500,
        components=3,
    )
    return folder / "bundle"


class Place:
    """A log that is written as the server writes it, and a monitor over it."""

    def __init__(self, folder: Path, bundle: Path):
        self.folder, self.bundle = folder, bundle
        self.loaded = load_bundle(bundle)
        self.log = folder / "log"
        self.log.mkdir()

    def serve(self, day, rows=200, *, seed=None, hour=5, version=None, name="part", **kind):
        frame, label = posts(rows, seed=day + 10 if seed is None else seed, **kind)
        at = START + day * DAY + timedelta(hours=hour)
        table = frame.add_prefix("input_").assign(
            event_id=[f"e{day}-{hour}-{i}" for i in range(rows)],
            row_id=[f"r{day}-{hour}-{i}" for i in range(rows)],
            time=pd.to_datetime([at + timedelta(seconds=i) for i in range(rows)], utc=True),
            model_name="toy",
            model_version=version or self.loaded.manifest.version,
            score=self.loaded.score(frame),
        )
        self.write(table, at, name)
        return table.assign(label=label)

    def write(self, table, at, name="part"):
        folder = self.log / f"date={at:%Y-%m-%d}" / f"hour={at:%H}"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / f"{name}.parquet")
        return folder / f"{name}.parquet"

    def check(self, days, labels=None, config=CONFIG):
        return check_log(
            self.bundle,
            str(self.log),
            out=self.folder / "out",
            now=START + timedelta(days=days),
            config=config,
            policy=PolicyConfig(min_precision=0.8, confidence=0.9),
            python=Path("nowhere"),
            labels=None if labels is None else str(labels),
        )


@pytest.fixture
def place(tmp_path, bundle):
    return Place(tmp_path, bundle)


def test_each_complete_window_is_checked_once_however_often_the_monitor_starts(place):
    for day in range(3):
        place.serve(day)
    assert place.check(1.1).checks == (), "late rows still have time to come"
    first = place.check(2.3)
    assert [(c.until[:10], c.scale) for c in first.checks] == [
        ("2026-03-03", 1),
        ("2026-03-04", 1),
        ("2026-03-04", 2),
    ]
    assert [c.rows for c in first.checks] == [200, 200, 400]
    assert all(c.diagnosis.kind == "none" for c in first.checks)
    assert place.check(2.4).checks == ()
    place.serve(3)
    assert [c.until[:10] for c in place.check(4.3).checks] == ["2026-03-05"] * 2 + [
        "2026-03-06"
    ] * 2
    out = place.folder / "out"
    assert "<h1>No drift</h1>" in (out / PAGE).read_text()
    metrics = (out / "drift.prom").read_text()
    assert 'kind="none"} 1' in metrics
    assert read_record(out / REPORT, MonitorReport).done_until == "2026-03-06T00:00:00+00:00"


def test_a_monitor_that_stops_before_its_state_is_written_repeats_the_window(place, monkeypatch):
    place.serve(0, prevalence=0.05)

    def full(path, record):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tidegate.monitoring.watch.write_record", full)
        with pytest.raises(OSError, match="No space"):
            place.check(1.3)
    assert not (place.folder / "out" / STATE).exists()
    (check,) = place.check(1.3).checks
    assert check.diagnosis.kind == "prior_shift"


def test_a_mix_that_moved_asks_for_a_threshold_and_moved_inputs_for_a_refresh(place):
    place.serve(0, rows=400, prevalence=0.05)
    place.serve(1, rows=400, age=90.0)
    report = place.check(2.3, config=CONFIG.model_copy(update={"scales": (1,)}))
    assert [s.cause for s in signals_from(report, CONFIG)] == ["prior_shift", "covariate_shift"]
    assert "number_age" in report.checks[1].diagnosis.moved_features
    assert report.checks[1].diagnosis.example_ids[0].startswith("r1-5-")


def test_labels_that_come_late_tell_a_concept_that_moved(place):
    served = place.serve(0, rows=500)
    turned = served["label"].where(np.arange(len(served)) % 3 > 0, 1 - served["label"])
    labels = pd.DataFrame({"row_id": served["row_id"], "label": turned})
    odd = pd.DataFrame({"row_id": ["nobody", "r0-5-1", "r0-5-2"], "label": [1, 7, 1]})
    pd.concat([labels, odd]).to_csv(place.folder / "labels.csv", index=False)
    (check,) = place.check(1.3, labels=place.folder / "labels.csv").checks
    assert check.diagnosis.kind == "concept_drift"
    left = check.left_out
    assert (left.unknown_labels, left.unreadable_labels, left.repeated_labels) == (1, 1, 1)


def test_what_cannot_be_used_is_counted_and_raises_no_alarm(place):
    table = place.serve(0).drop(columns="label")
    at = START + timedelta(hours=6)
    place.write(table, at, "again")
    spoilt = table.assign(event_id=[f"x{i}" for i in range(len(table))])
    place.write(spoilt.iloc[:10].assign(score=np.nan), at, "unscored")
    place.write(spoilt.iloc[10:15].assign(model_version="other"), at, "other")
    (place.log / "date=2026-03-02" / "hour=06" / "torn.parquet").write_bytes(b"PAR1 torn")
    (check,) = place.check(1.3).checks
    assert (check.status, check.rows, check.diagnosis.kind) == ("tested", 200, "none")
    assert check.reading.duplicates == 200
    assert [file.name for file in check.reading.unreadable] == [
        "date=2026-03-02/hour=06/torn.parquet"
    ]
    assert (check.left_out.unscored_rows, check.left_out.other_version_rows) == (10, 5)


def test_a_column_of_another_type_costs_its_unreadable_rows_alone(place):
    table = place.serve(0).drop(columns="label")
    changed = table.assign(
        event_id=[f"x{i}" for i in range(200)], input_age=["many"] * 20 + ["30"] * 180
    )
    place.write(changed, START + timedelta(hours=7), "changed")
    (check,) = place.check(1.3).checks
    assert check.left_out.unreadable_cells_rows == 20
    assert check.reading.retyped_columns == ("input_age",)
    assert check.rows == 380


@pytest.mark.parametrize(
    ("spoil", "status", "says"),
    [
        ({"columns": ["input_age"]}, "untestable", "the log of this window has no column"),
        ({"version": "other"}, "untestable", "all 200 rows are of another version"),
        ({"rows": 5}, "short", "5 usable rows, a check needs 20"),
        ({"late": True}, "untestable", "all 200 rows are too far from the hour"),
    ],
)
def test_a_window_that_cannot_be_tested_says_why_and_does_not_hold_up_the_next(
    place, spoil, status, says
):
    table = place.serve(0, rows=spoil.get("rows", 200), version=spoil.get("version"))
    table = table.drop(columns=["label", *spoil.get("columns", [])])
    if spoil.get("late"):
        table = table.assign(time=table["time"] - pd.Timedelta(days=300))
    place.write(table, START + timedelta(hours=5))
    place.serve(1)
    first, second = place.check(2.3, config=CONFIG.model_copy(update={"scales": (1,)})).checks
    assert first.status == status
    assert first.says.startswith(says)
    assert first.diagnosis is None
    assert (second.status, second.diagnosis.kind) == ("tested", "none")


def test_an_empty_day_between_others_is_empty_and_a_silent_log_is_waited_for(place):
    place.serve(0)
    place.serve(2)
    report = place.check(9, config=CONFIG.model_copy(update={"scales": (1,)}))
    assert [c.status for c in report.checks] == ["tested", "empty", "tested"]
    assert report.says == "the log holds nothing since 2026-03-04T06:00+00:00"
    place.serve(3)
    late = place.check(9).checks[0]
    assert (late.until[:10], late.rows) == ("2026-03-06", 200), "a clock ahead lost no window"


def test_a_clock_that_went_back_finds_nothing_due(place):
    place.serve(0)
    place.check(1.3)
    report = place.check(-100)
    assert report.checks == ()
    assert report.says.endswith("before the last window's end")
    assert report.done_until == "2026-03-03T00:00:00+00:00"


def test_a_log_without_rows_is_no_error(place):
    report = place.check(1)
    assert (report.checks, report.says) == ((), "the log holds no rows yet")
    assert not (place.folder / "out" / STATE).exists()


def test_every_segment_is_checked_by_itself(place):
    place.serve(0, rows=300)
    config = CONFIG.model_copy(update={"segment": "lang", "scales": (1,)})
    checks = place.check(1.3, config=config).checks
    assert [c.segment for c in checks] == [None, "de", "en"]
    assert checks[1].rows + checks[2].rows == 300
    assert checks[1].report.level == pytest.approx(checks[0].report.level / 2)


def test_a_state_of_another_kind_is_bad_input(place):
    place.serve(0)
    place.check(1.3)
    with pytest.raises(BadInput, match=r"window_days: is 7 and .* goes on from windows of 1;"):
        place.check(9, config=CONFIG.model_copy(update={"window_days": 7.0}))
    (place.folder / "out" / STATE).write_text("{}")
    with pytest.raises(BadInput, match="is not the state of a monitor; move it away"):
        place.check(2.3)


def test_a_reference_that_is_gone_or_of_another_bundle_is_bad_input(place, tmp_path):
    import shutil

    place.serve(0)
    spoilt = tmp_path / "spoilt"
    shutil.copytree(place.bundle, spoilt)
    place.bundle = spoilt
    table = pd.read_parquet(spoilt / DRIFT_REFERENCE)
    table.iloc[:50].to_parquet(spoilt / DRIFT_REFERENCE)
    with pytest.raises(BadInput, match=DRIFT_REFERENCE):
        place.check(1.3)
    (spoilt / DRIFT_REFERENCE).unlink()
    with pytest.raises(BadInput):
        place.check(1.3)
    assert not (place.folder / "out").exists()


def test_a_table_that_is_no_table_of_labels_is_bad_input(place):
    place.serve(0)
    pd.DataFrame({"post": ["a"], "label": [1]}).to_csv(place.folder / "l.csv", index=False)
    with pytest.raises(BadInput, match="needs the columns row_id and label"):
        place.check(1.3, labels=place.folder / "l.csv")


ONLINE = OnlineConfig(expected_run_rows=200, rows_per_hour=40, window_rows=(10, 20))


def test_online_detectors_read_every_complete_hour_once_and_go_on_after_a_restart(
    place, monkeypatch
):
    config = CONFIG.model_copy(update={"scales": (1,), "online": ONLINE})
    place.serve(0, hour=1)
    place.serve(0, hour=9, rows=30)
    at_ten = place.check(0.65, config=config)
    assert at_ten.checks == (), "long before the window's end"
    assert at_ten.online.rows == 40, "of the first hour; the later one still takes late rows in"
    assert place.check(0.65, config=config).online.rows == 0

    def full(path, record):
        raise OSError(28, "No space left on device")

    place.serve(1, hour=2, age=300.0)
    with monkeypatch.context() as patch:
        patch.setattr("tidegate.monitoring.watch.write_record", full)
        with pytest.raises(OSError, match="No space"):
            place.check(2.3, config=config)
    report = place.check(2.3, config=config)
    assert report.online.rows == 70
    assert report.online.read_until == "2026-03-03T03:00:00+00:00"
    assert {alarm.feature for alarm in report.online.alarms} >= {"number_age"}
    assert min(alarm.at for alarm in report.online.alarms) > "2026-03-02"
    assert 'feature="number_age"' in (place.folder / "out" / "drift.prom").read_text()
    assert "Between windows" in (place.folder / "out" / PAGE).read_text()
    remembered = (place.folder / "out" / "online.json").read_text()
    assert json.loads(remembered)["rows"] == 110


def test_a_state_of_no_online_detectors_is_bad_input(place):
    place.serve(0)
    (place.folder / "out").mkdir()
    (place.folder / "out" / "online.json").write_text("{}")
    with pytest.raises(BadInput, match="is not the state of online detectors; move it away"):
        place.check(1.3, config=CONFIG.model_copy(update={"online": ONLINE}))
