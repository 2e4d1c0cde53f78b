"""Windows of served rows, in the same projected space as the training reference."""

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
    tables = [_read(path, min_rows) for path in (reference, window)]
    first, second = (list(table.columns) for table in tables)
    if first != second:
        odd = sorted(set(first).symmetric_difference(second)) or ["their order"]
        raise BadInput(
            str(window),
            f"has not the columns of the reference ({', '.join(odd[:5])})",
            "project both with the same bundle",
        )
    return tables[0], tables[1]


def _read(path: Path, min_rows: int) -> Any:
    try:
        table = read_table(path)
    except FileNotFoundError:
        raise BadInput(str(path), "no such table", "build the bundle again") from None
    except (OSError, ValueError) as error:
        raise BadInput(str(path), f"not a readable table: {error}", "build it again") from None
    if len(table) < min_rows:
        problem = f"has {len(table)} rows, a drift check needs {min_rows}"
        raise BadInput(str(path), problem, "take a longer window")
    for name in table.columns:
        try:
            values = table[name].to_numpy(dtype=np.float64)
        except (TypeError, ValueError):
            raise BadInput(str(path), f"{name} is not numeric", "project the rows first") from None
        broken = int((~np.isfinite(values)).sum())
        if broken:
            problem = f"{name} has {broken} values that are not finite, in {len(table)} rows"
            raise BadInput(str(path), problem, "mend the rows that were projected")
    return table.astype(np.float64)
