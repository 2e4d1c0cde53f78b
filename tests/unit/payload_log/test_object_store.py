"""The payload log behind S3, a real HTTP server of it."""

from datetime import timedelta

import pytest

from tests.unit.payload_log.conftest import NOON, served
from tidegate.errors import BadInput
from tidegate.serving.log_reader import read_log

WINDOW = (NOON, NOON + timedelta(hours=1))


def names(s3):
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket="logs").get("Contents", ())]


def test_a_log_in_s3_is_written_read_and_pruned(s3, open_log, clock):
    uri = "s3://logs/payload"
    log = open_log(uri=uri, retention_days=1)
    log.offer([served("a"), served("b")])
    assert log.flush()
    clock.turn(minutes=61)
    log.offer([served("late", time=NOON + timedelta(minutes=59)), served("next")])
    assert log.flush()
    assert [name.rpartition("/")[0] for name in names(s3)] == [
        "payload/date=2026-03-01/hour=12",
        "payload/date=2026-03-01/hour=13",
    ]
    frame, reading = read_log(uri, *WINDOW, columns=["row_id"])
    assert frame["row_id"].tolist() == ["a", "b", "late"]
    assert (reading.files, reading.late_rows) == (2, 1)
    s3.put_object(Bucket="logs", Key=names(s3)[0], Body=b"PAR1")
    frame, reading = read_log(uri, *WINDOW)
    assert (reading.rows, len(reading.unreadable)) == (1, 1)
    assert log.prune(NOON + timedelta(hours=25)) == 1
    assert len(names(s3)) == 1
    assert log.prune(NOON + timedelta(days=3)) == 1
    assert names(s3) == []
    assert read_log(uri, *WINDOW)[1].files == 0


def test_a_bucket_that_is_away_keeps_rows_until_it_is_there(s3, open_log):
    uri = "s3://not-yet/payload"
    log = open_log(uri=uri)
    log.offer([served("a")])
    assert not log.flush()
    assert log.counts.failed_writes >= 1
    s3.create_bucket(Bucket="not-yet")
    assert log.flush()
    assert read_log(uri, *WINDOW)[1].rows == 1


def test_a_store_that_denies_is_bad_input(s3, monkeypatch):
    async def denied(*_, **__):
        raise PermissionError("Forbidden")

    monkeypatch.setattr("s3fs.S3FileSystem._lsdir", denied)
    with pytest.raises(BadInput, match="cannot be read: PermissionError"):
        read_log("s3://logs/payload", *WINDOW)
