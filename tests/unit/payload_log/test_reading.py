import itertools
from datetime import datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.payload_log.conftest import COLUMNS, NOON, served
from tidegate.errors import BadInput
from tidegate.records import Column
from tidegate.records.serving import PAYLOAD_COLUMNS, REPLAY_PREFIX
from tidegate.serving.log_reader import read_log


def foreign(tmp_path, hour, frame, name="part-x.parquet"):
    """Put a file into the log that the log did not write."""
    folder = tmp_path / "log" / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    frame.to_parquet(path) if isinstance(frame, pd.DataFrame) else path.write_bytes(frame)
    return path


def events(*times, first=0):
    names = [f"e{first + number}" for number in range(len(times))]
    return pd.DataFrame({"event_id": names, "time": pd.to_datetime(list(times), utc=True)})


def test_a_window_without_rows_is_empty_and_has_every_column(read, tmp_path):
    frame, reading = read()
    assert tuple(frame.columns) == PAYLOAD_COLUMNS
    assert (len(frame), reading.rows, reading.files) == (0, 0, 0)
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    assert frame["score"].dtype == float


def test_an_event_that_was_logged_twice_counts_once(open_log, read):
    first, second = open_log(), open_log()
    first.offer([served("a", event_id="e1"), served("b", event_id="e2")])
    second.offer([served("a", event_id="e1"), served("c", event_id="e3")])
    assert first.flush()
    assert second.flush()
    frame, reading = read()
    assert sorted(frame["row_id"]) == ["a", "b", "c"]
    assert reading.duplicates == 1


def test_a_late_row_is_found_by_its_time_and_not_by_its_folder(open_log, read, clock):
    log = open_log()
    log.offer([served("on time")])
    clock.turn(minutes=70)
    log.offer([served("late", time=NOON + timedelta(minutes=30)), served("next hour")])
    log.flush()
    frame, reading = read(0, 1)
    assert frame["row_id"].tolist() == ["on time", "late"]
    assert (reading.late_rows, reading.misplaced_rows) == (1, 0)
    assert read(1, 2)[0]["row_id"].tolist() == ["next hour"]
    # Without a grace the row belongs nowhere, and is counted where it lies.
    assert read(0, 1, late_seconds=0.0)[1].rows == 1
    assert read(1, 2, late_seconds=0.0)[1].misplaced_rows == 1


def test_a_time_that_a_wrong_clock_wrote_is_counted_and_not_read(open_log, read, clock):
    log = open_log()
    odd = [NOON - timedelta(days=9), NOON + timedelta(days=9), datetime(1970, 1, 1)]
    log.offer([served("right"), *(served("wrong", time=time) for time in odd)])
    log.flush()
    frame, reading = read(0, 1)
    assert frame["row_id"].tolist() == ["right"]
    assert reading.misplaced_rows == 3
    assert read(1, 2)[1].misplaced_rows == 0


@settings(max_examples=12, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(-90, 150)), min_size=1, max_size=12),
    cuts=st.sets(st.integers(-60, 7 * 60), max_size=4),
)
def test_windows_in_a_row_hold_every_believable_row_exactly_once(tmp_path_factory, rows, cuts):
    root = tmp_path_factory.mktemp("windows")
    for number, (hour, minutes) in enumerate(rows):
        at = NOON + timedelta(hours=hour)
        time = at + timedelta(minutes=minutes)
        foreign(root, at, events(time, first=number), f"part-{number}.parquet")
    ends = [-600, *sorted(cuts), 1000]
    found, misplaced = [], 0
    for begin, end in itertools.pairwise(ends):
        window = [NOON + timedelta(minutes=m) for m in (begin, end)]
        frame, reading = read_log(str(root / "log"), *window)
        assert frame["time"].between(*window, inclusive="left").all()
        found += frame["event_id"].tolist()
        misplaced += reading.misplaced_rows
    believable = [f"e{n}" for n, (_, minutes) in enumerate(rows) if -60 <= minutes < 120]
    assert sorted(found) == sorted(believable)
    assert misplaced == len(rows) - len(believable)


def test_corrupt_files_are_named_and_nothing_else_is_lost(open_log, read, tmp_path, clock):
    log = open_log(file_rows=1)
    for name in ("a", "b", "c"):
        clock.turn(minutes=1)
        log.offer([served(name)])
        log.flush()
    middle = sorted((tmp_path / "log").rglob("*.parquet"))[1]
    middle.write_bytes(middle.read_bytes()[:-20])
    foreign(tmp_path, NOON, b"", "part-empty.parquet")
    foreign(tmp_path, NOON, b"not Parquet" * 9, "part-text.parquet")
    foreign(tmp_path, NOON, pd.DataFrame({"time": [NOON]}), "part-other.parquet")
    frame, reading = read()
    assert (reading.rows, reading.files, len(reading.unreadable)) == (2, 2, 4)
    assert len(set(frame["row_id"]) & {"a", "b", "c"}) == 2
    problems = {file.name.rpartition("/")[2]: file.problem for file in reading.unreadable}
    assert problems["part-other.parquet"] == "has no column event_id"
    assert "its digest differs" in problems[middle.name]


