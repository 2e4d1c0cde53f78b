"""Rows of a window as the payload log holds them, and their labels: what is usable, what is not."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from tidegate.errors import BadInput
from tidegate.records import INPUT_PREFIX, SCORE, Column, LeftOut
from tidegate.records.serving import LogReading
from tidegate.serving.log_reader import read_log

_ID, _ROW, _VERSION, _TIME = "event_id", "row_id", "model_version", "time"


class Served(NamedTuple):
    """Usable rows: the model's inputs, `score` and `time`, under the ids of their posts."""

    frame: Any
    reading: LogReading
    left_out: LeftOut


def read_served(
    log_uri: str,
    since: datetime,
    until: datetime,
    *,
    columns: Sequence[Column],
    versions: Collection[str],
    late_hours: float,
    max_rows: int,
    seed: int,
) -> Served:
    """Read the rows that one model served in a window, under whatever thresholds.

    Parameters
    ----------
    log_uri : str
        The payload log.
    columns : sequence of Column
        The bundle's inputs; none reads scores alone.
    versions : collection of str
        Of the bundle, and of earlier ones with the same scores.
    max_rows : int
        Of more a sample is returned.

    Raises
    ------
    BadInput
        If the log cannot be reached.
    """
    inputs = [f"{INPUT_PREFIX}{column.name}" for column in columns]
    names = [_ID, _ROW, _TIME, _VERSION, SCORE, *inputs]
    found, reading = read_log(log_uri, since, until, names, late_seconds=3600 * late_hours)
    import pandas as pd

    own = found[found[_VERSION].astype("string").isin(versions).to_numpy(bool)]
    score = pd.to_numeric(own[SCORE], errors="coerce")
    scored = own[np.isfinite(score.to_numpy(np.float64, na_value=np.nan))]
    frame, broken = _cells(scored, columns)
    ids = scored[_ROW].where(scored[_ROW].notna(), scored[_ID]).astype(str).to_numpy(object)
    frame.index = pd.Index(ids, dtype=object)
    frame = frame.assign(
        **{SCORE: score.loc[scored.index].to_numpy(np.float64), _TIME: scored[_TIME].to_numpy()}
    )
    frame = frame[~broken]
    if len(frame) > max_rows:
        chosen = np.random.default_rng(seed).choice(len(frame), size=max_rows, replace=False)
        frame = frame.iloc[np.sort(chosen)]
    return Served(
        frame,
        reading,
        LeftOut(
            other_version_rows=len(found) - len(own),
            unscored_rows=len(own) - len(scored),
            unreadable_cells_rows=int(broken.sum()),
        ),
    )


def read_labels(source: str) -> tuple[Any, LeftOut]:
    """Read labels that came back: `row_id` and `label` (1 violates), the last of an id counts.

    Returns
    -------
    tuple
        Labels under their ids as a Series, and what was left out.

    Raises
    ------
    BadInput
        If there is no such table, or it lacks a column.
    """
    import pandas as pd

    from tidegate.data.ingest import read_source

    table = read_source([source], as_text=(_ROW, _ID, "id"))
    key = next((name for name in (_ROW, _ID, "id") if name in table), None)
    if key is None or "label" not in table:
        problem = "needs the columns row_id and label"
        raise BadInput(source, problem, "write the table of labels with both")
    label = pd.to_numeric(table["label"], errors="coerce")
    usable = (label.isin([0, 1]) & table[key].notna()).to_numpy(bool)
    ids = table[key][usable].astype(str)
    last = ~ids.duplicated(keep="last")
    labels = pd.Series(
        label[usable][last].to_numpy(np.float64), index=pd.Index(ids[last], dtype=object)
    )
    left = LeftOut(
        unreadable_labels=int((~usable).sum()), repeated_labels=int(len(ids) - last.sum())
    )
    return labels, left


def labelled_rows(served: Any, labels: Any) -> tuple[Any, int]:
    """Join labels to served rows; return those rows, and how many labels are of no such row."""
    known = labels.index.isin(served.index)
    rows = served[served.index.isin(labels.index)]
    # A post that was scored twice is one labelled post.
    rows = rows[~rows.index.duplicated(keep="last")]
    return rows.assign(label=labels.reindex(rows.index).to_numpy()), int((~known).sum())


def _cells(table: Any, columns: Sequence[Column]) -> tuple[Any, Any]:
    """Return inputs under their own names, and which rows hold a value of another kind."""
    import pandas as pd

    broken = np.zeros(len(table), dtype=bool)
    cells: dict[str, Any] = {}
    for column in columns:
        values = table[f"{INPUT_PREFIX}{column.name}"]
        if column.kind == "numeric":
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
            broken |= np.isinf(numbers) | (np.isnan(numbers) & values.notna().to_numpy(bool))
            cells[column.name] = numbers
        else:
            cells[column.name] = values.astype("string").to_numpy(object, na_value=None)
    return pd.DataFrame(cells, index=table.index), broken
