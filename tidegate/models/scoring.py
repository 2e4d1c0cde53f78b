"""Scored tables: what evaluation reads instead of models, and what batch scoring writes."""

from typing import Any

from tidegate.errors import BadInput
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


def score_source(bundle: Bundle, table: Any, *, id_column: str | None = None) -> Any:
    """Score a table that the user brings.

    Parameters
    ----------
    bundle : Bundle
        The model and its featurizer.
    table : DataFrame
        Any table with the bundle's input columns.
    id_column : str, optional
        Column that names the rows; without one, ``id`` if there is such a column, else the row
        number.

    Returns
    -------
    DataFrame
        ``id``, ``score``, ``flagged`` (missing when the bundle has no threshold) and
        ``model_version``, rows in the order of `table`.

    Raises
    ------
    BadInput
        If an input column or the id column is missing.
    """
    import pandas as pd

    if id_column is not None and id_column not in table:
        raise BadInput("--id", f"the table has no column {id_column!r}", "name a column it has")
    name = id_column or ("id" if "id" in table else None)
    score = bundle.score(table)
    threshold = bundle.manifest.threshold
    return pd.DataFrame(
        {
            "id": range(len(table)) if name is None else table[name].to_numpy(),
            "score": score,
            "flagged": pd.array(
                [pd.NA] * len(table) if threshold is None else score >= threshold, dtype="boolean"
            ),
            "model_version": bundle.manifest.version,
        }
    )
