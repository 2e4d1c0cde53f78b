"""After the trials: the ensemble, scores of the training rows, and a light model, as asked for."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from tidegate.config import SearchConfig
from tidegate.records import SearchResult
from tidegate.search.crossfit import crossfit
from tidegate.search.distill import distill
from tidegate.search.ensemble import with_ensemble
from tidegate.search.mitigate import mitigate
from tidegate.search.tasks import Room


def finish(
    result: SearchResult,
    features_folder: Path,
    config: SearchConfig,
    out: Path,
    room: Room,
) -> SearchResult:
    """Return the search's result with its final winner; what else is asked for lands in `out`.

    ``crossfit.npz``, ``distilled/`` and ``mitigated/`` are extras: where the minutes do not hold
    them, a line says so and the search is none the worse. The folds leave time for the distilled
    model.
    """
    result = with_ensemble(result, features_folder, config, out)
    for wanted, extra, name in (
        (config.crossfit_folds > 0, crossfit, "cross-fitted scores"),
        (config.distill, distill, "the distilled model"),
        (bool(config.mitigate), mitigate, "the mitigated models"),
    ):
        if not wanted:
            continue
        its_room = room
        if extra is crossfit and config.distill:
            its_room = replace(room, seconds_left=partial(_less, room, _kept(config, room)))
        why = extra(result, features_folder, config, out, its_room)
        print(f"{name}: {'written' if why is None else f'left out, {why}'}", flush=True)
    return result


def _kept(config: SearchConfig, room: Room) -> float:
    """Return the seconds that are kept for the distilled model."""
    return min(2 * config.reserve_share * 60 * config.minutes, room.seconds_left() / 2)


def _less(room: Room, seconds: float) -> float:
    return max(0.0, room.seconds_left() - seconds)
