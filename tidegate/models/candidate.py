"""The candidate: a bundle of the winning trial, and what it and the baseline score."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import BadInput
from tidegate.features.featurizer import Featurizer
from tidegate.features.matrices import load_features
from tidegate.models.bundle import DRIFT_REFERENCE, Bundle, load_bundle, write_bundle
from tidegate.models.cascade import CASCADE, Cascade, Stage
from tidegate.models.catalogue import load_model
from tidegate.models.interface import Model
from tidegate.models.scoring import score_table, scored_rows, with_outputs
from tidegate.models.slice_columns import slice_columns
from tidegate.models.target import score_of
from tidegate.models.watched import drift_reference, reference_rows
from tidegate.pass_through import filtered_scores
from tidegate.records import (
    GROUP_PREFIX,
    ID,
    LABEL,
    LIGHT,
    SCORE,
    WEIGHT,
    BaselineModel,
    Candidate,
    CascadeReport,
    Params,
    SearchResult,
    Snapshot,
    SplitName,
    TreatedModel,
    TrialResult,
)
from tidegate.store import new_directory, read_record, read_table, write_record, write_table

_DRIFT_REFERENCE_ROWS = 5000
_CROSSFIT, _DISTILLED, _MITIGATED = "crossfit.npz", "distilled", "mitigated"
#: Of a candidate: what the search's ``distilled`` folder held.
LIGHT_FOLDER = "light"
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
        Where the search distilled a light model of two classes, its folder stands under
        ``light`` and its score beside the bundle's in every scored table.
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
        light = _Light(search / _DISTILLED, bundle)
        _score_splits(bundle, snapshot, folder / "scored", data, light)
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
        if light.there:
            shutil.copytree(search / _DISTILLED, folder / LIGHT_FOLDER)
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


class _Light:
    """The distilled model, if there is one that can stand before the bundle's."""

    def __init__(self, distilled: Path, bundle: Bundle) -> None:
        binary = bundle.manifest.target.kind == "binary"
        self.there = binary and (distilled / "result.json").is_file()
        self._featurizer = bundle.featurizer
        self._stage = _light_stage(distilled) if self.there else None

    def beside(self, scored: Any, rows: Any) -> Any:
        """Return a scored table with the light model's score of the same rows."""
        if self._stage is None:
            return scored
        X = self._featurizer.transform(rows)
        return scored.assign(**{LIGHT: self._stage.model.predict_proba(X)[:, 1]})


def _light_stage(distilled: Path) -> Stage:
    student = read_record(distilled / "result.json", TrialResult)
    model = load_model(student.algorithm, distilled / "model")
    return Stage(student.algorithm, student.params, model)


def served_bundle(candidate: Path, report: CascadeReport | None, out: Path) -> Path:
    """Return the bundle that serves: the candidate's own, or a cascade of it written to `out`.

    Parameters
    ----------
    candidate : Path
        What `assemble_candidate` wrote.
    report : CascadeReport, optional
        Evaluation's; without a pass-through score the heavy model serves alone.
    out : Path
        Where a cascade's bundle goes; it has no threshold yet.
    """
    source = candidate / "bundle"
    if report is None or report.pass_through is None:
        return source
    bundle = load_bundle(source)
    manifest = bundle.manifest
    heavy = Stage(manifest.algorithm, manifest.params, bundle.model)
    light = _light_stage(candidate / LIGHT_FOLDER)
    write_bundle(
        out,
        name=manifest.name,
        algorithm=CASCADE,
        params={
            "heavy": heavy.algorithm,
            "light": light.algorithm,
            "pass_through": report.pass_through,
        },
        model=Cascade(light, heavy, report.curve),
        featurizer_folder=source / "featurizer",
        columns=manifest.inputs,
        snapshot_digest=manifest.snapshot_digest,
        source_digest=manifest.source_digest,
        target=manifest.target,
        history=manifest.history,
        drift_reference=_cascades_reference(candidate, report.pass_through),
    )
    return out


def _cascades_reference(candidate: Path, pass_through: float) -> Any:
    """Return the heavy model's drift reference with the scores that the cascade gives its rows."""
    reference = read_table(candidate / "bundle" / DRIFT_REFERENCE)
    scored = read_table(candidate / "scored" / "validation.parquet")
    chosen = reference_rows(len(scored), _DRIFT_REFERENCE_ROWS, seed=0)
    light = scored[LIGHT].to_numpy()[chosen]
    return reference.assign(score=filtered_scores(light, reference[SCORE].to_numpy(), pass_through))


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
        Featurizer.load(featurizer),
        model,
        unseen,
        columns=data.columns,
        target=data.target,
        max_rows=_DRIFT_REFERENCE_ROWS,
        seed=0,
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
        source_digest=data.source_digest,
        target=data.target,
        history=data.history,
        drift_reference=norm,
    )
    return load_bundle(folder)


def _score_splits(
    bundle: Bundle, snapshot: Path, out: Path, data: Snapshot, light: _Light | None = None
) -> None:
    """Write what a bundle scores: validation, holdout, and golden set and templates if any."""

    def write(name: str, scored: Any, rows: Any) -> None:
        write_table(out / name, scored if light is None else light.beside(scored, rows))

    for split in _JUDGED_ON:
        rows = read_table(snapshot / f"{split}.parquet")
        outputs = bundle.outputs(rows)
        scored = scored_rows(rows, score_of(data.target, outputs))
        if split == "holdout":
            scored = scored.assign(**slice_columns(rows, data.columns))
        write(f"{split}.parquet", with_outputs(scored, data.target, rows, outputs), rows)
    if (snapshot / _GOLDEN).is_file():
        rows = read_table(snapshot / _GOLDEN)
        write(_GOLDEN, score_table(bundle, rows), rows)
    if (snapshot / _FUNCTIONAL).is_file():
        rows = read_table(snapshot / _FUNCTIONAL)
        inputs = [column.name for column in data.columns]
        write(_FUNCTIONAL, rows.drop(columns=inputs).assign(score=bundle.score(rows[inputs])), rows)


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
