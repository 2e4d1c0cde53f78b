"""k nearest neighbours by cosine on embeddings, their votes calibrated.

A neighbour votes with its sample weight, the nearer the more; the nearest `k` units of weight
vote, so that a row of weight three is three rows. What the votes are worth is learned from the
training rows themselves, each judged by its neighbours but not by itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tidegate.features.blocks import Blocks
from tidegate.models.interface import (
    Algorithm,
    Choice,
    Evaluation,
    FloatRange,
    IntRange,
    Labels,
    Resources,
    Scores,
    Setting,
    Weights,
)
from tidegate.models.nearness import Nearness
from tidegate.models.neighbours import NeighbourIndex, Vectors, build_index
from tidegate.models.quality import cross_entropy, curve_point
from tidegate.models.selection import counted_rows
from tidegate.models.target import indicators_of
from tidegate.records import Params, Target

#: Training rows that are judged by their neighbours to calibrate votes.
CALIBRATION_ROWS = 4000

# Light rows are looked up beyond the k nearest, so many times k.
_REACH = 4
_SAME_POINT = 1e-5
_INDEX, _ROWS = "neighbours.npz", "votes.npz"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Voting:
    """Who votes and how much it counts.

    Parameters
    ----------
    k : int
        Units of weight that vote.
    temperature : float
        A neighbour counts ``exp((cosine - nearest cosine) / temperature)``.
    prior : float
        Votes of the prevalence, beside the neighbours'.
    """

    k: int
    temperature: float
    prior: float


class NearestModel:
    """A classifier by the labels of the nearest training rows.

    Parameters
    ----------
    voting : Voting
    nearness : Nearness
        Turns rows into vectors; fitted with the model.
    setting : Setting
    """

    def __init__(self, voting: Voting, nearness: Nearness, setting: Setting) -> None:
        self._voting = voting
        self._nearness = nearness
        self._target = setting.target
        self._seed = setting.seed
        self._index = build_index(np.empty((0, 0), dtype=np.float32), seed=0)
        self._answers: Floats = np.empty((0, 0))
        self._weight: Floats = np.empty(0)
        self._calibration: Floats = np.empty((0, 2))

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "NearestModel":
        """Index rows of positive weight and calibrate their votes; report one point."""
        X, y, sample_weight = counted_rows(X, y, sample_weight)
        asked = indicators_of(self._target, y)
        self._nearness.fit(X, asked, sample_weight, seed=self._seed)
        vectors = self._nearness.vectors(X)
        self._index = build_index(vectors, seed=self._seed)
        self._answers, self._weight = asked.astype(np.float64), sample_weight.astype(np.float64)
        judged = np.arange(len(y))
        if len(y) > CALIBRATION_ROWS:
            random = np.random.default_rng(self._seed)
            judged = np.sort(random.choice(len(y), CALIBRATION_ROWS, replace=False))
        votes = self._votes(vectors[judged], of_themselves=True)
        self._calibration = _calibrated(votes, asked[judged], self._weight[judged])
        if evaluation is not None:
            loss = cross_entropy(
                self._target, y[judged], self._outputs(votes), self._weight[judged]
            )
            outputs = self.predict_proba(evaluation.X)
            evaluation.report(curve_point(1, loss, self._target, evaluation, outputs))
        return self

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, outputs); of two classes, column 1 is violating."""
        return self._outputs(self._votes(self._nearness.vectors(X), of_themselves=False))

    def _votes(self, vectors: Vectors, *, of_themselves: bool) -> Floats:
        """Return the smoothed share of votes for each question, shape (rows, questions)."""
        reach = min(len(self._answers), _REACH * self._voting.k)
        found, place = self._index.nearest(vectors, reach)
        cosine = found.astype(np.float64)
        weight = np.where(place >= 0, self._weight[place], 0.0)
        if of_themselves:
            # Copies of a row would tell its label; they are left out with it.
            weight[cosine > 1 - _SAME_POINT] = 0.0
        before = np.cumsum(weight, axis=1) - weight
        weight = np.clip(self._voting.k - before, 0.0, weight)
        nearest = np.where(weight > 0, cosine, -np.inf).max(axis=1, keepdims=True)
        nearest = np.where(np.isfinite(nearest), nearest, 0.0)
        vote = weight * np.exp(np.minimum(cosine - nearest, 0.0) / self._voting.temperature)
        prevalence = np.average(self._answers, axis=0, weights=self._weight)
        said = np.einsum("rn,rnq->rq", vote, self._answers[place])
        total = vote.sum(axis=1, keepdims=True)
        return np.asarray(
            (said + self._voting.prior * prevalence) / (total + self._voting.prior),
            dtype=np.float64,
        )

    def _outputs(self, votes: Floats) -> Scores:
        from scipy.special import expit

        slope, intercept = self._calibration.T
        outputs = np.asarray(expit(_log_odds(votes) * slope + intercept), dtype=np.float64)
        if self._target.kind == "binary":
            return np.hstack([1 - outputs, outputs])
        if self._target.kind == "multiclass":
            outputs /= outputs.sum(axis=1, keepdims=True)
        return outputs

    def save(self, folder: Path) -> None:
        """Write the index, and the rows' answers and weights, as npz."""
        np.savez(folder / _INDEX, **vars(self._index))
        self._nearness.save(folder)
        np.savez(
            folder / _ROWS,
            answers=self._answers.astype(np.int8),
            weight=self._weight,
            calibration=self._calibration,
            voting=np.array([self._voting.k, self._voting.temperature, self._voting.prior]),
            target=self._target.model_dump_json(),
        )

    @classmethod
    def load(cls, folder: Path) -> "NearestModel":
        """Read what `save` wrote."""
        with np.load(folder / _ROWS, allow_pickle=False) as arrays:
            k, temperature, prior = arrays["voting"].tolist()
            target = Target.model_validate_json(str(arrays["target"]))
            voting = Voting(int(k), temperature, prior)
            model = cls(voting, Nearness.load(folder), Setting(target=target))
            model._answers = arrays["answers"].astype(np.float64)
            model._weight = arrays["weight"]
            model._calibration = arrays["calibration"]
        with np.load(folder / _INDEX, allow_pickle=False) as arrays:
            model._index = NeighbourIndex(**arrays)
        return model


