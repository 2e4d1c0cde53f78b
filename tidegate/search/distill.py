"""A light model of the winner's scores: logistic regression on words, for a cascade's first look.

It learns what the winner (the teacher) says of the training rows and, where the feature set has
them, of unlabelled rows: every row counts twice, as violating with the teacher's probability for
its weight and as not violating with the rest.

References
----------
Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.features.blocks import Blocks
from tidegate.features.matrices import load_features
from tidegate.models.catalogue import BENCHMARK, load_model
from tidegate.models.interface import Scores, Setting
from tidegate.models.quality import average_precision, log_loss
from tidegate.models.target import score_of, violating_of
from tidegate.records import UNLABELLED, FeatureBlock, SearchResult, Target, TrialResult
from tidegate.search.crossfit import CROSSFIT
from tidegate.search.serving_cost import serving_ms
from tidegate.search.tasks import Room, run_tasks
from tidegate.search.trial import read_rows

DISTILLED = "distilled"
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
    task = partial(_distill, result, features_folder, out, Setting(config.seed, room.threads))
    return run_tasks([task], room, preload=BENCHMARK.preload)


def _distill(result: SearchResult, features_folder: Path, out: Path, setting: Setting) -> None:
    started = time.monotonic()
    train, validation = (read_rows(features_folder, split) for split in ("train", "validation"))
    parts = [(train.X, train.weight, _teach(train.X, train.target, result, out, known=True))]
    if (features_folder / f"{UNLABELLED}.parquet").is_file():
        X, _ = load_features(features_folder, UNLABELLED)
        parts.append((X, np.ones(X.rows), _teach(X, train.target, result, out, known=False)))
    truth = violating_of(validation.target, validation.y)
    students = []
    for strength in _STRENGTHS:
        params = {**BENCHMARK.defaults, "C": strength, "features": "words"}
        model = BENCHMARK.build(params, setting)
        X = _twice([part for part, _, _ in parts])
        share = np.concatenate([p for _, _, p in parts])
        weight = np.concatenate([w for _, w, _ in parts])
        y = np.repeat(np.array([1, 0], dtype=np.int8), len(share))
        model.fit(X, y, np.concatenate([weight * share, weight * (1 - share)]))
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


def _twice(parts: Sequence[Blocks]) -> Blocks:
    def read(block: FeatureBlock) -> Any:
        found = [part.part(block) for part in parts] * 2
        return sparse.vstack(found, format="csr") if sparse.issparse(found[0]) else np.vstack(found)

    return Blocks(2 * sum(part.rows for part in parts), parts[0].blocks, read, dict)


def _teach(X: Blocks, target: Target, result: SearchResult, out: Path, *, known: bool) -> Scores:
    if known and (out / CROSSFIT).is_file():
        with np.load(out / CROSSFIT, allow_pickle=False) as scored:
            return np.asarray(scored["train"], dtype=np.float64)
    best = result.trials[result.best]
    teacher = load_model(best.algorithm, out / "trials" / f"{best.number:03d}" / "model")
    return score_of(target, teacher.predict_proba(X))
