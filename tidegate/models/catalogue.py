"""The table of algorithms: one line adds one; other packages add theirs by entry point."""

import difflib
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from tidegate.errors import BadInput
from tidegate.models.boosted import XGBOOST
from tidegate.models.cascade import CASCADE, Cascade
from tidegate.models.encoder import ENCODER
from tidegate.models.ensemble import ENSEMBLE, Ensemble
from tidegate.models.interface import Algorithm, Model
from tidegate.models.knn import KNN
from tidegate.models.linear import LOGISTIC
from tidegate.models.neural import NEURAL

ALGORITHMS: tuple[Algorithm, ...] = (LOGISTIC, XGBOOST, KNN, NEURAL, ENCODER)
BENCHMARK = LOGISTIC

ENTRY_POINT_GROUP = "tidegate.algorithms"


def algorithms() -> Mapping[str, Algorithm]:
    """Return every known algorithm by name: the table's, then those of installed packages.

    Raises
    ------
    ValueError
        If an installed package takes a name that is already in use.
    """
    known = {entry.name: entry for entry in ALGORITHMS}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        found: Algorithm = point.load()
        if found.name in known:
            raise ValueError(f"entry point {point.value} repeats the algorithm {found.name!r}")
        known[found.name] = found
    return known


def algorithm(name: str) -> Algorithm:
    """Return the algorithm of that name.

    Raises
    ------
    BadInput
        If no algorithm has it.
    """
    for entry in ALGORITHMS:
        if entry.name == name:
            return entry
    known = algorithms()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]!r}?" if near else f"known algorithms: {', '.join(known)}"
    raise BadInput("search.algorithms", f"unknown algorithm {name!r}", mend)


def learnable(name: str) -> Algorithm:
    """Return the algorithm of that name, if what it learns with is installed here.

    Raises
    ------
    BadInput
        If no algorithm has it, or if it learns with torch and torch is not here.
    """
    found = algorithm(name)
    nets = any(module.startswith("tidegate.models.torch_") for module in found.preload)
    if nets and find_spec("torch") is None:
        problem = f"{name!r} needs torch, which this image lacks"
        raise BadInput("search.algorithms", problem, "use the gpu image or leave it out")
    return found


def load_model(name: str, folder: Path) -> Model:
    """Return the fitted model of an algorithm, ensemble or cascade that ``save(folder)`` wrote.

    Raises
    ------
    BadInput
        If no algorithm has that name.
    """
    if name == ENSEMBLE:
        return Ensemble.load(folder, load_model)
    if name == CASCADE:
        return Cascade.load_from(folder, load_model)
    return algorithm(name).load(folder)
