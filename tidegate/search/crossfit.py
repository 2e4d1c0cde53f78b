"""Scores of the training rows by models that never saw them: the winner's recipe, fold by fold.

The fold models choose when to stop on a tenth of their own training rows, so validation rows are
as new to them as the fold they leave out. The features' vocabularies and weights come from all
training rows.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tidegate.config import SearchConfig
from tidegate.features.blocks import Blocks
from tidegate.models.catalogue import algorithm as find_algorithm
from tidegate.models.ensemble import ENSEMBLE
from tidegate.models.interface import Evaluation, Scores, Setting
from tidegate.models.target import score_of
from tidegate.records import CurvePoint, Params, SearchResult
from tidegate.search.tasks import Room, run_tasks
from tidegate.search.trial import read_rows

#: ``fold`` and ``train`` of shape (train rows,), ``validation`` of shape (folds, validation rows).
CROSSFIT = "crossfit.npz"
_TIME_MARGIN = 0.2
_STOPPING_SHARE = 10


@dataclass(frozen=True)
class Recipe:
    """How one member of the winner was trained, and its share of the mean."""

    algorithm: str
    params: Params
    share: float


def crossfit(
    result: SearchResult,
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    room: Room,
) -> str | None:
    """Write ``crossfit.npz`` for the winner of a search; return why not, None if it is there."""
    (out / CROSSFIT).unlink(missing_ok=True)
    recipes = winning_recipes(result)
    fold = _fold_of_rows(read_rows(features_folder, "train").X, config.crossfit_folds)
    parts = out / "folds"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    waves = math.ceil(config.crossfit_folds / room.slots)
    seconds = (1 - _TIME_MARGIN) * room.seconds_left() / waves
    tasks = [
        partial(
            _fit_fold,
            features_folder,
            recipes,
            fold,
            number,
            setting=Setting(
                config.seed,
                room.threads,
                seconds=seconds,
                encoder=config.encoder,
                device=config.device,
                quantize=config.quantize,
            ),
            out=parts / f"{number}.npz",
        )
        for number in range(config.crossfit_folds)
    ]
    preload = [module for r in recipes for module in find_algorithm(r.algorithm).preload]
    why = run_tasks(tasks, room, preload=preload)
    if why is None:
        train, validation = np.empty(len(fold)), []
        for number in range(config.crossfit_folds):
            with np.load(parts / f"{number}.npz", allow_pickle=False) as scored:
                train[fold == number] = scored["train"]
                validation.append(scored["validation"])
        np.savez(out / CROSSFIT, fold=fold, train=train, validation=np.stack(validation))
    shutil.rmtree(parts)
    return why


def winning_recipes(result: SearchResult) -> Sequence[Recipe]:
    """Return the winner's algorithm and point, or those of an ensemble's members."""
    trials = {trial.number: trial for trial in result.trials}
    best = trials[result.best]
    shares: Mapping[int, float] = {best.number: 1.0}
    if best.algorithm == ENSEMBLE:
        named = {int(name.removeprefix("trial_")): float(s) for name, s in best.params.items()}
        shares = {number: share / sum(named.values()) for number, share in named.items()}
    return [Recipe(trials[n].algorithm, trials[n].params, share) for n, share in shares.items()]


def _fold_of_rows(X: Blocks, folds: int) -> npt.NDArray[np.int64]:
    """Deal the rows out at random; rows of one and the same text stay together."""
    same = _same_text(X)
    return np.random.default_rng(0).permutation(same.max() + 1)[same] % folds


def _same_text(X: Blocks) -> npt.NDArray[np.int64]:
    columns = list(X.texts().values())
    if not columns:
        return np.arange(X.rows)
    seen: dict[tuple[str, ...], int] = {}
    return np.array([seen.setdefault(row, len(seen)) for row in zip(*columns, strict=True)])


def _fit_fold(
    features_folder: Path,
    recipes: Sequence[Recipe],
    fold: npt.NDArray[np.int64],
    number: int,
    *,
    setting: Setting,
    out: Path,
) -> None:
    train, validation = (read_rows(features_folder, split) for split in ("train", "validation"))
    others, left_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
    others = np.random.default_rng(number).permutation(others)
    stop, learn = np.split(others, [max(1, len(others) // _STOPPING_SHARE)])
    scores: list[tuple[Scores, Scores]] = []
    for recipe in recipes:
        learner = find_algorithm(recipe.algorithm)
        model = learner.build(recipe.params, replace(setting, target=train.target))
        watched = Evaluation(train.X.take(stop), train.y[stop], train.weight[stop], _ignore)
        model.fit(train.X.take(learn), train.y[learn], train.weight[learn], watched)
        scores.append(
            (
                recipe.share * score_of(train.target, model.predict_proba(train.X.take(left_out))),
                recipe.share * score_of(train.target, model.predict_proba(validation.X)),
            )
        )
    np.savez(
        out,
        train=np.sum([train for train, _ in scores], axis=0),
        validation=np.sum([validation for _, validation in scores], axis=0),
    )


def _ignore(point: CurvePoint) -> None:
    del point
