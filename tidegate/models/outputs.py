"""From a net's logits to the probabilities of a target's outputs, and what a net learns from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tidegate.models.interface import Evaluation, Scores, Weights
from tidegate.models.quality import cross_entropy
from tidegate.records import Target

Logits = npt.NDArray[np.float64]
_BOUNDS = (-3.0, 3.0)


def logit_count(target: Target) -> int:
    """Return how many logits a row has: one for the two classes of a binary target."""
    return 1 if target.kind == "binary" else len(target.outputs)


def probabilities(target: Target, logits: Logits, temperature: float = 1.0) -> Scores:
    """Return float64 probabilities of shape (rows, outputs) from logits of shape (rows, logits)."""
    from scipy.special import expit, softmax

    cooled = np.asarray(logits, dtype=np.float64) / temperature
    if target.kind == "binary":
        return np.column_stack([expit(-cooled[:, 0]), expit(cooled[:, 0])])
    if target.kind == "multilabel":
        return np.asarray(expit(cooled), dtype=np.float64)
    return np.asarray(softmax(cooled, axis=1), dtype=np.float64)


def fitted_temperature(target: Target, logits: Logits, evaluation: Evaluation) -> float:
    """Return the divisor of the logits that makes their cross-entropy lowest (Guo et al., 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        outputs = probabilities(target, logits, float(np.exp(log_temperature)))
        return cross_entropy(target, evaluation.y, outputs, evaluation.weight)

    found = minimize_scalar(loss, bounds=_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def merged(keys: Sequence[bytes], weight: Weights) -> tuple[npt.NDArray[np.int64], Weights]:
    """Return the first row of each key and the weight of all rows that have it.

    A net that sees a hundred copies of a post in turn learns them a hundred times in a hundred
    steps; one row of that weight is cheaper, and a row of weight three is then three rows.
    """
    total: dict[bytes, float] = {}
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
        total[key] = total.get(key, 0.0) + float(weight[row])
    return np.array(list(first.values()), dtype=np.int64), np.array(list(total.values()))
