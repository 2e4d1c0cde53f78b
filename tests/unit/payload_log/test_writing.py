import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tests.unit.payload_log.conftest import COLUMNS, KEY, NOON, served
from tidegate.config import PayloadLogConfig
from tidegate.errors import BadInput
from tidegate.serving.log_table import LogSchema
from tidegate.serving.payload_log import PayloadLog

ROOT = Path(__file__).resolve().parents[3]


def parts(tmp_path):
    return sorted(path.relative_to(tmp_path / "log") for path in tmp_path.rglob("*.parquet"))


def test_rows_come_back_as_they_were_offered(open_log, read):
    log = open_log()
    log.offer([served("a"), served("b", score=0.25, decision="leave", input_age=None)])
    assert log.flush()
    frame, reading = read()
    assert frame["row_id"].tolist() == ["a", "b"]
    assert frame["score"].tolist() == [0.75, 0.25]
    assert frame["time"].tolist() == [NOON, NOON]
    assert frame["event_id"].is_unique
    assert frame["input_age"].isna().tolist() == [False, True]
    assert (reading.rows, reading.files, reading.duplicates) == (2, 1, 0)
    assert log.counts.written == 2


def test_rows_lie_in_the_utc_hour_in_which_they_were_offered(open_log, clock, tmp_path):
    log = open_log()
    log.offer([served("a")])
    clock.turn(hours=12)
    log.offer([served("b"), served("c")])
    assert log.flush()
    folders = [path.parent.as_posix() for path in parts(tmp_path)]
    assert folders == ["date=2026-03-01/hour=12", "date=2026-03-02/hour=00"]


def test_a_full_queue_drops_and_counts_and_never_waits(open_log):
    exported = "tidegate_payload_log_dropped_rows_total"
    before = REGISTRY.get_sample_value(exported, {"reason": "full"}) or 0.0
    log = open_log(queue_rows=5)
    log.offer([served(str(n)) for n in range(4)])
    assert log.has_room
    log.offer([served(str(n)) for n in range(4, 8)])
    log.offer([served("late")])
    assert not log.has_room
    assert (log.counts.offered, log.counts.dropped) == (9, 4)
    assert REGISTRY.get_sample_value(exported, {"reason": "full"}) == before + 4
    assert log.flush()
    assert log.counts.written == 5


def test_a_store_that_hangs_does_not_delay_an_offer(open_log, monkeypatch):
    log = open_log(file_rows=1)
    begun, go_on = threading.Event(), threading.Event()
    put = type(log._folder).put

    def hanging(folder, name, content):
        begun.set()
        go_on.wait(30)
        put(folder, name, content)

    monkeypatch.setattr(type(log._folder), "put", hanging)
    log.offer([served("a")])
    assert begun.wait(30)
    began = time.perf_counter()
    for number in range(100):
        log.offer([served(str(number))])
    assert time.perf_counter() - began < 1.0
    go_on.set()
    log.close(timeout_seconds=30)
    assert log.counts.written == 101


@pytest.mark.parametrize("rows", [None, 5, [None], ["text"], [{"score": object()}], object()])
def test_nothing_that_is_offered_raises(open_log, rows, caplog):
    log = open_log()
    log.offer(rows)
    log.offer([served("good")])
    assert log.flush()
    assert log.counts.written >= 1


def test_a_file_that_fails_is_written_later_once_and_whole(open_log, read, monkeypatch):
    log = open_log(file_rows=2)
    kind, tries = type(log._folder), []
    put = kind.put

    def failing(folder, name, content):
        tries.append(name)
        if len(tries) == 3:
            put(folder, name, content)
        if len(tries) <= 3:
            raise OSError("the store is away")
        put(folder, name, content)

    monkeypatch.setattr(kind, "put", failing)
    monkeypatch.setattr(log, "_begin", lambda: None)
    log.offer([served("a"), served("b")])
    log.offer([served("c")])
    assert [log.flush() for _ in range(4)] == [False, False, False, True]
    assert (
        len(set(tries[:4])) == 1
    )  # under its name again, so that a second copy replaces the first
    frame, reading = read()
    assert frame["row_id"].tolist() == ["a", "b", "c"]
    assert (reading.duplicates, log.counts.failed_writes, log.counts.written) == (0, 3, 3)


def test_closing_writes_what_waits_and_counts_what_it_cannot(open_log, read, monkeypatch):
    log = open_log()
    log.offer([served("a")])
    log.close()
    assert read()[0]["row_id"].tolist() == ["a"]
    log.offer([served("too late")])
    assert log.counts.dropped == 1

    def away(folder, name, content):
        raise OSError("the store is away")

    lost = open_log()
    monkeypatch.setattr(type(lost._folder), "put", away)
    lost.offer([served("b"), served("c")])
    lost.close(timeout_seconds=0)
    assert (lost.counts.written, lost.counts.dropped) == (0, 2)


def test_the_thread_writes_a_full_file_without_being_told(open_log, read):
    log = open_log(file_rows=3, flush_seconds=3600)
    log.offer([served(str(n)) for n in range(3)])
    give_up = time.monotonic() + 30
    while log.counts.written < 3 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert read()[1].rows == 3


def test_a_reader_never_sees_a_file_that_is_not_whole(open_log, read, tmp_path):
    log = open_log()
    log.offer([served("a")])
    log.flush()
    folder = tmp_path / "log" / parts(tmp_path)[0].parent
    (folder / ".part-x.parquet.123").write_bytes(b"PAR1 half")
    _, reading = read()
    assert (reading.rows, reading.unreadable) == (1, ())


