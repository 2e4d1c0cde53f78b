"""How long a model takes to score one row, features included."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tidegate.features.blocks import Blocks
from tidegate.features.featurizer import Featurizer
from tidegate.models.interface import Model

_ROWS = 50


def serving_ms(model: Model, X: Blocks, features_folder: Path) -> float:
    """Return the median milliseconds of scoring 50 rows one by one.

    Parameters
    ----------
    model : Model
        A fitted one.
    X : Blocks
        Rows to score; their texts are featurized again, for what the model asks for alone. Other
        columns count as missing, which costs the same.
    features_folder : Path
        What `tidegate.records.FeatureSet` describes; without a featurizer in it the model alone is
        measured.
    """
    one_row = _rows_as_served(X, features_folder / "featurizer")
    taken = []
    for place in np.linspace(0, X.rows - 1, min(_ROWS, X.rows)).astype(int):
        row = one_row(int(place))
        started = time.perf_counter()
        model.predict_proba(row)
        taken.append(time.perf_counter() - started)
    return 1000 * float(np.median(taken))


def _rows_as_served(X: Blocks, featurizer_folder: Path) -> Callable[[int], Blocks]:
    if not (featurizer_folder / "featurizer.json").is_file():
        return lambda place: X.take(np.array([place]))
    featurizer, texts = Featurizer.load(featurizer_folder), X.texts()

    def row(place: int) -> Blocks:
        return featurizer.transform(
            {
                column.name: [texts[column.name][place] if column.name in texts else None]
                for column in featurizer.columns
            }
        )

    return row
