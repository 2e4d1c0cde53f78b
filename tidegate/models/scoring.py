"""Scored tables: what evaluation reads instead of models."""

from typing import Any

from tidegate.models.bundle import Bundle
from tidegate.records import GROUP_PREFIX, ID, LABEL, TIME, WEIGHT


def score_table(bundle: Bundle, split: Any) -> Any:
    """Score a snapshot's split.

    Parameters
    ----------
    bundle : Bundle
        The model and its featurizer.
    split : DataFrame
        A table of a snapshot: input columns and role columns.

    Returns
    -------
    DataFrame
        ``id``, ``time``, ``label``, ``weight``, ``score`` and each group under its own name,
        rows in the order of `split`. Times are missing (NaT) where the snapshot has none.
    """
    import pandas as pd

    # An index of its own: the split may be a selection whose index has gaps.
    split = split.reset_index(drop=True)
    columns = {
        "id": split[ID],
        "time": split[TIME] if TIME in split else pd.Series(pd.NaT, index=split.index),
        "label": split[LABEL],
        "weight": split[WEIGHT],
        "score": bundle.score(split),
    }
    groups = [column for column in split if str(column).startswith(GROUP_PREFIX)]
    columns |= {column.removeprefix(GROUP_PREFIX): split[column] for column in groups}
    return pd.DataFrame(columns)
