"""What an algorithm is: a record over the scikit-learn interface, and its search space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from tidegate.config import QuantizeConfig
from tidegate.features.blocks import Blocks
from tidegate.records import CurvePoint, Params, Target

Scores = npt.NDArray[np.float64]
#: 0/1 or the number of a class, shape (rows,); several tasks: 0/1, shape (rows, tasks).
Labels = npt.NDArray[np.int8]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FloatRange:
    """A real hyperparameter in [low, high]."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class IntRange:
    """An integer hyperparameter in [low, high]."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """A hyperparameter that takes one of the listed values."""

    values: Sequence[bool | int | float | str]


#: Where nets train: `auto` takes a GPU when there is one.
Device = Literal["auto", "cpu", "gpu"]

#: Of a trial's seconds, what a net keeps for what takes longer than it was measured to.
RESERVED_SHARE = 0.06

SearchSpace = Mapping[str, FloatRange | IntRange | Choice]


@dataclass(frozen=True)
class Resources:
    """What one trial of an algorithm asks of a node."""

    cpu: int = 1
    memory_gib: float = 2.0
    gpus: int = 0


BINARY = Target()


@dataclass(frozen=True)
class Setting:
    """What a model is told beside its hyperparameters.

    Parameters
    ----------
    seed : int
        Of every random choice.
    threads : int
        Threads of training.
    target : Target
        What the labels mean.
    seconds : float, optional
        Wall time that `fit` may take, from now on; a model that learns in steps plans them for it.
    encoder : str, optional
        URI of the text encoder; that of an installed package if None.
    device : Device
        Where nets train.
    quantize : QuantizeConfig, optional
        What int8 weights may cost, where a model can have them; it then keeps a
        `tidegate.records.Quantization` as `quantization`. None: not tried.
    state : Path, optional
        Folder that only a resumable algorithm knows; see `Algorithm`.
    """

    seed: int = 0
    threads: int = 1
    target: Target = BINARY
    seconds: float | None = None
    encoder: str | None = None
    device: Device = "auto"
    quantize: QuantizeConfig | None = None
    state: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """Rows that a model may measure itself on while it learns, and where it reports.

    A model calls `report` after each step of its own kind (boosting round, epoch, pass);
    `report` raises to stop the trial.
    """

    X: Blocks
    y: Labels
    weight: Weights
    report: Callable[[CurvePoint], None]


class NotEnoughTime(Exception):
    """Raised by `Model.fit` when `Setting.seconds` are too few to learn anything worth having."""


class Model(Protocol):
    """A classifier that learns, scores and writes itself to a folder."""

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "Model":
        """Learn from rows; with `evaluation`, report a curve and stop early on it."""

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, outputs of the target)."""

    def save(self, folder: Path) -> None:
        """Write everything that scoring needs into an existing, empty folder; no pickles."""


@dataclass(frozen=True)
class Algorithm:
    """One row of the catalogue.

    Parameters
    ----------
    name : str
        As written under ``search.algorithms``.
    build : callable
        ``build(params, setting)`` returns an unfitted `Model`.
    load : callable
        ``load(folder)`` returns the fitted `Model` that ``save(folder)`` wrote.
    search_space : mapping
        The hyperparameters a search may choose.
    defaults : mapping
        Hyperparameters of the first trial, a point inside `search_space`.
    resources : Resources
        What one trial asks of a node.
    modalities : frozenset of str
        Feature modalities it can learn from.
    preload : tuple of str
        Heavy modules of its trials; a search imports them once instead of once a trial.
    relative_cost : float
        Expected seconds of a trial of the defaults, the benchmark model's being 1; a search that
        knows no better goes by it.
    plans_by_seconds : bool
        Whether a trial gets better with more seconds (`Setting.seconds`) and ends within them.
    resumable : bool
        Whether `fit` goes on from what a fit before it left in ``setting.state``, if anything, and
        leaves there what the next one needs.
    """

    name: str
    build: Callable[[Params, Setting], Model]
    load: Callable[[Path], Model]
    search_space: SearchSpace
    defaults: Params
    resources: Resources = Resources()
    modalities: frozenset[str] = field(
        default_factory=lambda: frozenset({"text", "numeric", "categorical"})
    )
    preload: tuple[str, ...] = ()
    relative_cost: float = 1.0
    plans_by_seconds: bool = False
    resumable: bool = False
