"""Windows of served rows, in the same projected space as the training reference.

``python -m tidegate.monitoring.window --bundle B --rows ROWS.parquet --out WINDOW.parquet`` is the
half of a drift check that needs the bundle's own environment; `tidegate.monitoring.drift` is the
other one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tidegate.errors import BadInput
from tidegate.store import read_table, write_table


class Projected(Protocol):
    """What a window needs of a bundle: the featurizer that projects its rows."""

    @property
    def featurizer(self) -> Any:
        """A `tidegate.features.featurizer.Featurizer`."""


def write_window(bundle: Projected, frame: Any, out: Path) -> None:
    """Project rows as the bundle's reference was projected, and write them as Parquet.

    Parameters
    ----------
    bundle : Bundle
        The loaded bundle that served the rows.
    frame : pandas.DataFrame
        The rows, with the bundle's input columns.
    out : Path
        Receives the columns ``component_00``, ``component_01``, …, as in the reference.
    """
    from tidegate.models.bundle import projected_table

    write_table(out, projected_table(bundle.featurizer, frame))


def read_comparable(reference: Path, window: Path, *, min_rows: int) -> tuple[Any, Any]:
    """Read a reference and a window that a drift test can compare.

    Returns
    -------
    tuple of pandas.DataFrame
        Reference and window, float64, with the same columns in the same order.

    Raises
    ------
    BadInput
        If a table is missing or short, the columns differ, or a value is not a finite number.
        Such rows are not dropped: a test on the rest could call a broken window unmoved.
    """
    tables = [
        _read(reference, str(reference), min_rows, "build the bundle again"),
        _read(window, "window", min_rows, "take a longer or another window"),
    ]
    first, second = (list(table.columns) for table in tables)
    if first != second:
        odd = sorted(set(first).symmetric_difference(second)) or ["their order"]
        raise BadInput(
            "window",
            f"has not the columns of the reference ({', '.join(odd[:5])})",
            "project both with the same bundle",
        )
    return tables[0], tables[1]


def _read(path: Path, where: str, min_rows: int, mend: str) -> Any:
    try:
        table = read_table(path)
    except FileNotFoundError:
        raise BadInput(where, "no such table", mend) from None
    except (OSError, ValueError) as error:
        raise BadInput(where, f"not a readable table: {error}", mend) from None
    require_rows(len(table), where, min_rows, mend)
    for name in table.columns:
        try:
            values = table[name].to_numpy(dtype=np.float64)
        except (TypeError, ValueError):
            raise BadInput(where, f"{name} is not numeric", mend) from None
        broken = int((~np.isfinite(values)).sum())
        if broken:
            problem = f"{name} has {broken} values that are not finite, in {len(table)} rows"
            raise BadInput(where, problem, mend)
    return table.astype(np.float64)


def require_rows(rows: int, where: str, min_rows: int, mend: str) -> None:
    """Refuse a table that is too short to say anything.

    Raises
    ------
    BadInput
        If it has fewer than `min_rows` rows.
    """
    if rows < min_rows:
        raise BadInput(where, f"has {rows} rows, a drift check needs {min_rows}", mend)


def main(arguments: Sequence[str] | None = None) -> int:
    """Project a table of rows with a bundle; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.monitoring.window")
    parser.add_argument("--bundle", type=Path, required=True, help="bundle that served the rows")
    parser.add_argument("--rows", required=True, help="table of the rows, path or URI")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    given = parser.parse_args(arguments)
    try:
        from tidegate.data.ingest import read_source
        from tidegate.models.bundle import load_bundle

        write_window(load_bundle(given.bundle), read_source([given.rows]), given.out)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
