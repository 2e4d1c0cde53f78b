"""Features that give the label away, most often because they were made from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.data.columns import as_numeric
from tidegate.records import Column

#: A single feature that ranks the training labels this well was most likely made from them.
SUSPECT_ROC_AUC = 0.99
# Smaller categories are pooled: a category of one row separates itself.
_MIN_CATEGORY_ROWS = 5
# So many rows of one value, all violating, are suspect where chance would hardly make them so.
_MIN_PURE_ROWS = 50
_MAX_PURE_CHANCE = 1e-6
# A number with more values than this is a measurement, not a code.
_MAX_PURE_VALUES = 50


def leak_notices(
    train: pd.DataFrame, columns: Sequence[Column], labels: npt.NDArray[np.int8]
) -> list[str]:
    """Name the features that alone rank the training labels almost perfectly."""
    notices = []
    for column in columns:
        if column.kind == "text":
            continue
        reason = leak_reason(train[column.name], column.kind, labels)
        if reason is not None:
            notices.append(
                f"column {column.name!r} {reason}: if it was made from the label, add it to "
                "data.ignore"
            )
    return notices


def leak_reason(values: "pd.Series[Any]", kind: str, labels: npt.NDArray[np.int8]) -> str | None:
    """Say why one column is suspected of being made from the label, or None."""
    auc = single_column_roc_auc(values, kind, labels)
    if auc > SUSPECT_ROC_AUC:
        return f"alone separates the label (ROC-AUC {auc:.3f} in training)"
    if kind == "numeric" and values.nunique() > _MAX_PURE_VALUES:
        return None
    by_value = pd.Series(labels, index=values.index).groupby(values)
    shares, sizes = by_value.mean(), by_value.size()
    suspect = (sizes >= _MIN_PURE_ROWS) & (float(labels.mean()) ** sizes < _MAX_PURE_CHANCE)
    always = int(sizes[(shares == 1) & suspect].sum())
    if always:
        return f"has values whose {always} training rows are all violating"
    return None


def single_column_roc_auc(
    values: "pd.Series[Any]", kind: str, labels: npt.NDArray[np.int8]
) -> float:
    """Return how well one column ranks the labels, in either direction: 0.5 to 1.

    Categories are ranked by their share of violating rows, small ones pooled. Missing values
    rank together, below all others.
    """
    if kind == "numeric":
        ranks = pd.Series(as_numeric(values)).rank(na_option="top")
    else:
        keys = values.astype(object).where(values.notna(), "")
        sizes = keys.map(keys.value_counts())
        keys = keys.where(sizes >= _MIN_CATEGORY_ROWS, "\0pooled")
        target = pd.Series(labels, index=keys.index)
        ranks = target.groupby(keys).transform("mean").rank()
    positive = labels == 1
    count = int(positive.sum())
    pairs = count * (len(labels) - count)
    if not pairs:
        return 0.5
    wins = float(ranks.to_numpy()[positive].sum()) - count * (count + 1) / 2
    return max(wins / pairs, 1 - wins / pairs)
