"""Several fitted models as one: the weighted mean of their probabilities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegate.features.blocks import Blocks
from tidegate.models.interface import Evaluation, Labels, Model, Scores, Weights
from tidegate.models.quality import average_precision
from tidegate.store import read_json, write_json

#: What a trial and a bundle call it; it is chosen from trials, never searched itself.
ENSEMBLE = "ensemble"

_ROUNDS = 20


@dataclass(frozen=True)
class Member:
    """One model of an ensemble and its share of the mean."""

    algorithm: str
    share: float
    model: Model


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
        """Return the mean probabilities, shape (rows, 2)."""
        parts = [member.share * member.model.predict_proba(X) for member in self.members]
        return np.asarray(np.sum(parts, axis=0), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write every member into a folder of its own, and who they are."""
        for number, member in enumerate(self.members):
            (folder / f"{number}").mkdir()
            member.model.save(folder / f"{number}")
        shares = [{"algorithm": m.algorithm, "share": m.share} for m in self.members]
        write_json(folder / "members.json", shares)

    @classmethod
    def load(cls, folder: Path, load_model: Callable[[str, Path], Model]) -> "Ensemble":
        """Read what `save` wrote; `load_model` loads a member by algorithm and folder."""
        return cls(
            [
                Member(entry["algorithm"], entry["share"], load_model(entry["algorithm"], place))
                for number, entry in enumerate(read_json(folder / "members.json"))
                for place in [folder / f"{number}"]
            ]
        )


def select_members(
    scores: Mapping[int, Scores], y: Labels, weight: Weights, *, max_members: int
) -> dict[int, float]:
    """Choose models whose mean ranks best: greedy forward selection with replacement.

    It starts from the best model and adds, round by round, the one that lifts the mean's average
    precision most; a model may be added again, which is how shares arise. The best round wins.

    Parameters
    ----------
    scores : mapping of int to ndarray of shape (rows,)
        Each model's scores of rows that none of them learned from.
    y, weight : ndarray of shape (rows,)
        Labels and weights of those rows.
    max_members : int
        How many different models may serve together: their scoring times add up.

    Returns
    -------
    dict of int to float
        Share of each chosen model, adding up to 1; one entry when no mean beats the best model.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models",
    ICML 2004.
    """
    best = max(scores, key=lambda number: (average_precision(y, scores[number], weight), -number))
    chosen = [best]
    total = scores[best].copy()
    found = (average_precision(y, total, weight), list(chosen))
    for _ in range(_ROUNDS if max_members > 1 else 0):
        allowed = set(scores) if len(set(chosen)) < max_members else set(chosen)
        reached = {
            number: average_precision(y, total + scores[number], weight)
            for number in sorted(allowed)
        }
        added = max(reached, key=lambda number: (reached[number], -number))
        chosen.append(added)
        total += scores[added]
        if reached[added] > found[0]:
            found = (reached[added], list(chosen))
    return {number: found[1].count(number) / len(found[1]) for number in dict.fromkeys(found[1])}
