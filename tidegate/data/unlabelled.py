"""Rows without labels: what a light model may learn of a heavy one, and nothing is judged on."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tidegate.config import DataConfig
from tidegate.data.columns import read_texts, stored_column
from tidegate.data.duplicates import normalise_text
from tidegate.data.sources import read_source, require_column
from tidegate.records import ID, Column


def read_unlabelled(
    config: DataConfig,
    columns: Sequence[Column],
    train: pd.DataFrame,
    judged_on: Sequence[pd.DataFrame],
) -> tuple[pd.DataFrame, str]:
    """Read the tables of ``data.unlabelled`` in the layout of a split, without any role but `ID`.

    A row goes when its text (case and white space folded) stands in a table that models are judged
    on, in training, or in a row before it. Without a text column every row stays.

    Parameters
    ----------
    config : DataConfig
        Its `unlabelled` is not empty.
    columns : sequence of Column
        Feature columns of the snapshot; a table must have all of them, others are ignored.
    train : DataFrame
        The snapshot's training rows.
    judged_on : sequence of DataFrame
        Validation, holdout and, where there is one, the golden set.

    Returns
    -------
    tuple
        The rows, and a notice that counts what stayed and what went.

    Raises
    ------
    BadInput
        If a table cannot be read or lacks a feature column.
    """
    table = read_source(config.unlabelled, as_text=set(config.text))
    there = set(table.columns)
    for column in columns:
        require_column(column.name, there, "data.unlabelled")
    text = read_texts(table, config, [])
    rows = pd.DataFrame({ID: [f"unlabelled {number}" for number in range(len(table))]})
    rows = rows.assign(**{column.name: stored_column(table, text, column) for column in columns})
    fresh = np.ones(len(rows), dtype=np.bool_)
    if config.text:
        seen = {key for frame in (train, *judged_on) for key in _texts(frame, config.text)}
        for place, key in enumerate(_texts(rows, config.text)):
            fresh[place] = key not in seen
            seen.add(key)
    notice = f"{int(fresh.sum())} unlabelled rows"
    if not fresh.all():
        notice += f"; dropped {int((~fresh).sum())} whose text stands in another row"
    return rows[fresh].reset_index(drop=True), notice


def _texts(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        tuple(normalise_text(cell) for cell in row)
        for row in frame[list(columns)].itertuples(index=False)
    ]