def _log_odds(votes: Floats) -> Floats:
    inside = np.clip(votes, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float64)


def _calibrated(votes: Floats, asked: Labels, weight: Weights) -> Floats:
    """Return slope and intercept of each question's log-odds, shape (questions, 2).

    References
    ----------
    Platt, "Probabilistic outputs for support vector machines", 1999.
    """
    from sklearn.linear_model import LogisticRegression

    lines = []
    for odds, answer in zip(_log_odds(votes).T, asked.T, strict=True):
        if answer.min() == answer.max():
            lines.append((1.0, 0.0))
            continue
        solver = LogisticRegression(C=100.0).fit(odds[:, None], answer, sample_weight=weight)
        lines.append((float(solver.coef_[0, 0]), float(solver.intercept_[0])))
    return np.array(lines)


def _build(params: Params, setting: Setting) -> NearestModel:
    voting = Voting(int(params["k"]), float(params["temperature"]), float(params["prior"]))
    nearness = Nearness(str(params["features"]), beside=float(params["beside"]))
    return NearestModel(voting, nearness, setting)


KNN = Algorithm(
    name="knn",
    build=_build,
    load=NearestModel.load,
    search_space={
        "features": Choice(("embedding", "words+chars")),
        "k": IntRange(5, 200, log=True),
        "temperature": FloatRange(0.02, 1.0, log=True),
        "prior": FloatRange(0.1, 5.0, log=True),
        "beside": FloatRange(0.0, 1.0),
    },
    defaults={
        "features": "embedding",
        "k": 50,
        "temperature": 0.1,
        "prior": 1.0,
        "beside": 0.3,
    },
    resources=Resources(cpu=1, memory_gib=4.0),
    preload=("sklearn.linear_model", "sklearn.cluster"),
    relative_cost=2.0,
)
