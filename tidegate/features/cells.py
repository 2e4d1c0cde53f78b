"""What one cell of a table says, whichever way it came: a frame, JSON or a dictionary."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_SURROGATE = re.compile("[\ud800-\udfff]")


def is_missing(value: Any) -> bool:
    """Say whether a cell is None, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    if isinstance(value, str):
        return False
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA has no truth value
        return True
    except ValueError:  # an array compares element by element
        return False


def as_text(value: Any) -> str:
    """Return the cell as text that UTF-8 can hold; a missing cell is the empty text.

    JSON may carry half of a surrogate pair, which no file can store: it becomes
    U+FFFD, and two halves that belong together become the character they mean.
    """
    text = value if isinstance(value, str) else "" if is_missing(value) else str(value)
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_category(value: Any) -> str | None:
    """Return the cell as the name of a category, None where it is missing or empty.

    A whole number reads the same as an integer and as a float, because a table with a missing
    value turns integers into floats and a request does not.
    """
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        value = int(value)
    return as_text(value) or None


def as_numbers(values: Sequence[Any]) -> npt.NDArray[np.float64]:
    """Return a column as numbers, NaN where a cell is missing, infinite or no number.

    Returns
    -------
    ndarray of shape (rows,)
    """
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        numbers = np.array(values, dtype=np.float64)
    else:
        numbers = np.array([_as_number(value) for value in values], dtype=np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _as_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
