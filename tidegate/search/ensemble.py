"""After the trials: would a few of them together rank better than the best alone."""

import time
from pathlib import Path

import numpy as np

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.models.catalogue import load_model
from tidegate.models.ensemble import ENSEMBLE, Ensemble, Member, select_members
from tidegate.models.quality import average_precision, log_loss
from tidegate.records import LABEL, WEIGHT, SearchResult, TrialResult
from tidegate.search.trial import VALIDATION_SCORES


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
    roles = store.read_table(features_folder / "validation.parquet", [LABEL, WEIGHT])
    y, weight = roles[LABEL].to_numpy(dtype=np.int8), roles[WEIGHT].to_numpy(dtype=np.float64)
    shares = select_members(scores, y, weight, max_members=config.ensemble_members)
    if len(shares) == 1:
        return result
    mean = np.sum([share * scores[number] for number, share in shares.items()], axis=0)
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
        average_precision=average_precision(y, mean, weight),
        log_loss=log_loss(y, mean, weight),
        seconds=time.monotonic() - started,
    )
    store.write_record(place / "result.json", trial)
    parts = ", ".join(f"{share:.0%} trial {member}" for member, share in shares.items())
    print(f"ensemble of {parts}: average_precision={trial.average_precision:.4f}", flush=True)
    return result.model_copy(update={"trials": (*result.trials, trial), "best": number})
