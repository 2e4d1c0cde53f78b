"""After the trials: would a few of them together rank better than the best alone."""

import time
from pathlib import Path

import numpy as np

from tidegate import store
from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.models.ensemble import ENSEMBLE, SavedMember, select_members, write_ensemble
from tidegate.models.interface import Scores
from tidegate.models.quality import measured
from tidegate.models.target import violating_of
from tidegate.records import SearchResult, TrialResult
from tidegate.search.trial import VALIDATION_OUTPUTS, VALIDATION_SCORES, read_rows

_LARGEST_LIBRARY = 20


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

    Raises
    ------
    BadInput
        If no trial scores a row within ``search.max_serving_ms``.
    """
    started = time.monotonic()
    trials = {trial.number: trial for trial in _library(result, config)}
    folders = {number: out / "trials" / f"{number:03d}" for number in trials}
    scores = {
        number: np.load(folder / VALIDATION_SCORES, allow_pickle=False)
        for number, folder in folders.items()
    }
    rows = read_rows(features_folder, "validation")
    shares = select_members(
        scores,
        violating_of(rows.target, rows.y),
        rows.weight,
        max_members=config.ensemble_members,
        cost_ms={number: trial.serving_ms or 0.0 for number, trial in trials.items()},
        max_cost_ms=config.max_serving_ms or float("inf"),
    )
    if len(shares) == 1:
        return result.model_copy(update={"best": min(trials.values(), key=_rank).number})
    outputs = [share * _outputs(folders[number]) for number, share in shares.items()]
    reached, loss = measured(rows.target, rows.y, np.sum(outputs, axis=0), rows.weight)
    number = len(result.trials)
    place = out / "trials" / f"{number:03d}"
    members = [
        SavedMember(trials[n].algorithm, share, trials[n].params, folders[n] / "model")
        for n, share in shares.items()
    ]
    with store.new_directory(place / "model") as folder:
        write_ensemble(folder, members)
    trial = TrialResult(
        number=number,
        algorithm=ENSEMBLE,
        params={f"trial_{member}": round(share, 4) for member, share in shares.items()},
        status="succeeded",
        average_precision=reached,
        log_loss=loss,
        seconds=time.monotonic() - started,
        serving_ms=sum(trials[number].serving_ms or 0.0 for number in shares),
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


def _library(result: SearchResult, config: SearchConfig) -> list[TrialResult]:
    """Return the trials an ensemble is chosen from: the best ones, and the best of each algorithm.

    A library of hundreds costs time and, on a small validation set, luck is all that tells its
    members apart (Caruana et al. prune theirs for the same reason).
    """
    succeeded = [
        trial
        for trial in result.trials
        if trial.status == "succeeded" and trial.algorithm in config.algorithms
    ]
    quick = [trial for trial in succeeded if _is_quick(trial, config.max_serving_ms)]
    if not quick:
        quickest = min(trial.serving_ms or float("inf") for trial in succeeded)
        raise BadInput(
            "search.max_serving_ms",
            f"no trial scores a row in {config.max_serving_ms:g} ms, the quickest took "
            f"{quickest:.1f} ms",
            "raise it, or list a lighter algorithm",
        )
    ranked = sorted(quick, key=_rank)
    best_of_each = {trial.algorithm: trial for trial in reversed(ranked)}
    kept = {trial.number for trial in [*ranked[:_LARGEST_LIBRARY], *best_of_each.values()]}
    return [trial for trial in ranked if trial.number in kept]


def _rank(trial: TrialResult) -> tuple[float, int]:
    return -(trial.average_precision or 0.0), trial.number


def _is_quick(trial: TrialResult, limit_ms: float | None) -> bool:
    return limit_ms is None or (trial.serving_ms is not None and trial.serving_ms <= limit_ms)
