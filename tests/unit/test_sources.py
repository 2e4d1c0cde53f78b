import gzip
from pathlib import Path

import pandas as pd
import pytest

from tidegate.data.ingest import digest_sources, read_source
from tidegate.errors import BadInput

ROWS = pd.DataFrame({"id": ["007", "008"], "text": ["a, b", 'line\n"two"'], "n": [1, 2]})


def _write(folder: Path, name: str) -> str:
    path = folder / name
    bare = name.removesuffix(".gz")
    if bare.endswith(".parquet"):
        ROWS.to_parquet(path)
    elif bare.endswith(".csv"):
        ROWS.to_csv(path, index=False)
    else:
        ROWS.to_json(path, orient="records", lines=True)
    return str(path)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz"])
def test_every_format_gives_the_same_table(tmp_path, name):
    table = read_source([_write(tmp_path, name)], as_text=["id"])
    pd.testing.assert_frame_equal(table, ROWS)


def test_a_list_is_concatenated_in_order_and_a_uri_is_read(tmp_path):
    paths = [_write(tmp_path, "a.parquet"), "file://" + _write(tmp_path, "b.csv")]
    table = read_source(paths, as_text=["id"])
    assert table["id"].tolist() == ["007", "008", "007", "008"]


def test_the_digest_follows_the_content_and_the_order(tmp_path):
    first, second = _write(tmp_path, "a.csv"), _write(tmp_path, "b.jsonl")
    assert digest_sources([first, second]) == digest_sources([first, second])
    assert digest_sources([first, second]) != digest_sources([second, first])


def test_words_that_other_readers_take_for_missing_stay_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,y\nNA,1\nnull,0\n,1\n")
    assert read_source([str(path)], as_text=["text"])["text"].tolist() == ["NA", "null", ""]


def test_a_line_separator_inside_a_json_text_does_not_end_the_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\u2028two"}\n\n{"text": "b"}\n', encoding="utf-8")
    assert read_source([str(path)])["text"].tolist() == ["one\u2028two", "b"]


def test_half_a_surrogate_pair_becomes_a_replacement_sign(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d broken \\ud83d\\ude00"}\n')
    assert read_source([str(path)])["text"].tolist() == ["\ufffd broken \U0001f600"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,y\nok,1\none,two,3\n", "line 3: expected 2 fields, got 3"),
        ("a.csv", b'text,y\n"two\nlines",1\nshort\n', "line 4: expected 2 fields, got 1"),
        ("a.csv", b"text,y\nok,1\ncaf\xe9,0\n", "line 3: byte 0xe9 is not UTF-8"),
        ("a.csv", b'text,y\n"never closed,1\n', "unexpected end of data"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"text,y\n", "the table has no rows"),
        ("a.csv", b"text,text\na,b\n", "two columns are named 'text'"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: not JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1, 2]\n', "line 2: not an object"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "line 2: byte 0xff is not UTF-8"),
        ("a.parquet", b"PAR1 but not really", "not a readable Parquet file"),
        ("a.csv.gz", b"text,y\n", "not a readable gzip file"),
        ("a.csv.gz", gzip.compress(b"text,y\na,1\n", mtime=0)[:-9], "not a readable gzip file"),
        ("a.xlsx", b"", "cannot tell what kind of table this is"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_source([str(path)])
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_ragged_row_is_not_quoted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,y\nprivate words,1,2\n")
    with pytest.raises(BadInput) as caught:
        read_source([str(path)])
    assert "private" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    missing = str(tmp_path / "none.parquet")
    with pytest.raises(BadInput, match="no such file"):
        read_source([missing])
    with pytest.raises(BadInput, match="no such file"):
        digest_sources([missing])
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        read_source([str(folder)])


def test_an_unknown_file_system_is_bad_input():
    with pytest.raises(BadInput, match="Protocol not known"):
        read_source(["nowhere://bucket/a.parquet"])


def test_parquet_is_read_from_s3(s3, tmp_path):
    local = _write(tmp_path, "a.parquet")
    s3.upload_file(local, "posts", "2024/a.parquet")
    pd.testing.assert_frame_equal(read_source(["s3://posts/2024/a.parquet"]), ROWS)
    assert digest_sources(["s3://posts/2024/a.parquet"]) == digest_sources([local])


@pytest.mark.parametrize("uri", ["s3://posts/none.parquet", "s3://no-such-bucket/a.parquet"])
def test_a_missing_bucket_or_key_is_named(s3, uri):
    with pytest.raises(BadInput, match="no such bucket or key") as caught:
        read_source([uri])
    assert uri in str(caught.value)
    with pytest.raises(BadInput, match="no such bucket or key"):
        digest_sources([uri])
