"""What a feature transformer is: a record over the scikit-learn interface."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from tidegate.config import FeatureConfig

Modality = Literal["text", "numeric", "categorical"]
#: Everything a fitted transformer needs, as JSON values and as arrays; never pickles.
State = tuple[Mapping[str, Any], Mapping[str, npt.NDArray[Any]]]


class ColumnTransformer(Protocol):
    """Turns one column of a frame into a block of features."""

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "ColumnTransformer":
        """Learn from the training rows of one column."""

    def transform(self, values: Sequence[Any]) -> Any:
        """Return a CSR or dense matrix, float32, of shape (rows, features of this block)."""

    def get_feature_names_out(self) -> Sequence[str]:
        """Return one name a feature, without the column's name."""

    def state(self) -> State:
        """Return what `Transformer.restore` needs."""


@dataclass(frozen=True)
class Transformer:
    """One row of the catalogue.

    Parameters
    ----------
    name : str
        Unique name; also part of the names of the block's files in a bundle.
    modality : str
        Kind of column it reads; it is applied to every column of that kind.
    family : str
        What models choose its features by: ``words``, ``chars``, ``embedding``, ``statistics`` or
        ``tabular`` (see `tidegate.features.blocks`).
    build : callable
        ``build(config)`` returns an unfitted `ColumnTransformer`, or None where the
        configuration leaves it out.
    restore : callable
        ``restore(state)`` returns the fitted one whose ``state()`` is given.
    tables : tuple of str
        Snapshot tables it needs beside the row's own columns (none yet).
    raw : bool
        Whether it reads text as it came, instead of cleaned.
    """

    name: str
    modality: Modality
    build: Callable[[FeatureConfig], ColumnTransformer | None]
    restore: Callable[[State], ColumnTransformer]
    family: str
    tables: tuple[str, ...] = ()
    raw: bool = False
