"""Logistic regression on sparse features: the benchmark model."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.features.blocks import Blocks
from tidegate.models.interface import (
    BINARY,
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
from tidegate.models.quality import cross_entropy, curve_point
from tidegate.models.selection import FAMILIES, counted_rows, select_columns
from tidegate.models.target import indicators_of
from tidegate.records import Params, Target

MAX_ITERATIONS = 500
#: SAGA takes seconds a pass over 100,000 sparse columns, and an L1 penalty would drop nearly all
#: of them: fewer passes over columns chosen beforehand cost a tenth and rank as well.
MAX_SAGA_PASSES = 10
SAGA_COLUMNS = 20_000
#: Of an elastic net's penalty.
L1_SHARE = 0.5

_FILE = "coefficients.npz"
# Where the first-order solvers stop: what ranks is found long before the last digits are.
_TOLERANCE = 1e-2
# Of the intercept, which liblinear would shrink like a coefficient otherwise.
_INTERCEPT_SCALING = 10.0


class LogisticModel:
    """Logistic regression: two classes, several classes (softmax), or one a task.

    Parameters
    ----------
    C : float
        Inverse of the penalty's strength, per unit of sample weight.
    balanced : bool
        Whether all classes get the same total weight.
    features : str
        Families of feature blocks to learn from.
    columns : int, optional
        How many of their columns to learn from; all without it.
    penalty : str
        ``l2`` (by L-BFGS), ``l1`` (by liblinear; by SAGA for classes) or ``elasticnet`` (by SAGA).
    target : Target
        What the labels mean.
    seed : int
        Of the solvers that shuffle rows.
    """

    def __init__(
        self,
        C: float,
        balanced: bool,
        features: str,
        *,
        columns: int | None = None,
        penalty: str = "l2",
        target: Target = BINARY,
        seed: int = 0,
    ) -> None:
        self._C = C
        self._balanced = balanced
        self._features = features
        self._columns = columns
        self._penalty = penalty
        self._target = target
        self._seed = seed
        self._coefficients: npt.NDArray[np.float64] = np.empty((0, 0))
        self._intercepts: npt.NDArray[np.float64] = np.empty(0)

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "LogisticModel":
        """Learn from rows of positive weight; report one point when the solver is done."""
        X, y, sample_weight = counted_rows(X, y, sample_weight)
        matrix = X.csr(self._features)
        width, chosen = matrix.shape[1], np.arange(matrix.shape[1])
        settings = self._solver()
        count = self._columns
        if settings.get("solver") == "saga":
            count = min(count or SAGA_COLUMNS, SAGA_COLUMNS)
        if count is not None:
            asked = indicators_of(self._target, y)
            chosen = select_columns(matrix, asked, sample_weight, count)
            matrix = matrix[:, chosen]
        matrix = matrix.astype(np.float64)
        # Several tasks are so many problems of two classes.
        tasks = list(y.T) if self._target.kind == "multilabel" else [y]
        solved = [self._solved(matrix, task, sample_weight, settings) for task in tasks]
        self._intercepts = np.concatenate([solver.intercept_ for solver in solved])
        # Features first: the order in which a sparse row reads them.
        self._coefficients = np.zeros((width, len(self._intercepts)))
        self._coefficients[chosen] = np.vstack([solver.coef_ for solver in solved]).T
        if evaluation is not None:
            loss = cross_entropy(self._target, y, self.predict_proba(X), sample_weight)
            steps = max(int(np.max(solver.n_iter_)) for solver in solved)
            outputs = self.predict_proba(evaluation.X)
            evaluation.report(curve_point(steps, loss, self._target, evaluation, outputs))
        return self

    def _solved(self, matrix: Any, y: Labels, weight: Weights, settings: dict[str, Any]) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        solver = LogisticRegression(C=self._C, **settings)
        with warnings.catch_warnings():
            # The solver's last iterate is a model like any other: validation judges it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return solver.fit(
                matrix,
                y,
                sample_weight=_with_equal_classes(y, weight) if self._balanced else weight,
            )

    def _solver(self) -> dict[str, Any]:
        if self._penalty == "l2":
            tolerance = {"tol": 1e-3} if self._target.kind == "multiclass" else {}
            return {"max_iter": MAX_ITERATIONS, **tolerance}
        if self._penalty == "l1" and self._target.kind != "multiclass":
            return {
                "l1_ratio": 1.0,
                "solver": "liblinear",
                "intercept_scaling": _INTERCEPT_SCALING,
                "max_iter": MAX_ITERATIONS,
                "tol": _TOLERANCE,
                "random_state": self._seed,
            }
        return {
            "l1_ratio": 1.0 if self._penalty == "l1" else L1_SHARE,
            "solver": "saga",
            "max_iter": MAX_SAGA_PASSES,
            "tol": _TOLERANCE,
            "random_state": self._seed,
        }

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, outputs); of two classes, column 1 is violating."""
        from scipy.special import expit, softmax

        matrix = X.csr(self._features)
        if X.rows == 1:
            added = matrix.data @ self._coefficients[matrix.indices]
            margin = (added + self._intercepts)[None, :]
        else:
            margin = np.asarray(matrix @ self._coefficients, dtype=np.float64) + self._intercepts
        if self._target.kind == "multiclass":
            if margin.shape[1] == 1:
                margin = np.hstack([-margin / 2, margin / 2])
            return np.asarray(softmax(margin, axis=1), dtype=np.float64)
        if self._target.kind == "multilabel":
            return np.asarray(expit(margin), dtype=np.float64)
        return np.asarray(expit(margin * [-1.0, 1.0]), dtype=np.float64)

    @property
    def features(self) -> str:
        """Return the families of feature blocks that it learned from."""
        return self._features

    def contributions(self, X: Blocks) -> Any:
        """Return what each feature adds to the log-odds of two classes, CSR (rows, features)."""
        from scipy import sparse

        return sparse.csr_matrix(X.csr(self._features).multiply(self._coefficients[:, 0]))

    def save(self, folder: Path) -> None:
        """Write coefficients and intercepts, and which features and what target they are of."""
        np.savez(
            folder / _FILE,
            coefficients=self._coefficients,
            intercepts=self._intercepts,
            features=self._features,
            target=self._target.model_dump_json(),
        )

    @classmethod
    def load(cls, folder: Path) -> "LogisticModel":
        """Read what `save` wrote."""
        with np.load(folder / _FILE, allow_pickle=False) as arrays:
            target = Target.model_validate_json(str(arrays["target"]))
            model = cls(1.0, False, str(arrays["features"]), target=target)
            model._coefficients = arrays["coefficients"]
            model._intercepts = arrays["intercepts"]
        return model


