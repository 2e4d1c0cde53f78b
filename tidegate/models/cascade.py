"""A light model before a heavy one: what it is sure enough about, the heavy one never sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate.features.blocks import Blocks
from tidegate.models.interface import Evaluation, Labels, Model, Scores, Weights
from tidegate.pass_through import filtered_scores, pass_through_at, stops
from tidegate.records import FeatureBlock, Params, PassThroughPoint
from tidegate.store import read_json, write_json

#: What a bundle calls it; it is made of a search's winner, never searched itself.
CASCADE = "cascade"
LIGHT_PATH, HEAVY_PATH = "light", "heavy"

_SETTINGS = "cascade.json"


@dataclass(frozen=True)
class Stage:
    """A fitted model of two classes, and how the catalogue knows it."""

    algorithm: str
    params: Params
    model: Model


@dataclass(frozen=True)
class Routed:
    """Scores of some rows and the way that each took.

    Parameters
    ----------
    outputs : ndarray of shape (rows, 2)
    light_score : ndarray of shape (rows,)
        What the light model said of every row.
    stopped : ndarray of bool, shape (rows,)
        Which rows the heavy model never saw.
    pass_through : float
        The light score from which on rows passed.
    """

    outputs: Scores
    light_score: Scores
    stopped: npt.NDArray[np.bool_]
    pass_through: float

    @property
    def path(self) -> npt.NDArray[np.str_]:
        """``light`` or ``heavy`` for every row."""
        return np.where(self.stopped, LIGHT_PATH, HEAVY_PATH)


class Cascade:
    """A `Model` of two classes whose rows of low light score never reach the heavy model.

    The features of the heavy model are computed for the rows that pass, and for those alone.

    Parameters
    ----------
    light, heavy : Stage
        Both fitted; the light one learned the heavy one's scores.
    curve : sequence of PassThroughPoint
        What was proven, by ascending load.

    Attributes
    ----------
    load : float
        The knob, in [0, 1]: 0 keeps the promise at rest, more saves heavy calls for the recall
        that the curve tells. Whoever serves turns it, by hand or by the length of its queue.
    """

    def __init__(self, light: Stage, heavy: Stage, curve: Sequence[PassThroughPoint]) -> None:
        self.light = light
        self.heavy = heavy
        self.curve = tuple(curve)
        self.load = 0.0

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "Cascade":
        """Let the heavy model learn the rows and the light one what the heavy one says of them.

        The curve stays; it was proven of other models and has to be proven again.
        """
        self.heavy.model.fit(X, y, sample_weight, evaluation)
        share = self.heavy.model.predict_proba(X)[:, 1]
        fit_light(self.light.model, [(X, sample_weight, share)])
        return self

    def route(self, X: Blocks, load: float | None = None) -> Routed:
        """Score rows at a load (that of the knob if None) and tell the way that each took."""
        cut = pass_through_at(self.curve, self.load if load is None else load)
        light = np.asarray(self.light.model.predict_proba(X)[:, 1], dtype=np.float64)
        stopped = stops(light, cut)
        heavy = light.copy()
        if not stopped.all():
            passed = X.take(~stopped) if stopped.any() else X
            heavy[~stopped] = self.heavy.model.predict_proba(passed)[:, 1]
        score = filtered_scores(light, heavy, cut)
        return Routed(np.column_stack([1 - score, score]), light, stopped, cut)

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, 2) at the knob's load."""
        return self.route(X).outputs

    def save(self, folder: Path) -> None:
        """Write both models into folders of their own, who they are, and the curve."""
        told: dict[str, Any] = {"curve": [point.model_dump() for point in self.curve]}
        for name, stage in ((LIGHT_PATH, self.light), (HEAVY_PATH, self.heavy)):
            (folder / name).mkdir()
            stage.model.save(folder / name)
            told[name] = {"algorithm": stage.algorithm, "params": dict(stage.params)}
        write_json(folder / _SETTINGS, told)

    @classmethod
    def load_from(cls, folder: Path, load_model: Callable[[str, Path], Model]) -> "Cascade":
        """Read what `save` wrote; `load_model` loads a stage by algorithm and folder."""
        told = read_json(folder / _SETTINGS)
        light, heavy = (
            Stage(
                told[name]["algorithm"],
                told[name]["params"],
                load_model(told[name]["algorithm"], folder / name),
            )
            for name in (LIGHT_PATH, HEAVY_PATH)
        )
        return cls(
            light, heavy, [PassThroughPoint.model_validate(point) for point in told["curve"]]
        )


def heavy_stage(model_folder: Path) -> tuple[str, Params, Path]:
    """Return algorithm, point and folder of a saved cascade's heavy model, without loading it."""
    told = read_json(model_folder / _SETTINGS)[HEAVY_PATH]
    return told["algorithm"], told["params"], model_folder / HEAVY_PATH


def fit_light(model: Model, parts: Sequence[tuple[Blocks, Weights, Scores]]) -> Model:
    """Let a model of two classes learn probabilities instead of labels.

    Every row counts twice: as violating with its probability for its weight and as not violating
    with the rest (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015).

    Parameters
    ----------
    model : Model
        Unfitted.
    parts : sequence of tuple
        Rows, their weights, and what the teacher says of them.
    """
    share = np.concatenate([said for _, _, said in parts])
    weight = np.concatenate([weight for _, weight, _ in parts])
    y = np.repeat(np.array([1, 0], dtype=np.int8), len(share))
    X = _twice([rows for rows, _, _ in parts])
    return model.fit(X, y, np.concatenate([weight * share, weight * (1 - share)]))


def _twice(parts: Sequence[Blocks]) -> Blocks:
    def read(block: FeatureBlock) -> Any:
        found = [part.part(block) for part in parts] * 2
        return sparse.vstack(found, format="csr") if sparse.issparse(found[0]) else np.vstack(found)

    return Blocks(2 * sum(part.rows for part in parts), parts[0].blocks, read, dict)