def test_what_a_release_sent_itself_is_no_traffic_unless_it_is_asked_for(open_log, read):
    log = open_log()
    log.offer([served(row_id) for row_id in ("a", "replay:a", None, "replay:b", "b")])
    log.flush()
    frame, reading = read(columns=["score"])
    assert (len(frame), list(frame), reading.rows, reading.copied_rows) == (3, ["score"], 3, 2)
    frame, reading = read(with_copies=True)
    assert (len(frame), reading.copied_rows) == (5, 0)
    assert frame["row_id"].dropna().str.startswith(REPLAY_PREFIX).sum() == 2


def test_no_flipped_byte_changes_what_is_read(open_log, read, tmp_path):
    """Every 97th byte, footer and all: Parquet's own checksums would let a renamed column by."""
    log = open_log()
    log.offer([served(str(n), score=n / 20) for n in range(20)])
    log.flush()
    path = next((tmp_path / "log").rglob("*.parquet"))
    good = path.read_bytes()
    for place in range(0, len(good), 97):
        bad = bytearray(good)
        bad[place] ^= 16
        path.write_bytes(bad)
        _, reading = read()
        assert (reading.rows, len(reading.unreadable)) == (0, 1)


def test_a_schema_that_grew_reads_with_its_older_files(open_log, read):
    old = open_log(columns=COLUMNS[:1])
    old.offer([served("old")])
    old.flush()
    new = open_log(columns=(*COLUMNS, Column(name="links", kind="numeric")))
    new.offer([served("new", input_links=2)])
    new.flush()
    frame, reading = read(columns=["row_id", "input_links", "input_lang", "input_gone"])
    assert list(frame.columns) == ["row_id", "input_links", "input_lang", "input_gone"]
    by_row = frame.set_index("row_id")
    assert by_row.loc["new", "input_links"] == 2.0
    assert pd.isna(by_row.loc["old", "input_links"])
    assert by_row["input_lang"].tolist().count("en") == 1
    assert (reading.absent_columns, reading.retyped_columns) == (("input_gone",), ())


def test_a_column_that_changed_its_type_comes_as_text_and_is_named(open_log, read):
    for kind, value in (("numeric", 3), ("text", "three")):
        log = open_log(columns=(Column(name="age", kind=kind),))
        log.offer([served(kind, input_age=value)])
        log.flush()
    frame, reading = read()
    assert set(frame["input_age"]) == {"3", "three"}
    assert reading.retyped_columns == ("input_age",)


def test_columns_without_a_model_are_typed_by_their_values(open_log, read):
    log = open_log(columns=None)
    log.offer([served("a", input_tags=["x"], input_mixed=1), served("b", input_mixed="one")])
    log.flush()
    frame, _ = read()
    assert frame["input_age"].tolist() == [3.0, 3.0]
    assert frame["input_tags"].tolist() == ['["x"]', None]
    assert frame["input_mixed"].tolist() == ["1", "one"]


def test_values_that_do_not_fit_become_null_and_the_row_stays(open_log, read):
    log = open_log()
    log.offer([served("a", input_age="old", score="0.5", input_text="half \ud83d")])
    log.flush()
    row = read()[0].iloc[0]
    assert pd.isna(row["input_age"])
    assert (row["score"], row["input_text"]) == (0.5, "half \ufffd")


def test_a_naive_time_is_utc_and_a_window_must_not_be_backwards(open_log, tmp_path):
    log = open_log()
    log.offer([served("a", time="2026-03-01T13:30:00+01:00")])
    log.flush()
    uri = str(tmp_path / "log")
    window = [datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 13)]
    assert read_log(uri, *window)[1].rows == 1
    with pytest.raises(BadInput, match="window: must end after it begins"):
        read_log(uri, *reversed(window))


def test_a_folder_whose_name_has_a_bracket_is_read(tmp_path):
    foreign(tmp_path / "a[1]*", NOON, events(NOON))
    window = (NOON, NOON + timedelta(hours=1))
    assert read_log(str(tmp_path / "a[1]*" / "log"), *window)[1].rows == 1


def test_a_store_that_cannot_be_reached_is_bad_input(tmp_path, monkeypatch):
    foreign(tmp_path, NOON, events(NOON))
    monkeypatch.setattr(
        "fsspec.implementations.local.LocalFileSystem.cat_file",
        lambda *_, **__: (_ for _ in ()).throw(PermissionError("denied")),
    )
    with pytest.raises(BadInput, match="cannot be read: PermissionError"):
        read_log(str(tmp_path / "log"), NOON, NOON + timedelta(hours=1))
