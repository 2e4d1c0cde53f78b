"""Times as users write them: epoch numbers, ISO 8601 strings, datetimes; always UTC here."""

from typing import Any

import numpy as np
import pandas as pd

from tidegate.data.labels import value_name
from tidegate.errors import BadInput

# Epoch counts up to the year 5138 are below 1e11 in seconds and above it in finer units.
_UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (np.inf, "ns"))


def read_times(values: "pd.Series[Any]", column: str) -> "pd.Series[Any]":
    """Parse a column of times.

    Parameters
    ----------
    values : Series
        Datetimes, ISO 8601 strings, or a count of seconds, milli-, micro- or nanoseconds since
        1970 (told apart by the largest one). Times without a zone are taken as UTC.
    column : str
        Its name, for messages.

    Returns
    -------
    Series of datetime64[us, UTC]
        NaT where the value is missing.

    Raises
    ------
    BadInput
        If a value is no time; the message counts them and gives the first row, not its content.
    """
    missing = np.fromiter((value_name(value) is None for value in values), np.bool_, len(values))
    numbers = pd.to_numeric(values.where(~missing), errors="coerce")
    if pd.api.types.is_datetime64_any_dtype(values):
        parsed = pd.to_datetime(values, utc=True)
    elif numbers.notna().sum() == (~missing).sum() and not missing.all():
        floats = numbers.astype(float)
        largest = float(floats.abs().max())
        unit = next(name for limit, name in _UNITS if largest < limit or limit == np.inf)
        parsed = pd.to_datetime(floats, unit=unit, utc=True, errors="coerce")
    else:
        strings = values.astype(object).where(~missing, None)
        parsed = pd.to_datetime(strings, format="ISO8601", utc=True, errors="coerce")
    bad = np.flatnonzero(parsed.isna().to_numpy() & ~missing)
    if len(bad):
        raise BadInput(
            "data.time",
            f"{len(bad)} of {len(values)} values in column {column!r} are not times, the first in "
            f"row {bad[0] + 1}",
            "write ISO 8601 (2024-05-01T12:00:00Z) or seconds since 1970",
        )
    return parsed.astype("datetime64[us, UTC]")
