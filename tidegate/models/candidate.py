"""The candidate: a bundle of the winning trial, and what it and the baseline score."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import BadInput
from tidegate.features.featurizer import Featurizer
from tidegate.features.matrices import load_features
from tidegate.models.bundle import Bundle, drift_reference, load_bundle, write_bundle
from tidegate.models.catalogue import load_model
from tidegate.models.interface import Model
from tidegate.models.scoring import score_table, scored_rows, with_outputs
from tidegate.models.slice_columns import slice_columns
from tidegate.models.target import score_of
from tidegate.records import (
    GROUP_PREFIX,
    ID,
    LABEL,
    WEIGHT,
    BaselineModel,
    Candidate,
    Params,
    SearchResult,
    Snapshot,
    SplitName,
    TreatedModel,
    TrialResult,
)
from tidegate.store import new_directory, read_record, read_table, write_record, write_table

_DRIFT_REFERENCE_ROWS = 2000
_CROSSFIT, _MITIGATED = "crossfit.npz", "mitigated"
_JUDGED_ON: tuple[SplitName, ...] = ("validation", "holdout")
_GOLDEN, _FUNCTIONAL = "golden.parquet", "functional.parquet"


def assemble_candidate(
    name: str,
    *,
    snapshot: Path,
    features: Path,
    search: Path,
    baseline: BaselineModel,
    out: Path,
) -> Candidate:
    """Bundle the winning trial and score validation and holdout with it and with the baseline.

    Parameters
    ----------
    name : str
        Name of the served model.
    snapshot, features, search : Path
        Folders that the earlier stages wrote.
    baseline : BaselineModel
        The model to compare with. One that cannot read this snapshot gives way to the benchmark
        model, and the record says why.
    out : Path
        Folder to write, as `records.Candidate` describes; ``scored/crossfit.parquet`` as well
        where the search scored the training rows by models of their folds,
        ``scored/golden.parquet`` and ``baseline/golden.parquet`` where there is a golden set, and
        ``scored/functional.parquet`` where there are functional tests (without their texts), and
        ``mitigated/NAME/`` with ``bundle/`` and ``scored/`` where the search trained such models.
    """
    data = read_record(snapshot / "snapshot.json", Snapshot)
    result = read_record(search / "search.json", SearchResult)
    best = result.trials[result.best]
    benchmark = _fitted(search, result.trials[result.benchmark])
    with new_directory(out) as folder:
        bundled = partial(
            _bundled, name=name, data=data, snapshot=snapshot, featurizer=features / "featurizer"
        )
        bundle = bundled(folder / "bundle", best.algorithm, best.params, _fitted(search, best))
        _score_splits(bundle, snapshot, folder / "scored", data)
        with_whom, other = _loaded_baseline(baseline, data)
        for split in _JUDGED_ON:
            rows = read_table(snapshot / f"{split}.parquet")
            own = read_table(folder / "scored" / f"{split}.parquet")
            scored = scored_rows(rows, own["score"])
            if other is not None:
                scored = score_table(other, rows)
            elif result.benchmark != result.best:
                X, _ = load_features(features, split)
                scored = scored.assign(score=score_of(data.target, benchmark.predict_proba(X)))
            write_table(folder / "baseline" / f"{split}.parquet", scored)
        if (snapshot / _GOLDEN).is_file():
            rows = read_table(snapshot / _GOLDEN)
            if other is not None:
                score = other.score(rows)
            else:
                X = bundle.featurizer.transform(rows)
                score = score_of(data.target, benchmark.predict_proba(X))
            write_table(folder / "baseline" / _GOLDEN, scored_rows(rows, score))
        if (search / _CROSSFIT).is_file():
            crossfit = _crossfit_table(search / _CROSSFIT, snapshot)
            write_table(folder / "scored" / "crossfit.parquet", crossfit)
        for treated in sorted((search / _MITIGATED).glob("*/treated.json")):
            told = read_record(treated, TreatedModel)
            model = load_model(told.algorithm, treated.parent / "model")
            place = folder / _MITIGATED / told.name
            # Trained by weights alone: groups are no more among its inputs than the winner's.
            fair = bundled(place / "bundle", told.algorithm, told.params, model)
            _score_splits(fair, snapshot, place / "scored", data)
            write_record(place / "treated.json", told)
        candidate = Candidate(
            name=name,
            algorithm=best.algorithm,
            params=best.params,
            groups=data.groups,
            prevalence={split: summary.prevalence for split, summary in data.splits.items()},
            baseline=with_whom,
        )
        write_record(folder / "candidate.json", candidate)
    return candidate


def _crossfit_table(path: Path, snapshot: Path) -> Any:
    """Return every training row once, scored by the model of its fold, and the validation rows.

    ``split, id, label, weight, fold, score`` and the groups; validation rows stand there once a
    fold, scored by that fold's model.
    """
    import pandas as pd

    with np.load(path, allow_pickle=False) as scored:
        fold, train, validation = scored["fold"], scored["train"], scored["validation"]
    parts = [("train", fold, train)]
    parts += [("validation", np.full(len(row), k), row) for k, row in enumerate(validation)]
    rows = {split: read_table(snapshot / f"{split}.parquet") for split in ("train", "validation")}
    tables = []
    for split, folds, score in parts:
        of = rows[split].reset_index(drop=True)
        roles = {"split": split, "id": of[ID], "label": of[LABEL], "weight": of[WEIGHT]}
        groups = {
            str(column).removeprefix(GROUP_PREFIX): of[column]
            for column in of
            if str(column).startswith(GROUP_PREFIX)
        }
        tables.append(pd.DataFrame({**roles, "fold": folds, "score": score, **groups}))
    return pd.concat(tables, ignore_index=True)


def _bundled(
    folder: Path,
    algorithm: str,
    params: Params,
    model: Model,
    *,
    name: str,
    data: Snapshot,
    snapshot: Path,
    featurizer: Path,
) -> Bundle:
    # Validation rows: the featurizer was fitted on the training rows and flatters them.
    unseen = read_table(snapshot / "validation.parquet")
    norm = drift_reference(
        Featurizer.load(featurizer), unseen, max_rows=_DRIFT_REFERENCE_ROWS, seed=0
    )
    write_bundle(
        folder,
        name=name,
        algorithm=algorithm,
        params=params,
        model=model,
        featurizer_folder=featurizer,
        columns=data.columns,
        snapshot_digest=data.digest,
        target=data.target,
        drift_reference=norm,
    )
    return load_bundle(folder)


def _score_splits(bundle: Bundle, snapshot: Path, out: Path, data: Snapshot) -> None:
    """Write what a bundle scores: validation, holdout, and golden set and templates if any."""
    for split in _JUDGED_ON:
        rows = read_table(snapshot / f"{split}.parquet")
        outputs = bundle.outputs(rows)
        scored = scored_rows(rows, score_of(data.target, outputs))
        if split == "holdout":
            scored = scored.assign(**slice_columns(rows, data.columns))
        write_table(out / f"{split}.parquet", with_outputs(scored, data.target, rows, outputs))
    if (snapshot / _GOLDEN).is_file():
        write_table(out / _GOLDEN, score_table(bundle, read_table(snapshot / _GOLDEN)))
    if (snapshot / _FUNCTIONAL).is_file():
        rows = read_table(snapshot / _FUNCTIONAL)
        inputs = [column.name for column in data.columns]
        scored = rows.drop(columns=inputs).assign(score=bundle.score(rows[inputs]))
        write_table(out / _FUNCTIONAL, scored)


def _fitted(search: Path, trial: TrialResult) -> Model:
    return load_model(trial.algorithm, search / "trials" / f"{trial.number:03d}" / "model")


def _loaded_baseline(
    baseline: BaselineModel, data: Snapshot
) -> tuple[BaselineModel, Bundle | None]:
    """Return the baseline that can really score this snapshot, and its bundle if it has one."""
    if baseline.bundle is None:
        return baseline, None
    try:
        bundle = load_bundle(Path(baseline.bundle))
    except BadInput as error:
        return _benchmark_instead(baseline, str(error)), None
    missing = {c.name for c in bundle.manifest.inputs} - {c.name for c in data.columns}
    if missing:
        problem = f"it needs column {min(missing)!r}, which this data lacks"
        return _benchmark_instead(baseline, problem), None
    serves_by = {"threshold": bundle.manifest.threshold, "rule": bundle.manifest.rule}
    return baseline.model_copy(update=serves_by), bundle


def _benchmark_instead(wanted: BaselineModel, problem: str) -> BaselineModel:
    return BaselineModel(
        kind="benchmark_model",
        name="benchmark model",
        note=f"{wanted.name} could not be compared: {problem}",
    )
