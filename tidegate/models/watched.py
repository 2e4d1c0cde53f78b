"""What a drift check sees of rows: projections, typed columns, text statistics, scores; no text.

The same function writes the reference, which travels in the bundle, and every later window.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.features.featurizer import Featurizer
from tidegate.features.statistics import NAMES as STATISTICS
from tidegate.features.statistics import SCRIPTS, describe
from tidegate.models.interface import Model, Scores
from tidegate.models.target import score_of
from tidegate.records import (
    CATEGORY_PREFIX,
    COMPONENT_PREFIX,
    LABEL,
    NUMBER_PREFIX,
    SCORE,
    TIME,
    WEIGHT,
    Column,
    Target,
)

_FIRST_SCRIPT = STATISTICS.index(SCRIPTS[0])
_ROLES = {LABEL: "label", WEIGHT: "weight", TIME: "time"}


def watched_table(
    featurizer: Featurizer, columns: Sequence[Column], frame: Any, score: Scores
) -> Any:
    """Return what is watched of a frame's rows.

    Parameters
    ----------
    featurizer : Featurizer
        Of the bundle that scored them.
    columns : sequence of Column
        The bundle's inputs.
    frame : DataFrame
        The rows, with the inputs.
    score : array, shape (rows,)
        What the bundle gave them.

    Returns
    -------
    DataFrame
        ``component_NN`` float32, ``score``, ``number_NAME`` (numeric inputs; of texts their
        characters and words) and ``category_NAME`` (categorical inputs; of texts the script that
        most of their letters are of, which moves with the mix of languages). A missing cell stays
        missing.
    """
    import pandas as pd

    projected = featurizer.project(frame)
    watched: dict[str, Any] = {
        f"{COMPONENT_PREFIX}{number:02d}": projected[:, number]
        for number in range(projected.shape[1])
    }
    watched[SCORE] = np.asarray(score, dtype=np.float64)
    for column in columns:
        cells = frame[column.name]
        if column.kind == "numeric":
            watched[f"{NUMBER_PREFIX}{column.name}"] = pd.to_numeric(cells).to_numpy(np.float64)
        elif column.kind == "categorical":
            watched[f"{CATEGORY_PREFIX}{column.name}"] = cells.astype("string").to_numpy(object)
        else:
            watched |= _of_texts(column.name, cells)
    return pd.DataFrame(watched)


def drift_reference(
    featurizer: Featurizer,
    model: Model,
    frame: Any,
    *,
    columns: Sequence[Column],
    target: Target,
    max_rows: int,
    seed: int,
) -> Any:
    """Return what is watched of rows that the model has not seen, with their labels: the norm.

    Parameters
    ----------
    featurizer, model
        Fitted on training rows.
    frame : DataFrame
        The snapshot's validation rows: training rows would flatter, for the vocabulary is theirs.
    columns : sequence of Column
        The bundle's inputs.
    target : Target
        What the model's outputs mean.
    max_rows : int
        Rows to keep, chosen at random when there are more.
    seed : int
        Of that choice.

    Returns
    -------
    DataFrame
        As `watched_table`, and ``label``, ``weight`` and, where the snapshot has it, ``time``;
        rows in the frame's order.
    """
    chosen = reference_rows(len(frame), max_rows, seed)
    rows = frame.iloc[chosen].reset_index(drop=True)
    score = score_of(target, np.asarray(model.predict_proba(featurizer.transform(rows))))
    watched = watched_table(featurizer, columns, rows, score)
    roles = {name: rows[role] for role, name in _ROLES.items() if role in rows}
    return watched.assign(**roles)


def reference_rows(rows: int, max_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Return which of a number of rows `drift_reference` keeps, ascending."""
    if rows <= max_rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, max_rows, replace=False))


def _of_texts(name: str, texts: Any) -> dict[str, Any]:
    told = np.array([describe("" if text is None else str(text)) for text in texts])
    told = told.reshape(len(texts), len(STATISTICS))
    shares = told[:, _FIRST_SCRIPT : _FIRST_SCRIPT + len(SCRIPTS)]
    script = np.array(SCRIPTS, dtype=object)[shares.argmax(axis=1)] if len(told) else np.array([])
    script[shares.sum(axis=1) == 0] = "none"
    return {
        f"{NUMBER_PREFIX}{name}_characters": told[:, STATISTICS.index("characters")],
        f"{NUMBER_PREFIX}{name}_words": told[:, STATISTICS.index("words")],
        f"{CATEGORY_PREFIX}{name}_script": script,
    }
