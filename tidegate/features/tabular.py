"""Numeric and categorical columns to features."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import FeatureConfig
from tidegate.features.cells import as_category, as_numbers
from tidegate.features.interface import State, Transformer
from tidegate.features.sparse_rows import csr_of, of_dense

# A value beyond ten standard deviations says "very large"; how large would only swamp the rest.
_MAX_DEVIATIONS = 10.0


class NumericBlock:
    """A number, imputed with the median and standardised, and whether it was missing.

    Infinite values count as missing; a constant column gives zeros.

    Parameters
    ----------
    unit : float
        Largest magnitude in training, divided out first so that no square overflows.
    median, mean, deviation : float
        Of the imputed training rows, in `unit`; mean and deviation are about the median.
    """

    def __init__(
        self, unit: float = 1.0, median: float = 0.0, mean: float = 0.0, deviation: float = 0.0
    ) -> None:
        self._unit, self._median, self._mean, self._deviation = unit, median, mean, deviation

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "NumericBlock":
        """Learn median, mean and deviation."""
        numbers = as_numbers(values)
        known = numbers[~np.isnan(numbers)]
        if not known.size:
            return NumericBlock()
        unit = float(np.abs(known).max()) or 1.0
        median = float(np.median(known / unit))
        offsets = np.nan_to_num(numbers / unit - median, nan=0.0)
        return NumericBlock(unit, median, float(offsets.mean()), float(offsets.std()))

    def transform(self, values: Sequence[Any]) -> Any:
        """Return value and missing indicator, CSR float32 of shape (rows, 2)."""
        numbers = as_numbers(values)
        missing = np.isnan(numbers)
        block = np.zeros((numbers.size, 2), dtype=np.float32)
        block[:, 1] = missing
        if self._deviation > 0:
            with np.errstate(over="ignore"):
                offsets = np.where(missing, 0.0, numbers / self._unit - self._median)
                scaled = (offsets - self._mean) / self._deviation
            block[:, 0] = np.clip(scaled, -_MAX_DEVIATIONS, _MAX_DEVIATIONS)
        return of_dense(block)

    def get_feature_names_out(self) -> Sequence[str]:
        """Return the names of the two features."""
        return ("value", "missing")

    def state(self) -> State:
        """Return the four fitted numbers."""
        return {
            "unit": self._unit,
            "median": self._median,
            "mean": self._mean,
            "deviation": self._deviation,
        }, {}


class CategoricalBlock:
    """One-hot over the frequent categories, one slot for all others and one for missing.

    Parameters
    ----------
    min_rows : int
        Training rows below which a category shares the slot of the unseen ones.
    categories : sequence of str
        The categories with a slot of their own, in column order, once fitted.
    """

    def __init__(self, min_rows: int, categories: Sequence[str] = ()) -> None:
        self._min_rows = min_rows
        self._categories = list(categories)
        self._slot_of = {name: slot for slot, name in enumerate(self._categories)}

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "CategoricalBlock":
        """Learn which categories are frequent."""
        rows_of = Counter(as_category(value) for value in values)
        frequent = (name for name, rows in rows_of.items() if name and rows >= self._min_rows)
        return CategoricalBlock(self._min_rows, sorted(frequent))

    def transform(self, values: Sequence[Any]) -> Any:
        """Return the one-hot rows, CSR float32 of shape (rows, categories + 2)."""
        slots = np.array([self._slot(as_category(value)) for value in values], dtype=np.int32)
        ones, ends = np.ones(slots.size, dtype=np.float32), np.arange(slots.size + 1)
        return csr_of(ones, slots, ends, (slots.size, len(self._categories) + 2))

    def _slot(self, name: str | None) -> int:
        others = len(self._categories)
        return others + 1 if name is None else self._slot_of.get(name, others)

    def get_feature_names_out(self) -> Sequence[str]:
        """Return ``=category`` for each category, then ``other`` and ``missing``."""
        return (*(f"={name}" for name in self._categories), "other", "missing")

    def state(self) -> State:
        """Return the categories."""
        return {"min_rows": self._min_rows, "categories": self._categories}, {}


def _build_numeric(config: FeatureConfig) -> NumericBlock:
    return NumericBlock()


def _restore_numeric(state: State) -> NumericBlock:
    return NumericBlock(**state[0])


def _build_categorical(config: FeatureConfig) -> CategoricalBlock:
    return CategoricalBlock(config.min_category_rows)


def _restore_categorical(state: State) -> CategoricalBlock:
    values: Mapping[str, Any] = state[0]
    return CategoricalBlock(**values)


NUMERIC = Transformer("numeric", "numeric", _build_numeric, _restore_numeric, "tabular")
CATEGORICAL = Transformer(
    "categorical", "categorical", _build_categorical, _restore_categorical, "tabular"
)
