"""A light model of the winner's scores: logistic regression on words, for a cascade's first look.

It learns what the winner (the teacher) says of the training rows and of half of the unlabelled
rows. On the other half, and on training rows by models of their folds, both are then compared
where neither has learned: that is what a cascade is proven on.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.features.blocks import Blocks
from tidegate.features.matrices import load_features
from tidegate.models.cascade import fit_light
from tidegate.models.catalogue import BENCHMARK, load_model
from tidegate.models.interface import Model, Scores, Setting, Weights
from tidegate.models.quality import average_precision, log_loss
from tidegate.models.target import score_of, violating_of
from tidegate.records import (
    UNLABELLED,
    AgreementSource,
    FeatureSet,
    Params,
    SearchResult,
    Target,
    TrialResult,
)
from tidegate.search.crossfit import CROSSFIT
from tidegate.search.serving_cost import serving_ms
from tidegate.search.tasks import Room, run_tasks
from tidegate.search.trial import read_rows

DISTILLED = "distilled"
#: Beside the model: ``source`` (unlabelled, training), ``light`` and ``heavy`` score of rows that
#: neither learned from.
AGREEMENT = "agreement.parquet"
#: Strengths tried, best on validation wins: soft labels bear less regularization than hard ones.
_STRENGTHS = (1.0, 4.0, 16.0)


def distill(
    result: SearchResult,
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    room: Room,
) -> str | None:
    """Write ``distilled/model`` and ``distilled/result.json``; return why not, None if there.

    The teacher's scores of training rows are the cross-fitted ones where those were written: it
    knows the rows themselves by heart.
    """
    setting = Setting(config.seed, room.threads)
    tasks = [partial(_distill, result, features_folder, out, setting)]
    why = run_tasks(tasks, room, preload=BENCHMARK.preload)
    if why is None and _target(features_folder).kind == "binary":
        compare = [partial(_compare, result, features_folder, out, setting)]
        unproven = run_tasks(compare, room, preload=BENCHMARK.preload)
        if unproven is not None:
            print(f"rows that show what a cascade loses: left out, {unproven}", flush=True)
    return why


#: Rows, their weights, and what the teacher says of them.
_Lesson = tuple[Blocks, Weights, Scores]


def _lessons(
    result: SearchResult, features_folder: Path, out: Path
) -> tuple[list[_Lesson], Blocks | None]:
    """Return what the student learns from, training first, and the unlabelled rows kept back."""
    train = read_rows(features_folder, "train")
    lessons = [(train.X, train.weight, _teach(train.X, train.target, result, out, known=True))]
    if not (features_folder / f"{UNLABELLED}.parquet").is_file():
        return lessons, None
    X, _ = load_features(features_folder, UNLABELLED)
    even = np.arange(X.rows) % 2 == 0
    taught = X.take(even)
    if taught.rows:
        said = _teach(taught, train.target, result, out, known=False)
        lessons.append((taught, np.ones(taught.rows), said))
    return lessons, X.take(~even) if X.rows > 1 else None


def _distill(result: SearchResult, features_folder: Path, out: Path, setting: Setting) -> None:
    started = time.monotonic()
    validation = read_rows(features_folder, "validation")
    lessons, _ = _lessons(result, features_folder, out)
    truth = violating_of(validation.target, validation.y)
    students = []
    for strength in _STRENGTHS:
        params = {**BENCHMARK.defaults, "C": strength, "features": "words"}
        model = fit_light(BENCHMARK.build(params, setting), lessons)
        score = model.predict_proba(validation.X)[:, 1]
        reached = average_precision(truth, score, validation.weight)
        students.append((reached, -strength, params, model, score))
    reached, _, params, model, score = max(students, key=lambda student: student[:2])
    with store.new_directory(out / DISTILLED) as folder:
        (folder / "model").mkdir()
        model.save(folder / "model")
        student = TrialResult(
            number=len(result.trials),
            algorithm=BENCHMARK.name,
            params=params,
            status="succeeded",
            average_precision=reached,
            log_loss=log_loss(truth, score, validation.weight),
            seconds=time.monotonic() - started,
            serving_ms=serving_ms(model, validation.X, features_folder),
        )
        store.write_record(folder / "result.json", student)


def _compare(result: SearchResult, features_folder: Path, out: Path, setting: Setting) -> None:
    """Write ``distilled/agreement.parquet``, if there is a row that neither has learned from."""
    import pandas as pd

    student = store.read_record(out / DISTILLED / "result.json", TrialResult)
    light = load_model(student.algorithm, out / DISTILLED / "model")
    lessons, kept_back = _lessons(result, features_folder, out)
    pairs: dict[AgreementSource, tuple[Scores, Scores]] = {}
    if kept_back is not None:
        target = _target(features_folder)
        said = _teach(kept_back, target, result, out, known=False)
        pairs["unlabelled"] = (light.predict_proba(kept_back)[:, 1], said)
    if (out / CROSSFIT).is_file():
        pairs["training"] = _by_folds(lessons, student.params, out, setting)
    if pairs:
        columns = {
            "source": np.repeat(list(pairs), [len(light) for light, _ in pairs.values()]),
            "light": np.concatenate([light for light, _ in pairs.values()]),
            "heavy": np.concatenate([heavy for _, heavy in pairs.values()]),
        }
        store.write_table(out / DISTILLED / AGREEMENT, pd.DataFrame(columns))


def _by_folds(
    lessons: Sequence[_Lesson], params: Params, out: Path, setting: Setting
) -> tuple[Scores, Scores]:
    """Return light and heavy scores of the training rows, each by models without its fold."""
    (X, weight, said), *others = lessons
    with np.load(out / CROSSFIT, allow_pickle=False) as scored:
        fold = scored["fold"]
    light = np.empty(X.rows)
    for number in np.unique(fold):
        own = fold == number
        lesson = (X.take(~own), weight[~own], said[~own])
        model: Model = fit_light(BENCHMARK.build(params, setting), [lesson, *others])
        light[own] = model.predict_proba(X.take(own))[:, 1]
    return light, said


def _target(features_folder: Path) -> Target:
    return store.read_record(features_folder / "features.json", FeatureSet).target


def _teach(X: Blocks, target: Target, result: SearchResult, out: Path, *, known: bool) -> Scores:
    if known and (out / CROSSFIT).is_file():
        with np.load(out / CROSSFIT, allow_pickle=False) as scored:
            return np.asarray(scored["train"], dtype=np.float64)
    best = result.trials[result.best]
    teacher = load_model(best.algorithm, out / "trials" / f"{best.number:03d}" / "model")
    return score_of(target, teacher.predict_proba(X))