def test_redacted_columns_are_left_out_or_kept_as_a_keyed_digest(open_log, read):
    log = open_log(redact={"text": "drop", "lang": "hash", "age": "hash"})
    log.offer([served("a"), served("b"), served("c", input_lang="de", input_age=None)])
    log.flush()
    frame, _ = read()
    assert "input_text" not in frame
    first, second, third = frame["input_lang"]
    assert first == second != third
    assert len(first) == 32
    assert "en" not in first
    assert frame["input_age"].tolist()[2] is None


def test_a_digest_needs_the_key_and_tells_nothing_across_columns():
    config = PayloadLogConfig(uri="x", redact={"text": "hash", "lang": "hash"})
    row = served("a", input_text="same", input_lang="same")

    def digests(key):
        table = LogSchema(config, COLUMNS, key).table([row]).table
        return table.column("input_text")[0].as_py(), table.column("input_lang")[0].as_py()

    assert len({*digests(KEY), *digests(b"another secret, just as long")}) == 4


def test_the_sample_is_the_same_rows_on_every_server(open_log, read):
    ids = [str(n) for n in range(2000)]
    kept = []
    for _ in range(2):
        log = open_log(sample=0.25)
        log.offer([served(name) for name in ids])
        log.flush()
        counts = log.counts
        assert counts.written + counts.sampled_out == 2000
        kept.append(counts.written)
    frame, reading = read()
    assert kept[0] == kept[1] == frame["row_id"].nunique()
    assert abs(kept[0] / 2000 - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5
    assert reading.rows == 2 * kept[0]  # two servers served them: two events each


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"uri": None}, "payload_log.uri: is not set"),
        ({"uri": "nowhere://bucket/log"}, "cannot be opened"),
        ({"uri": "/proc/log"}, "cannot be made"),
        ({"redact": {"txt": "drop"}}, "no column 'txt'; did you mean 'text'"),
        ({"redact": {"text": "hash"}}, "needs a secret key"),
        ({"sample": 0.5}, "needs a secret key"),
    ],
)
def test_a_log_that_cannot_keep_its_word_does_not_start(tmp_path, monkeypatch, settings, message):
    monkeypatch.delenv("TIDEGATE_PAYLOAD_LOG_KEY", raising=False)
    config = PayloadLogConfig(**({"uri": str(tmp_path)} | settings))
    with pytest.raises(BadInput, match=message):
        PayloadLog(config, columns=COLUMNS)


def test_a_log_without_arrow_is_told_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match="needs pyarrow, which is absent"):
        PayloadLog(PayloadLogConfig(uri=str(tmp_path)))


def test_old_hours_are_deleted_and_nothing_else(open_log, clock, tmp_path):
    log = open_log(retention_days=2)
    for hours in (0, 1, 23, 48):
        clock.turn(hours=hours)
        log.offer([served("a")])
    log.flush()
    (tmp_path / "log" / "notes").mkdir()
    (tmp_path / "log" / "date=2026-02-30").mkdir()
    assert len(parts(tmp_path)) == 4
    # 12:00 and 13:00 of the first day ended more than two days before 14:00 of the third.
    assert log.prune(NOON + timedelta(hours=50)) == 2
    assert [path.parent.as_posix() for path in parts(tmp_path)] == [
        "date=2026-03-02/hour=12",
        "date=2026-03-04/hour=12",
    ]
    assert log.prune(NOON + timedelta(days=30)) == 2
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "date=2026-02-30",
        "notes",
    ]


def test_a_clock_that_jumped_deletes_nothing_for_a_day(open_log, clock, tmp_path, monkeypatch):
    log = open_log()
    monkeypatch.setattr(log, "_begin", lambda: None)
    log.offer([served("a")])
    log.flush()
    clock.now += timedelta(days=400)
    log._prune_when_due()
    clock.turn(hours=2)
    log._prune_when_due()
    assert len(parts(tmp_path)) == 1
    clock.turn(hours=23)
    log._prune_when_due()
    assert parts(tmp_path) == []


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec=None), max_size=5),
    st.lists(st.integers(), max_size=2),
    st.datetimes(),
)
_ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["score", "explored", "decision", "input_text", "input_age", "odd"]),
        _VALUES,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(rows=_ROWS, typed=st.booleans())
def test_whatever_a_row_holds_it_has_its_place_in_the_file(rows, typed):
    schema = LogSchema(PayloadLogConfig(uri="x"), COLUMNS if typed else None, b"")
    whole = [{"event_id": str(n), "time": NOON, **row} for n, row in enumerate(rows)]
    made = schema.table(whole)
    assert made.table.column("event_id").to_pylist() == [row["event_id"] for row in whole]
    assert "odd" not in made.table.column_names
    names = ["event_id", "row_id", "time", "model_name"]
    assert made.table.column_names[:4] == names
    if typed:
        assert str(made.table.schema.field("input_age").type) == "double"


def test_a_log_is_written_without_pandas(tmp_path):
    """A server that scores without it must not load it for its log."""
    script = f"""
import sys
from tidegate.config import PayloadLogConfig
from tidegate.serving.payload_log import PayloadLog
log = PayloadLog(PayloadLogConfig(uri={str(tmp_path)!r}))
log.offer([{{"row_id": "a", "score": 0.5, "explored": False, "input_text": "b"}}])
assert log.flush()
assert log.counts.written == 1
assert "pandas" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
