"""Scored tables: what evaluation reads instead of models, and what batch scoring writes."""

from typing import Any

from tidegate.errors import BadInput
from tidegate.models.bundle import Bundle
from tidegate.models.decisions import decide
from tidegate.models.interface import Scores
from tidegate.models.target import labels_of, score_of
from tidegate.records import GROUP_PREFIX, ID, LABEL, TIME, WEIGHT, Target


def score_table(bundle: Bundle, split: Any) -> Any:
    """Score a snapshot's split, with the columns of `scored_rows`.

    Parameters
    ----------
    bundle : Bundle
        The model and its featurizer.
    split : DataFrame
        A table of a snapshot: input columns and role columns.
    """
    return scored_rows(split, bundle.score(split))


def scored_rows(split: Any, score: Scores) -> Any:
    """Return a scored table of a snapshot's split.

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
        "score": score,
    }
    groups = [column for column in split if str(column).startswith(GROUP_PREFIX)]
    columns |= {column.removeprefix(GROUP_PREFIX): split[column] for column in groups}
    return pd.DataFrame(columns)


def with_outputs(scored: Any, target: Target, split: Any, outputs: Scores) -> Any:
    """Return a scored table with what the model says of each class or task, and the truth.

    Parameters
    ----------
    scored : DataFrame
        From `scored_rows`.
    target : Target
        What the outputs mean; of two classes the table stays as it is.
    split : DataFrame
        The snapshot's split that was scored.
    outputs : ndarray of shape (rows, outputs)

    Returns
    -------
    DataFrame
        ``score_OUTPUT`` is the probability of each output. ``class`` is the name of the row's
        true class; of several tasks, ``label_OUTPUT`` is each one's 0/1 truth.
    """
    if target.kind == "binary":
        return scored
    truth = labels_of(target, split)
    if target.kind == "multiclass":
        scored = scored.assign(**{"class": [target.outputs[number] for number in truth]})
    else:
        columns = zip(target.outputs, truth.T, strict=True)
        scored = scored.assign(**{f"label_{task}": column for task, column in columns})
    return scored.assign(**_output_columns(target, outputs))


def _output_columns(target: Target, outputs: Scores) -> dict[str, Scores]:
    names = zip(target.outputs, outputs.T, strict=True)
    return {f"score_{name}": column for name, column in names}


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
        ``id``, ``score``, ``flagged`` and ``decision`` (``flagged``, ``review`` or ``leave``; both
        missing when the bundle has no threshold) and ``model_version``, rows in the order of
        `table`. Where the bundle answers other scores than the model's own, ``answered_score``. Of
        classes or several tasks also ``score_OUTPUT``, the probability of each,
        ``predicted_class``, the most likely one, and ``flagged_OUTPUT`` where outputs have
        thresholds of their own. Segments are read from the rule's column where the table has it.

    Raises
    ------
    BadInput
        If an input column or the id column is missing.
    """
    import pandas as pd

    if id_column is not None and id_column not in table:
        raise BadInput("--id", f"the table has no column {id_column!r}", "name a column it has")
    name = id_column or ("id" if "id" in table else None)
    outputs = bundle.outputs(table)
    target, rule = bundle.manifest.target, bundle.manifest.rule
    score = score_of(target, outputs)
    segments = table.get(rule.segment_column)
    said = decide(bundle.manifest, score, outputs, segments)
    nothing = [pd.NA] * len(table)
    scored = pd.DataFrame(
        {
            "id": range(len(table)) if name is None else table[name].to_numpy(),
            "score": score,
            "flagged": pd.array(nothing if said.flagged is None else said.flagged, dtype="boolean"),
            "decision": pd.array(
                nothing if said.decision is None else said.decision, dtype="string"
            ),
            "model_version": bundle.manifest.version,
        }
    )
    if rule.scale is not None or rule.calibration is not None:
        scored["answered_score"] = said.answered_score
    if said.classes is not None:
        for name, reached in zip(target.outputs, said.classes.T, strict=True):
            scored[f"flagged_{name}"] = reached
    if target.kind == "multiclass":
        scored["predicted_class"] = [target.outputs[number] for number in outputs.argmax(axis=1)]
    return scored if target.kind == "binary" else scored.assign(**_output_columns(target, outputs))
