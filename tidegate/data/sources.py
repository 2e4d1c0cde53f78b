"""Reading the user's tables: Parquet, CSV and JSONL behind paths and fsspec URIs."""

import csv
import difflib
import gzip
import io
import json
import zlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tidegate import store
from tidegate.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

_EXTENSIONS = "end the name in .parquet, .csv or .jsonl (.gz may follow)"


def read_source(sources: Sequence[str], *, as_text: Collection[str] = ()) -> "pd.DataFrame":
    """Read one table from one or more files.

    Parameters
    ----------
    sources : sequence of str
        Paths or fsspec URIs of Parquet, CSV or JSONL (one object a line), each possibly gzipped.
        Several are concatenated in the order given.
    as_text : collection of str
        CSV columns that stay strings whatever they look like (``007`` is an id, not a seven).

    Raises
    ------
    BadInput
        If a file is missing, of an unknown kind, unreadable or without rows. The message names
        the file and, where there is one, the line; never the content of a row.
    """
    import pandas as pd

    frames = [_read_one(uri, as_text) for uri in sources]
    table = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    if table.empty:
        raise BadInput(", ".join(sources), "the table has no rows", "check the file")
    return table


def digest_sources(sources: Sequence[str]) -> str:
    """Return one SHA-256 over the content of all sources, in order.

    Raises
    ------
    BadInput
        If a source is missing or unreachable.
    """
    digests = []
    for uri in sources:
        try:
            digests.append(store.digest_uri(uri))
        except Exception as error:
            raise _unreachable(uri, error) from error
    return store.digest_json(digests)


def require_column(name: str, columns: Collection[str], where: str) -> None:
    """Raise `BadInput` with the nearest known name unless `name` is one of `columns`."""
    if name in columns:
        return
    known = [str(column) for column in columns]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    mend = f"did you mean {near[0]!r}?" if near else f"the columns are: {shown}"
    raise BadInput(where, f"the table has no column {name!r}", mend)


def _read_one(uri: str, as_text: Collection[str]) -> "pd.DataFrame":
    bare = uri.lower().removesuffix(".gz")
    kind = bare.rsplit(".", 1)[-1] if "." in bare else ""
    if kind not in {"parquet", "pq", "csv", "jsonl", "ndjson"}:
        raise BadInput(uri, "cannot tell what kind of table this is", _EXTENSIONS)
    content = _read_bytes(uri)
    if uri.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(uri, f"not a readable gzip file: {error}", "write it again") from None
    if kind in {"parquet", "pq"}:
        table = _read_parquet(uri, content)
    elif kind == "csv":
        table = _read_csv(uri, content, as_text)
    else:
        table = _read_jsonl(uri, content)
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(uri, f"two columns are named {twice!r}", "rename one of them")
    table.columns = names
    return table


def _read_bytes(uri: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(uri, "rb") as stream:
            content: bytes = stream.read()
    except Exception as error:
        # Every file system has its own exceptions; all of them mean "this source cannot be read".
        raise _unreachable(uri, error) from error
    return content


def _unreachable(uri: str, error: Exception) -> BadInput:
    if isinstance(error, FileNotFoundError):
        thing = "no such bucket or key" if "://" in uri else "no such file"
        return BadInput(uri, thing, "check data.source")
    if isinstance(error, IsADirectoryError):
        return BadInput(uri, "is a folder, not a file", "name the files in data.source")
    if isinstance(error, PermissionError) or "credentials" in str(error).lower():
        return BadInput(uri, "access denied", "check the permissions or the credentials")
    if isinstance(error, ImportError):
        return BadInput(uri, str(error), "install that package or copy the file here")
    return BadInput(uri, f"cannot be read: {type(error).__name__}: {error}", "check data.source")


def _read_parquet(uri: str, content: bytes) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content)).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(uri, f"not a readable Parquet file: {reason}", "write it again") from None
    # pandas stores an unnamed index as a column; it is a row number, not data.
    return table.drop(columns=[c for c in table.columns if str(c).startswith("__index_level_")])


def _decode(uri: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(
            uri,
            f"line {line}: byte 0x{content[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        ) from None


def _read_csv(uri: str, content: bytes, as_text: Collection[str]) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.csv as pacsv

    text = _decode(uri, content)
    header = _check_rows(uri, text)
    try:
        table = pacsv.read_csv(
            pa.py_buffer(text.encode()),
            # One block, so that a column's type is inferred from all of its values.
            read_options=pacsv.ReadOptions(
                block_size=min(max(len(content) + 1, 1 << 16), (1 << 31) - 1)
            ),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types={name: pa.string() for name in as_text if name in header}
            ),
        )
    except pa.ArrowException:
        # Arrow's message quotes the row, which must not be shown.
        raise BadInput(uri, "not a readable CSV file", "check quotes and separators") from None
    return table.to_pandas()


def _check_rows(uri: str, text: str) -> list[str]:
    """Return the header after a pass that finds the line of a row with too many or few fields."""
    # A post may be longer than the module's default limit on a field.
    csv.field_size_limit(max(len(text), 131_072))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise BadInput(uri, "the file is empty", "check the file")
        for row in reader:
            if len(row) != len(header) and row:
                raise BadInput(
                    uri,
                    f"line {reader.line_num}: expected {len(header)} fields, got {len(row)}",
                    "quote fields that hold commas or line breaks",
                )
    except csv.Error as error:
        raise BadInput(uri, f"line {reader.line_num}: {error}", "mend the quotes") from None
    return header


def _read_jsonl(uri: str, content: bytes) -> "pd.DataFrame":
    rows: list[Any] = []
    # Only "\n" ends a line: str.splitlines would also cut at separators inside a text.
    for number, line in enumerate(_decode(uri, content).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(
                uri, f"line {number}: not JSON: {error.msg}", "write one object a line"
            ) from None
        if not isinstance(row, dict):
            raise BadInput(uri, f"line {number}: not an object", "write one object a line")
        rows.append({name: _whole(value) for name, value in row.items()})
    import pandas as pd

    return pd.DataFrame(rows)


def _whole(value: Any) -> Any:
    """Replace half of a surrogate pair, which JSON can escape and no file can hold."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
