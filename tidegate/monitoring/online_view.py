"""What the online detectors see of rows: points, places among the reference's values, and marks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tidegate.monitoring.online_statistics import gaussian, median_width
from tidegate.records import CATEGORY_PREFIX, COMPONENT_PREFIX, NUMBER_PREFIX, SCORE

Values = npt.NDArray[np.float64]

FLAGGED, MISSING = "flagged", "missing"


class Rows(NamedTuple):
    """What is seen of rows, in their order.

    `points`, shape (rows, components), are standardised; `places`, shape (rows, numbers), say
    where each value lies among the reference's sorted ones, which lie at 0, 1, 2…, ties and
    missing cells (below all) broken at random; `marks`, shape (rows, shares), are 0 and 1.
    """

    points: Values
    places: Values
    marks: Values

    def joined(self, more: "Rows") -> "Rows":
        """Return these rows and, behind them, more."""
        return Rows(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))

    def cut(self, start: int, end: int | None = None) -> "Rows":
        """Return the rows from one place to another."""
        return Rows(*(part[start:end] for part in self))


class View:
    """How rows are seen from a reference.

    Parameters
    ----------
    reference : DataFrame
        Watched columns.
    threshold : float or None
        From which on a row is flagged.
    window : int
        Rows that the kernel's detector looks at: so many of the reference begin its stream.
    kernel_rows : int
        Reference rows that it is compared with.
    seed : int
        Of the choice of these.
    """

    def __init__(
        self, reference: Any, *, threshold: float | None, window: int, kernel_rows: int, seed: int
    ) -> None:
        names = [str(name) for name in reference.columns]
        self._components = [n for n in names if n.startswith(COMPONENT_PREFIX)]
        self.numbers = [n for n in names if n == SCORE or n.startswith(NUMBER_PREFIX)]
        self._may_miss = [n for n in names if n.startswith((NUMBER_PREFIX, CATEGORY_PREFIX))]
        self._threshold = threshold
        self.rows = len(reference)
        values = reference[self._components].to_numpy(np.float64)
        self._centre, self._spread = values.mean(axis=0), values.std(axis=0)
        self._spread[self._spread == 0] = 1.0
        self._sorted = [np.sort(_lowest(reference[name])) for name in self.numbers]
        marks = self._marks(reference)
        self.shares = [n for n, m in zip(self._names(), marks.T, strict=True) if 0 < m.mean() < 1]
        self.marked = {n: int(m.sum()) for n, m in zip(self._names(), marks.T, strict=True)}
        order = np.random.default_rng(seed).permutation(len(reference))
        points = self._points(reference)[order]
        kept = min(kernel_rows, len(points) - 3 * window)
        self.norm, self.first, self.others = (
            points[:kept],
            points[kept : kept + window],
            points[kept:],
        )
        self.width = median_width(self.norm) if self._components else 1.0
        within = gaussian(self.norm, self.norm, self.width)
        np.fill_diagonal(within, 0.0)
        self.within = float(within.sum(dtype=np.float64) / (kept * (kept - 1)))

    @property
    def components(self) -> int:
        """How many components a point has."""
        return len(self._components)

    def of(self, rows: Any, ids: Sequence[str]) -> Rows:
        """Return what is seen of rows; the same id breaks the same ties."""
        places = np.empty((len(rows), len(self.numbers)))
        for column, name in enumerate(self.numbers):
            lot, aside = (chance(ids, f"{name} {kind}") for kind in ("tie", "gap"))
            values, known = _lowest(rows[name]), self._sorted[column]
            low, high = (np.searchsorted(known, values, side=side) for side in ("left", "right"))
            below = low + np.floor(lot * (high - low + 1))
            places[:, column] = below - 0.9 + 0.8 * aside
        marks = self._marks(rows)[:, [self._names().index(name) for name in self.shares]]
        return Rows(self._points(rows), places, marks)

    def _points(self, table: Any) -> Values:
        values = table[self._components].to_numpy(np.float64)
        return np.asarray((values - self._centre) / self._spread)

    def _names(self) -> list[str]:
        return [FLAGGED, MISSING]

    def _marks(self, table: Any) -> Values:
        cut = np.inf if self._threshold is None else self._threshold
        flagged = table[SCORE].to_numpy(np.float64) >= cut
        missing = table[self._may_miss].isna().any(axis=1).to_numpy(bool)
        return np.stack([flagged, missing], axis=1).astype(np.float64)


def _lowest(cells: Any) -> Values:
    values = cells.to_numpy(np.float64)
    return np.where(np.isnan(values), -np.inf, values)


def chance(ids: Sequence[str], salt: str) -> Values:
    """Return a number in [0, 1) of every id, always the same."""
    import pandas as pd

    key = salt.encode()[:16].ljust(16, b"_").decode("latin-1")
    hashed = pd.util.hash_array(np.array(ids, dtype=object), hash_key=key, categorize=False)
    return np.asarray(hashed / 2.0**64, dtype=np.float64)
