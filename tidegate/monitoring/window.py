"""Windows of served rows, in the same projected space as the training reference.

The half of a drift check that needs the bundle's own environment; `tidegate.monitoring.drift` is
the other one.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tidegate.errors import BadInput
from tidegate.records import CATEGORY_PREFIX, NUMBER_PREFIX, SCORE, BundleManifest
from tidegate.store import read_table, write_table

#: Columns of a reference that are not watched but say how its rows turned out.
_ROLES = frozenset({"label", "weight", "time"})


class Watched(Protocol):
    """What a window needs of a bundle."""

    @property
    def featurizer(self) -> Any:
        """A `tidegate.features.featurizer.Featurizer`."""

    @property
    def manifest(self) -> BundleManifest:
        """The bundle's inputs."""

    def score(self, frame: Any) -> Any:
        """Return P(violating) of every row."""


def write_window(bundle: Watched, frame: Any, out: Path) -> None:
    """Write what is watched of rows as Parquet, as the bundle's reference was written.

    Parameters
    ----------
    bundle : Bundle
        The loaded bundle that served the rows.
    frame : pandas.DataFrame
        The rows, with the bundle's input columns; a column ``score`` that is none of them is what
        the bundle answered, and saves scoring them again.
    out : Path
        See `tidegate.models.watched`.
    """
    from tidegate.models.watched import watched_table

    inputs = bundle.manifest.inputs
    answered = SCORE in frame and all(column.name != SCORE for column in inputs)
    score = frame[SCORE].to_numpy(np.float64) if answered else bundle.score(frame)
    write_table(out, watched_table(bundle.featurizer, inputs, frame, score))


def read_comparable(reference: Path, window: Path, *, min_rows: int) -> tuple[Any, Any]:
    """Read a reference and a window that a drift test can compare.

    Returns
    -------
    tuple of pandas.DataFrame
        Reference and window with the same watched columns in the same order, numbers as float64
        and categories as strings, None where a cell is missing.

    Raises
    ------
    BadInput
        If a table is missing or short, the columns differ, or a score or a component is not a
        finite number. Such rows are not dropped: a test on the rest could call a broken window
        unmoved. Missing numbers and categories are what is tested, and stay.
    """
    tables = [
        _read(reference, str(reference), min_rows, "build the bundle again"),
        _read(window, "window", min_rows, "take a longer or another window"),
    ]
    first, second = ([c for c in table.columns if c not in _ROLES] for table in tables)
    if first != second:
        odd = sorted(set(first).symmetric_difference(second)) or ["their order"]
        raise BadInput(
            "window",
            f"has not the columns of the reference ({', '.join(odd[:5])})",
            "project both with the same bundle",
        )
    return tables[0], tables[1]


def read_watched(reference: Path, *, min_rows: int) -> Any:
    """Read a reference's watched columns; see `read_comparable`."""
    table = _read(reference, str(reference), min_rows, "build the bundle again")
    return table[[name for name in table.columns if name not in _ROLES]]


def _read(path: Path, where: str, min_rows: int, mend: str) -> Any:
    try:
        table = read_table(path)
    except FileNotFoundError:
        raise BadInput(where, "no such table", mend) from None
    except (OSError, ValueError) as error:
        raise BadInput(where, f"not a readable table: {error}", mend) from None
    require_rows(len(table), where, min_rows, mend)
    return table.assign(
        **{name: _cells(table[name], name, where, mend) for name in table if name not in _ROLES}
    )


def _cells(column: Any, name: str, where: str, mend: str) -> Any:
    if name.startswith(CATEGORY_PREFIX):
        return column.astype("string").astype(object).where(column.notna(), None)
    try:
        values = column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(where, f"{name} is not numeric", mend) from None
    may_miss = name.startswith(NUMBER_PREFIX)
    broken = int((np.isinf(values) if may_miss else ~np.isfinite(values)).sum())
    if broken:
        problem = f"{name} has {broken} values that are not finite, in {len(values)} rows"
        raise BadInput(where, problem, mend)
    return values


def require_rows(rows: int, where: str, min_rows: int, mend: str) -> None:
    """Refuse a table that is too short to say anything.

    Raises
    ------
    BadInput
        If it has fewer than `min_rows` rows.
    """
    if rows < min_rows:
        raise BadInput(where, f"has {rows} rows, a drift check needs {min_rows}", mend)
