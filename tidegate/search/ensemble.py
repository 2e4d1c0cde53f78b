"""After the trials: would a few of them together rank better than the best alone."""

import time
from pathlib import Path

import numpy as np

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.models.catalogue import load_model
from tidegate.models.ensemble import ENSEMBLE, Ensemble, Member, select_members
from tidegate.models.interface import Scores
from tidegate.models.quality import measured
from tidegate.models.target import labels_of, violating_of
from tidegate.records import WEIGHT, FeatureSet, SearchResult, TrialResult
from tidegate.search.trial import VALIDATION_OUTPUTS, VALIDATION_SCORES


def with_ensemble(
    result: SearchResult, features_folder: Path, config: SearchConfig, out: Path
) -> SearchResult:
    """Return the search's result with an ensemble of its trials as the winner, if one wins.

    Parameters
    ----------
    result : SearchResult
        The finished trials.
    features_folder : Path
        What `tidegate.records.FeatureSet` describes; only validation's labels are read.
    config : SearchConfig
        Which algorithms may win, and how many models may serve together.
    out : Path
        The search's folder; the ensemble becomes one more ``trials/NNN/``.
    """
    started = time.monotonic()
    trials = {
        trial.number: trial
        for trial in result.trials
        if trial.status == "succeeded" and trial.algorithm in config.algorithms
    }
    folders = {number: out / "trials" / f"{number:03d}" for number in trials}
    scores = {
        number: np.load(folder / VALIDATION_SCORES, allow_pickle=False)
        for number, folder in folders.items()
    }
    target = store.read_record(features_folder / "features.json", FeatureSet).target
    roles = store.read_table(features_folder / "validation.parquet")
    y, weight = labels_of(target, roles), roles[WEIGHT].to_numpy(dtype=np.float64)
    violating = violating_of(target, y)
    shares = select_members(scores, violating, weight, max_members=config.ensemble_members)
    if len(shares) == 1:
        return result
    outputs = [share * _outputs(folders[number]) for number, share in shares.items()]
    reached, loss = measured(target, y, np.sum(outputs, axis=0), weight)
    ensemble = Ensemble(
        [
            Member(
                trials[number].algorithm,
                share,
                load_model(trials[number].algorithm, folders[number] / "model"),
            )
            for number, share in shares.items()
        ]
    )
    number = len(result.trials)
    place = out / "trials" / f"{number:03d}"
    with store.new_directory(place / "model") as folder:
        ensemble.save(folder)
    trial = TrialResult(
        number=number,
        algorithm=ENSEMBLE,
        params={f"trial_{member}": round(share, 4) for member, share in shares.items()},
        status="succeeded",
        average_precision=reached,
        log_loss=loss,
        seconds=time.monotonic() - started,
    )
    store.write_record(place / "result.json", trial)
    parts = ", ".join(f"{share:.0%} trial {member}" for member, share in shares.items())
    print(f"ensemble of {parts}: average_precision={reached:.4f}", flush=True)
    return result.model_copy(update={"trials": (*result.trials, trial), "best": number})


def _outputs(folder: Path) -> Scores:
    """Return what a trial's model said of the validation rows, shape (rows, outputs)."""
    if (folder / VALIDATION_OUTPUTS).exists():
        return np.asarray(np.load(folder / VALIDATION_OUTPUTS, allow_pickle=False))
    score = np.load(folder / VALIDATION_SCORES, allow_pickle=False)
    return np.column_stack([1 - score, score])
