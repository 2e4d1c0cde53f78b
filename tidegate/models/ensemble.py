"""Several fitted models as one: the weighted mean of their probabilities."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tidegate.features.blocks import Blocks
from tidegate.models.interface import Evaluation, Labels, Model, Scores, Weights
from tidegate.models.quality import average_precision
from tidegate.records import Params
from tidegate.store import read_json, write_json

#: What a trial and a bundle call it; it is chosen from trials, never searched itself.
ENSEMBLE = "ensemble"

_MEMBERS = "members.json"
_ROUNDS, _FOLDS = 20, 5


@dataclass(frozen=True)
class Member:
    """One model of an ensemble and its share of the mean."""

    algorithm: str
    share: float
    model: Model


@dataclass(frozen=True)
class SavedMember:
    """One model on disk, its share of the mean, and the point it was trained at."""

    algorithm: str
    share: float
    params: Params
    folder: Path


class Ensemble:
    """A `Model` whose members have all learned already.

    Parameters
    ----------
    members : sequence of Member
        Their shares add up to 1.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "Ensemble":
        """Let every member learn again on the same rows."""
        for member in self.members:
            member.model.fit(X, y, sample_weight, evaluation)
        return self

    def predict_proba(self, X: Blocks) -> Scores:
        """Return the mean probabilities, shape (rows, outputs)."""
        parts = [member.share * member.model.predict_proba(X) for member in self.members]
        return np.asarray(np.sum(parts, axis=0), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write every member into a folder of its own, and who they are."""
        for number, member in enumerate(self.members):
            (folder / f"{number}").mkdir()
            member.model.save(folder / f"{number}")
        shares = [{"algorithm": m.algorithm, "share": m.share} for m in self.members]
        write_json(folder / _MEMBERS, shares)

    @classmethod
    def load(cls, folder: Path, load_model: Callable[[str, Path], Model]) -> "Ensemble":
        """Read what `save` wrote; `load_model` loads a member by algorithm and folder."""
        return cls(
            [
                Member(
                    entry["algorithm"],
                    entry["share"],
                    load_model(entry["algorithm"], place),
                )
                for number, entry in enumerate(read_json(folder / _MEMBERS))
                for place in [folder / f"{number}"]
            ]
        )


def write_ensemble(folder: Path, members: Sequence[SavedMember]) -> None:
    """Write an ensemble of models that are on disk, for `Ensemble.load`, without loading them."""
    for number, member in enumerate(members):
        shutil.copytree(member.folder, folder / f"{number}")
    told = [
        {"algorithm": member.algorithm, "share": member.share, "params": dict(member.params)}
        for member in members
    ]
    write_json(folder / _MEMBERS, told)


def select_members(
    scores: Mapping[int, Scores],
    y: Labels,
    weight: Weights,
    *,
    max_members: int,
    cost_ms: Mapping[int, float] | None = None,
    max_cost_ms: float = float("inf"),
) -> dict[int, float]:
    """Choose models whose mean ranks best: greedy forward selection with replacement.

    It starts from the best model and adds, round by round, the one that lifts the mean's average
    precision most; a model may be added again, which is how shares arise. How many rounds pay is
    cross-validated: the selection is run on four fifths of the rows and judged on the rest, five
    times, so that small validation sets do not lead it on. Of those rounds the best one wins.

    Parameters
    ----------
    scores : mapping of int to ndarray of shape (rows,)
        Each model's scores of rows that none of them learned from.
    y, weight : ndarray of shape (rows,)
        Labels and weights of those rows.
    max_members : int
        How many different models may serve together: their scoring times add up.
    cost_ms : mapping of int to float, optional
        Milliseconds in which each model scores a row; each is `max_cost_ms` or less.
    max_cost_ms : float
        What the members' milliseconds may add up to.

    Returns
    -------
    dict of int to float
        Share of each chosen model, adding up to 1; one entry when no mean beats the best model.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models",
    ICML 2004.
    """
    numbers = sorted(scores)
    library = np.stack([scores[number] for number in numbers])
    costs = np.array([(cost_ms or {}).get(number, 0.0) for number in numbers])
    limits = (max_members, costs, max_cost_ms)
    rounds = _rounds_that_pay(library, y, weight, limits) if max_members > 1 else 1
    path = _greedy_path(library, y, weight, limits, rounds)
    reached = [average_precision(y, mean, weight) for mean in _means(library, path)]
    chosen = [numbers[place] for place in path[: int(np.argmax(reached)) + 1]]
    return {number: chosen.count(number) / len(chosen) for number in dict.fromkeys(chosen)}


_Limits = tuple[int, npt.NDArray[np.float64], float]


def _rounds_that_pay(
    library: npt.NDArray[np.float64], y: Labels, weight: Weights, limits: _Limits
) -> int:
    # Dealt out label by label: every part has its share of violating rows.
    fold = np.empty(len(y), dtype=np.int64)
    order = np.lexsort((np.random.default_rng(0).random(len(y)), y))
    fold[order] = np.arange(len(y)) % _FOLDS
    found = np.zeros(_ROUNDS)
    for number in range(_FOLDS):
        seen, unseen = fold != number, fold == number
        path = _greedy_path(library[:, seen], y[seen], weight[seen], limits, _ROUNDS)
        for place, mean in enumerate(_means(library[:, unseen], path)):
            found[place] += average_precision(y[unseen], mean, weight[unseen])
    return int(np.argmax(found)) + 1


def _greedy_path(
    library: npt.NDArray[np.float64], y: Labels, weight: Weights, limits: _Limits, rounds: int
) -> list[int]:
    max_members, costs, max_cost = limits
    path: list[int] = []
    total = np.zeros(library.shape[1])
    for _ in range(rounds):
        members = set(path)
        cost = sum(costs[place] for place in members)
        allowed = [
            place
            for place in range(len(library))
            if place in members
            or (len(members) < max_members and (not path or cost + costs[place] <= max_cost))
        ]
        quality = [average_precision(y, total + library[place], weight) for place in allowed]
        path.append(allowed[int(np.argmax(quality))])
        total += library[path[-1]]
    return path


def _means(
    library: npt.NDArray[np.float64], path: Sequence[int]
) -> Iterator[npt.NDArray[np.float64]]:
    total = np.zeros(library.shape[1])
    for count, place in enumerate(path, start=1):
        total = total + library[place]
        yield total / count
