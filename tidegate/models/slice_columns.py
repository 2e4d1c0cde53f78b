"""What rows can be told apart by when errors are looked for: categories, length, script."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidegate.features.statistics import NAMES, SCRIPTS, describe
from tidegate.records import SLICE_PREFIX, Column

_LENGTHS = (20, 50, 100, 200, 500)
_CHARACTERS = 500  # enough of a text to tell its script by


def slice_columns(rows: Any, columns: Sequence[Column]) -> dict[str, Any]:
    """Return the slicing columns of a split, under `SLICE_PREFIX`.

    Parameters
    ----------
    rows : DataFrame
        A table of a snapshot.
    columns : sequence of Column
        Its feature columns: categorical ones as they are, texts by length in characters and by
        the script of most letters (which is as near to language as one gets without a model).
    """
    found: dict[str, Any] = {}
    for column in columns:
        if column.kind == "categorical":
            found[SLICE_PREFIX + column.name] = rows[column.name].to_numpy(dtype=object)
        elif column.kind == "text":
            texts = [str(text) for text in rows[column.name]]
            found[f"{SLICE_PREFIX}{column.name}.length"] = _lengths(texts)
            found[f"{SLICE_PREFIX}{column.name}.script"] = [_script(text) for text in texts]
    return found


def _lengths(texts: Sequence[str]) -> list[str]:
    bounds = [0, *_LENGTHS]
    names = [f"{low + 1}–{high} characters" for low, high in zip(bounds, _LENGTHS, strict=False)]
    names = ["empty", *names, f"over {_LENGTHS[-1]} characters"]
    places = np.searchsorted(bounds, [len(text) for text in texts])
    return [names[place] for place in places]


def _script(text: str) -> str:
    shares = dict(zip(NAMES, describe(text[:_CHARACTERS]), strict=True))
    best = max((*SCRIPTS, "other_script"), key=lambda name: shares[name])
    return best if shares[best] > 0 else "no letters"
