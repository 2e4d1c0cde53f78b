"""The winner's recipe once more, on training rows that treat groups otherwise.

``reweight`` weighs rows so that label and group are independent, ``resample`` draws rows by those
weights, and ``group_robust`` refits with the weight of badly served groups growing. Groups decide
what a row counts in training; no model ever reads them.

References
----------
Kamiran and Calders, "Data preprocessing techniques for classification without discrimination",
Knowledge and Information Systems 33, 2012 (reweighing, sampling).
Sagawa, Koh, Hashimoto and Liang, "Distributionally robust neural networks for group shifts", ICLR
2020 (exponentiated group weights; here between refits, so that any algorithm can be used).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tidegate import store
from tidegate.config import Mitigation, SearchConfig
from tidegate.data.mitigation import Cell, group_losses, group_weights, resampled, reweighed
from tidegate.features.matrices import load_features
from tidegate.models.catalogue import algorithm as find_algorithm
from tidegate.models.ensemble import ENSEMBLE, Ensemble, Member
from tidegate.models.interface import Evaluation, Model, Setting, Weights
from tidegate.models.target import score_of, violating_of
from tidegate.records import GROUP_PREFIX, SearchResult, SplitName, TreatedModel
from tidegate.search.crossfit import Recipe, winning_recipes
from tidegate.search.tasks import Room, run_tasks
from tidegate.search.trial import Rows, read_rows

MITIGATED = "mitigated"
#: Refits of `group_robust`, the first with the weights as they are.
_REFITS = 4
_TIME_MARGIN = 0.2


def mitigation_fits(names: Sequence[Mitigation]) -> int:
    """Return how often the winner's recipe is fitted again for these mitigations."""
    return sum(_REFITS if name == "group_robust" else 1 for name in names)


def mitigate(
    result: SearchResult,
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    room: Room,
) -> str | None:
    """Write ``mitigated/NAME/`` for each mitigation asked for; return why not all are there."""
    recipes = winning_recipes(result)
    # As if they ran one after the other: each then surely has its seconds.
    seconds = (1 - _TIME_MARGIN) * room.seconds_left() / mitigation_fits(config.mitigate)
    tasks = [
        partial(
            _treat,
            features_folder,
            recipes,
            name,
            setting=Setting(
                config.seed,
                room.threads,
                seconds=seconds / len(recipes),
                encoder=config.encoder,
                device=config.device,
                quantize=config.quantize,
            ),
            out=out / MITIGATED / name,
        )
        for name in config.mitigate
    ]
    preload = [module for r in recipes for module in find_algorithm(r.algorithm).preload]
    return run_tasks(tasks, room, preload=preload)


def _treat(
    features_folder: Path,
    recipes: Sequence[Recipe],
    name: Mitigation,
    *,
    setting: Setting,
    out: Path,
) -> None:
    train, validation = (read_rows(features_folder, split) for split in ("train", "validation"))
    groups = _groups(features_folder, "train")
    label = violating_of(train.target, train.y)
    setting = replace(setting, target=train.target)

    def fitted(weight: Weights) -> Model:
        # A row drawn never is a row left out.
        kept = np.flatnonzero(weight > 0)
        return _fit(recipes, setting, train, validation, kept, weight[kept])

    if name == "group_robust":
        model = _group_robust(
            fitted, train, groups, validation, _groups(features_folder, "validation")
        )
    else:
        weight = reweighed(label, groups, train.weight)
        if name == "resample":
            weight = resampled(weight, seed=setting.seed)
        model = fitted(weight)
    single = recipes[0]
    with store.new_directory(out) as folder:
        (folder / "model").mkdir()
        model.save(folder / "model")
        told = TreatedModel(
            name=name,
            algorithm=ENSEMBLE if len(recipes) > 1 else single.algorithm,
            params={} if len(recipes) > 1 else single.params,
        )
        store.write_record(folder / "treated.json", told)


def _group_robust(
    fitted: Callable[[Weights], Model],
    train: Rows,
    groups: Mapping[str, Sequence[Any]],
    validation: Rows,
    groups_there: Mapping[str, Sequence[Any]],
) -> Model:
    """Return, of several refits, the model whose worst group has the least loss on validation."""
    label = violating_of(train.target, train.y)
    label_there = violating_of(validation.target, validation.y)
    tried: list[tuple[float, Model]] = []
    seen: list[Mapping[Cell, float]] = []
    for _ in range(_REFITS):
        model = fitted(group_weights(label, groups, train.weight, seen))
        score = score_of(validation.target, model.predict_proba(validation.X))
        losses = group_losses(score, label_there, groups_there, validation.weight)
        seen.append(losses)
        tried.append((max(losses.values(), default=0.0), model))
    return min(tried, key=lambda found: found[0])[1]


def _groups(features_folder: Path, split: SplitName) -> dict[str, Any]:
    _, roles = load_features(features_folder, split)
    return {
        str(column).removeprefix(GROUP_PREFIX): roles[column]
        for column in roles
        if str(column).startswith(GROUP_PREFIX)
    }


def _fit(
    recipes: Sequence[Recipe],
    setting: Setting,
    train: Rows,
    validation: Rows,
    kept: Any,
    weight: Weights,
) -> Model:
    members = []
    watched = Evaluation(validation.X, validation.y, validation.weight, lambda point: None)
    X = train.X if kept.size == train.X.rows else train.X.take(kept)
    for recipe in recipes:
        model = find_algorithm(recipe.algorithm).build(recipe.params, setting)
        model.fit(X, train.y[kept], weight, watched)
        members.append(Member(recipe.algorithm, recipe.share, model))
    return members[0].model if len(members) == 1 else Ensemble(members)
