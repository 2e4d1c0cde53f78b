"""Where an earlier run's search ended: the points with which this one starts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.models.cascade import CASCADE, heavy_stage
from tidegate.models.ensemble import ENSEMBLE
from tidegate.models.interface import Algorithm
from tidegate.records import BundleManifest, Params, SearchResult
from tidegate.search.space import contains
from tidegate.store import read_json, read_record

#: ``search.warm_start`` before the run's plan has put the bundle in service in its place.
AUTO = "auto"


def warm_points(
    config: SearchConfig, algorithms: Sequence[Algorithm]
) -> Mapping[str, Sequence[Params]]:
    """Return the points to try early, by algorithm; one outside its space is left out, and said.

    Raises
    ------
    BadInput
        If ``search.warm_start`` names a place that holds neither a search nor a bundle.
    """
    points: dict[str, list[Params]] = {algorithm.name: [] for algorithm in algorithms}
    if config.warm_start in (None, AUTO):
        return points
    spaces = {algorithm.name: algorithm.search_space for algorithm in algorithms}
    for name, params in _points_in(Path(str(config.warm_start))):
        if name not in spaces:
            continue
        if not contains(spaces[name], params):
            print(f"warm start: {name}'s earlier point is outside its space now", flush=True)
        elif params not in points[name]:
            points[name].append(params)
    return points


def refreshed(config: SearchConfig, in_service: Path) -> SearchConfig:
    """Return a search of nothing but the points that a bundle serves with, in the search step.

    Parameters
    ----------
    in_service : Path
        The bundle.
    """
    points: list[tuple[str, Params]] = []
    for point in _points_in(in_service):
        if point not in points:
            points.append(point)
    return config.model_copy(
        update={
            "algorithms": tuple(dict.fromkeys(name for name, _ in points)),
            "backend": "local",
            "strategy": "random",
            "trials": len(points),
            "ensemble_members": len(points),
            "warm_start": str(in_service),
        }
    )


def _points_in(place: Path) -> Iterator[tuple[str, Params]]:
    if (place / "search.json").is_file():
        found = read_record(place / "search.json", SearchResult)
        ranked = sorted(
            (trial for trial in found.trials if trial.status == "succeeded"),
            key=lambda trial: -(trial.average_precision or 0.0),
        )
        best = {trial.algorithm: trial.params for trial in reversed(ranked)}
        yield from best.items()
        return
    for bundle in (place, place / "bundle"):
        if (bundle / "bundle.json").is_file():
            manifest = read_record(bundle / "bundle.json", BundleManifest)
            algorithm, params, model = manifest.algorithm, manifest.params, bundle / "model"
            if algorithm == CASCADE:
                algorithm, params, model = heavy_stage(model)
            if algorithm != ENSEMBLE:
                yield algorithm, params
                return
            for member in read_json(model / "members.json"):
                if member.get("params"):
                    yield member["algorithm"], member["params"]
            return
    raise BadInput(
        "search.warm_start",
        f"{place} holds neither search.json nor a bundle",
        "name a finished run directory or a bundle, or write null",
    )
