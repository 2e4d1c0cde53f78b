"""From the user's label column to violating (1) and not (0), with a weight a row."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.config import DataConfig, LabelValue
from tidegate.errors import BadInput

_BINARY = {"0": 0, "1": 1, "false": 0, "true": 1}
# Above this a "label" is more likely a text or an id, and its values must not be printed.
_MAX_SHOWN_VALUES = 20


def value_name(value: object) -> str | None:
    """Return one spelling for a value however it was stored (1, 1.0, True); None if missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NaT:
        return None
    if value is pd.NA:
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def read_labels(names: Sequence[str], config: DataConfig) -> npt.NDArray[np.int8]:
    """Map label names to 0 and 1.

    Parameters
    ----------
    names : sequence of str
        Labels as `value_name` spells them, none missing.

    Raises
    ------
    BadInput
        If a value is neither 0/1 nor sorted by ``violating``, or only one class is there.
    """
    found = sorted(set(names))
    if config.violating is None:
        unknown = [name for name in found if name.casefold() not in _BINARY]
        if unknown:
            raise BadInput(
                "data.label",
                f"column {config.label!r} has {_shown(found)}, which are not 0/1",
                "say which count as violating, for example violating: [VALUE]",
            )
        of_name = {name: _BINARY[name.casefold()] for name in found}
    else:
        violating = {_wanted(value, found, config.label) for value in config.violating}
        of_name = {name: int(name in violating) for name in found}
    labels = np.fromiter((of_name[name] for name in names), dtype=np.int8, count=len(names))
    if len(set(of_name.values())) < 2:
        kind = "violating" if len(labels) and labels[0] else "not violating"
        raise BadInput(
            "data.label",
            f"column {config.label!r} has one class only: every row is {kind}",
            "add rows of the other class, or mend data.violating",
        )
    return labels


def _wanted(value: LabelValue, found: Sequence[str], column: str) -> str:
    name = value_name(value)
    if name in found:
        return str(name)
    if isinstance(value, bool):
        # YAML reads an unquoted yes, no, on or off as a boolean.
        word = next((f for f in found if f.casefold() in {"yes", "no", "on", "off"}), None)
        if word:
            raise BadInput(
                "data.violating",
                f"YAML reads an unquoted word such as yes as {value}; column {column!r} has words",
                "put the value in quotes, for example violating: ['yes']",
            )
    near = difflib.get_close_matches(str(name), found, n=1, cutoff=0.5)
    raise BadInput(
        "data.violating",
        f"value {value!r} never occurs in column {column!r}, which has {_shown(found)}",
        f"did you mean {near[0]!r}?" if near else "write one of those values",
    )


def _shown(found: Sequence[str]) -> str:
    if len(found) > _MAX_SHOWN_VALUES:
        return f"{len(found)} different values"
    return "the values " + ", ".join(repr(name[:40]) for name in found)


def read_weights(
    sources: "pd.Series[Any] | None", weights: Mapping[str, float], rows: int
) -> npt.NDArray[np.float64]:
    """Return the trust in each row's label by where it came from; 1 where nothing is said.

    Raises
    ------
    BadInput
        If ``label_weights`` names a source that no row has while a row has one spelt much like
        it. A source that is merely absent this time (a week without appeals) is no mistake.
    """
    if sources is None:
        return np.ones(rows)
    names = [value_name(value) for value in sources]
    found = sorted({name for name in names if name is not None})
    for source in weights:
        unweighted = [name for name in found if name not in weights]
        near = difflib.get_close_matches(source, unweighted, n=1, cutoff=0.5)
        if source not in found and near:
            raise BadInput(
                "data.label_weights",
                f"no row has the label source {source!r}; there are {_shown(found)}",
                f"did you mean {near[0]!r}?",
            )
    return np.fromiter(
        (1.0 if name is None else weights.get(name, 1.0) for name in names),
        dtype=np.float64,
        count=rows,
    )