def _with_equal_classes(y: Labels, weight: Weights) -> Weights:
    total = np.bincount(y, weights=weight)
    factor = total.sum() / (np.count_nonzero(total) * np.maximum(total, np.finfo(np.float64).tiny))
    return np.asarray(weight * factor[y], dtype=np.float64)


def _build(params: Params, setting: Setting) -> LogisticModel:
    return LogisticModel(
        C=float(params["C"]),
        balanced=params["class_weight"] == "balanced",
        features=str(params["features"]),
        columns=None if params["columns"] == "all" else int(params["columns"]),
        penalty=str(params["penalty"]),
        target=setting.target,
        seed=setting.seed,
    )


LOGISTIC = Algorithm(
    name="logistic",
    build=_build,
    load=LogisticModel.load,
    search_space={
        "C": FloatRange(0.01, 100.0, log=True),
        "class_weight": Choice(("none", "balanced")),
        "features": FAMILIES,
        "columns": Choice(("all", "5000", "20000")),
        "penalty": Choice(("l2", "l1", "elasticnet")),
    },
    defaults={
        "C": 4.0,
        "class_weight": "none",
        "features": "words+chars",
        "columns": "all",
        "penalty": "l2",
    },
    resources=Resources(cpu=1, memory_gib=2.0),
    preload=("sklearn.linear_model",),
)
