"""Logistic regression on sparse features: the benchmark model."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tidegate.features.blocks import Blocks
from tidegate.models.interface import (
    Algorithm,
    Choice,
    Evaluation,
    FloatRange,
    Labels,
    Resources,
    Scores,
    Setting,
    Weights,
)
from tidegate.models.quality import average_precision, log_loss
from tidegate.records import CurvePoint, Params

MAX_ITERATIONS = 500

_FILE = "coefficients.npz"


class LogisticModel:
    """L2-regularized logistic regression, fitted by L-BFGS (deterministic, one thread).

    Parameters
    ----------
    C : float
        Inverse of the regularization strength, per unit of sample weight.
    balanced : bool
        Whether both classes get the same total weight.
    features : str
        Families of feature blocks to learn from.
    """

    def __init__(self, C: float, balanced: bool, features: str) -> None:
        self._C = C
        self._balanced = balanced
        self._features = features
        self._coefficients: npt.NDArray[np.float64] = np.empty(0)
        self._intercept = 0.0

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "LogisticModel":
        """Learn from rows of positive weight; report one point when the solver is done."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        weight = _with_equal_classes(y, sample_weight) if self._balanced else sample_weight
        used, matrix = weight > 0, X.csr(self._features)
        if not used.all():
            X, matrix, y = X.take(used), matrix[used], y[used]
            weight, sample_weight = weight[used], sample_weight[used]
        solver = LogisticRegression(C=self._C, max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            # The solver's last iterate is a model like any other: validation judges it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(matrix.astype(np.float64), y, sample_weight=weight)
        self._coefficients = np.asarray(solver.coef_[0], dtype=np.float64)
        self._intercept = float(solver.intercept_[0])
        if evaluation is not None:
            score = self.predict_proba(evaluation.X)[:, 1]
            point = CurvePoint(
                step=int(solver.n_iter_[0]),
                train_log_loss=log_loss(y, self.predict_proba(X)[:, 1], sample_weight),
                validation_log_loss=log_loss(evaluation.y, score, evaluation.weight),
                validation_average_precision=average_precision(
                    evaluation.y, score, evaluation.weight
                ),
            )
            evaluation.report(point)
        return self

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, 2); column 1 is violating."""
        from scipy.special import expit

        matrix = X.csr(self._features)
        margin = np.asarray(matrix @ self._coefficients, dtype=np.float64) + self._intercept
        return np.column_stack([expit(-margin), expit(margin)])

    def save(self, folder: Path) -> None:
        """Write the coefficients, the intercept and which features they are of."""
        np.savez(
            folder / _FILE,
            coefficients=self._coefficients,
            intercept=self._intercept,
            features=self._features,
        )

    @classmethod
    def load(cls, folder: Path) -> "LogisticModel":
        """Read what `save` wrote."""
        with np.load(folder / _FILE, allow_pickle=False) as arrays:
            model = cls(C=1.0, balanced=False, features=str(arrays["features"]))
            model._coefficients = arrays["coefficients"]
            model._intercept = float(arrays["intercept"])
        return model


def _with_equal_classes(y: Labels, weight: Weights) -> Weights:
    total = np.bincount(y, weights=weight, minlength=2)
    factor = total.sum() / (2 * np.maximum(total, np.finfo(np.float64).tiny))
    return np.asarray(weight * factor[y], dtype=np.float64)


def _build(params: Params, setting: Setting) -> LogisticModel:
    del setting
    return LogisticModel(
        C=float(params["C"]),
        balanced=params["class_weight"] == "balanced",
        features=str(params["features"]),
    )


LOGISTIC = Algorithm(
    name="logistic",
    build=_build,
    load=LogisticModel.load,
    search_space={
        "C": FloatRange(0.01, 100.0, log=True),
        "class_weight": Choice(("none", "balanced")),
        "features": Choice(("words+chars", "words", "chars")),
    },
    defaults={"C": 4.0, "class_weight": "none", "features": "words+chars"},
    resources=Resources(cpu=1, memory_gib=2.0),
    preload=("sklearn.linear_model",),
)
