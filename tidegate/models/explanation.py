"""Why a row scores what it scores: what each feature or word adds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tidegate.features.blocks import chosen_blocks
from tidegate.features.cells import as_text
from tidegate.features.featurizer import Featurizer
from tidegate.models.boosted import BoostedModel
from tidegate.models.bundle import Bundle
from tidegate.models.interface import Scores
from tidegate.models.linear import LogisticModel
from tidegate.records import FeatureBlock

Method = Literal["linear", "tree", "occlusion"]

_WORD = re.compile(r"\w+")
# An explanation by leaving out costs a score a word: longer texts are explained by their start.
_MOST_WORDS = 60


@dataclass(frozen=True)
class Contribution:
    """What one feature or word adds to a row's score.

    Parameters
    ----------
    feature : str
        ``column:transformer:feature``; by occlusion ``column:word``, or the column itself.
    effect : float
        In log-odds (`linear`, `tree`), or how much the score falls without it (`occlusion`).
    """

    feature: str
    effect: float


@dataclass(frozen=True)
class Explanation:
    """The contributions of one row, largest first whatever their sign, and how they were found."""

    method: Method
    contributions: tuple[Contribution, ...]


def explain(bundle: Bundle, table: Any, *, top: int = 5) -> list[Explanation]:
    """Explain the score of every row.

    A logistic regression of two classes is explained by its coefficients times the features, a
    boosted one by the exact Shapley values of its trees, every other model by what its score loses
    when one word, or one other column, is left out. Contributions tell what the model used, not
    what is true of the post.

    Parameters
    ----------
    bundle : Bundle
        The model and its featurizer.
    table : DataFrame or sequence of mapping
        Rows with the bundle's input columns.
    top : int
        Contributions a row.

    References
    ----------
    Lundberg et al., "From local explanations to global understanding with explainable AI for
    trees", Nature Machine Intelligence 2, 2020 (XGBoost's ``pred_contribs``). Zeiler and Fergus,
    "Visualizing and understanding convolutional networks", ECCV 2014 (occlusion); Li et al.,
    "Understanding neural networks through representation erasure", 2016 (of words).
    """
    rows = list(table) if isinstance(table, Sequence) else table.to_dict("records")
    if not rows:
        return []
    model = bundle.model
    if bundle.manifest.target.kind == "binary" and isinstance(model, LogisticModel | BoostedModel):
        method: Method = "linear" if isinstance(model, LogisticModel) else "tree"
        columns = {c.name: [row.get(c.name) for row in rows] for c in bundle.manifest.inputs}
        X = bundle.featurizer.transform(columns)
        added = model.contributions(X)
        chosen = chosen_blocks(X.blocks, model.features)
        return [
            _of_features(method, bundle.featurizer, chosen, added[row], top)
            for row in range(X.rows)
        ]
    return [_by_occlusion(bundle, row, top) for row in rows]


def with_explanations(scored: Any, bundle: Bundle, table: Any, *, top: int) -> Any:
    """Return a scored table with ``explained_by`` (the method) and ``explanation``.

    An explanation is a list of ``{feature, effect}``, largest first.
    """
    found = explain(bundle, table, top=top)
    return scored.assign(
        explained_by=[explanation.method for explanation in found],
        explanation=[[asdict(c) for c in explanation.contributions] for explanation in found],
    )


def _of_features(
    method: Method,
    featurizer: Featurizer,
    blocks: Sequence[FeatureBlock],
    added: Any,
    top: int,
) -> Explanation:
    """Return the largest contributions of one row, whose columns are those of the blocks."""
    found = added.tocoo()
    order = np.argsort(-np.abs(found.data), kind="stable")[:top]
    ends = np.cumsum([block.width for block in blocks])

    def name(column: int) -> str:
        number = int(np.searchsorted(ends, column, side="right"))
        block = blocks[number]
        return featurizer.feature_name(block, column - int(ends[number] - block.width))

    return Explanation(
        method,
        tuple(
            Contribution(name(int(found.col[i])), float(found.data[i]))
            for i in order
            if found.data[i] != 0
        ),
    )


def _by_occlusion(bundle: Bundle, row: Mapping[str, Any], top: int) -> Explanation:
    variants, features = [row], [""]
    for column in bundle.manifest.inputs:
        if column.kind != "text":
            variants.append({**row, column.name: None})
            features.append(column.name)
            continue
        text = as_text(row.get(column.name))
        words = list(dict.fromkeys(_WORD.findall(text)))[:_MOST_WORDS]
        for word in words:
            without = re.sub(rf"\b{re.escape(word)}\b", " ", text)
            variants.append({**row, column.name: without})
            features.append(f"{column.name}:{word}")
    score: Scores = bundle.score_rows(variants)
    fall = score[0] - score[1:]
    order = np.argsort(-np.abs(fall), kind="stable")[:top]
    return Explanation(
        "occlusion",
        tuple(Contribution(features[int(i) + 1], float(fall[i])) for i in order if fall[i] != 0),
    )
