"""Gradient-boosted trees (XGBoost) on the columns that tell the classes apart best.

Text features come as some 100,000 sparse columns, most of which no tree would use; choosing a
few thousand beforehand makes a trial ten times cheaper and loses little average precision.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.features.blocks import Blocks
from tidegate.models.interface import (
    Algorithm,
    Choice,
    Evaluation,
    FloatRange,
    IntRange,
    Labels,
    Resources,
    Scores,
    Setting,
    Weights,
)
from tidegate.models.quality import average_precision
from tidegate.records import CurvePoint, Params

MAX_ROUNDS = 400
EARLY_STOPPING_ROUNDS = 30
#: Sparse text columns hold few distinct values; more bins cost time and gain nothing.
MAX_BINS = 32
REPORT_EVERY_ROUNDS = 10

# Hyperparameters that are ours, not the library's.
_OURS = frozenset({"columns", "features"})
_MODEL, _COLUMNS = "model.ubj", "columns.npz"

Columns = npt.NDArray[np.int64]


class BoostedModel:
    """XGBoost's histogram trees over a fixed choice of columns.

    Parameters
    ----------
    params : mapping
        A point of `XGBOOST`'s search space.
    setting : Setting
        Seed of the row and column sampling; threads of training.
    """

    def __init__(self, params: Params, setting: Setting) -> None:
        self._params = params
        self._seed = setting.seed
        self._threads = setting.threads
        self._features = str(params["features"])
        self._columns: Columns = np.empty(0, dtype=np.int64)
        self._booster: Any = None

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "BoostedModel":
        """Learn from rows of positive weight; stop early on the validation log-loss."""
        import xgboost

        used = sample_weight > 0
        if not used.all():
            X, y, sample_weight = X.take(used), y[used], sample_weight[used]
        matrix = X.csr(self._features)
        self._columns = select_columns(matrix, y, sample_weight, int(self._params["columns"]))
        train = xgboost.DMatrix(self._chosen(X), y, weight=sample_weight, nthread=self._threads)
        if evaluation is None:
            self._booster = xgboost.train(self._settings(), train, MAX_ROUNDS)
            return self
        validation = xgboost.DMatrix(
            self._chosen(evaluation.X),
            evaluation.y,
            weight=evaluation.weight,
            nthread=self._threads,
        )
        booster = xgboost.train(
            self._settings(),
            train,
            MAX_ROUNDS,
            evals=[(train, "train"), (validation, "validation")],
            early_stopping_rounds=EARLY_STOPPING_ROUNDS,
            verbose_eval=False,
            callbacks=[_reporter(evaluation, validation)],
        )
        self._booster = booster[: booster.best_iteration + 1]
        return self

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, 2); column 1 is violating."""
        violating = np.asarray(self._booster.inplace_predict(self._chosen(X)), dtype=np.float64)
        return np.column_stack([1 - violating, violating])

    def save(self, folder: Path) -> None:
        """Write the trees as UBJSON, the chosen families and columns as npz."""
        self._booster.save_model(folder / _MODEL)
        np.savez(folder / _COLUMNS, columns=self._columns, features=self._features)

    @classmethod
    def load(cls, folder: Path) -> "BoostedModel":
        """Read what `save` wrote; it scores with one thread."""
        import xgboost

        with np.load(folder / _COLUMNS, allow_pickle=False) as arrays:
            model = cls(params={"features": str(arrays["features"])}, setting=Setting())
            model._columns = arrays["columns"]
        model._booster = xgboost.Booster({"nthread": 1}, model_file=folder / _MODEL)
        return model

    def _chosen(self, X: Blocks) -> Any:
        # XGBoost takes an absent entry for missing and a stored zero for a value; a zero must
        # mean the same however the row came to be.
        chosen = X.csr(self._features)[:, self._columns]
        chosen.eliminate_zeros()
        return chosen

    def _settings(self) -> dict[str, Any]:
        chosen_by_search = {k: v for k, v in self._params.items() if k not in _OURS}
        return {
            **chosen_by_search,
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "max_bin": MAX_BINS,
            "seed": self._seed,
            "nthread": self._threads,
            "verbosity": 0,
        }


def select_columns(X: Any, y: Labels, weight: Weights, count: int) -> Columns:
    """Return the sorted indices of the columns most correlated with the label.

    The square of the weighted correlation ranks like the ANOVA F statistic and, on 0/1 columns,
    like chi-square; unlike the latter it allows negative values. Columns that most rows fill
    (numeric ones) are kept beyond `count`: a tree can use them without a linear relation.

    Parameters
    ----------
    X : CSR matrix, shape (rows, features)
    y, weight : ndarray, shape (rows,)
        Weights are positive.
    count : int
        How many columns to choose by correlation.
    """
    share = weight / weight.sum()
    violating = float(share @ y)
    mean = X.T @ share
    squares = X.astype(np.float64)
    squares.data **= 2
    variance = squares.T @ share - mean**2
    covariance = X.T @ (share * y) - mean * violating
    scale = np.sqrt(np.maximum(variance, 0))
    varies = scale > 1e-7 * (np.abs(mean) + 1)
    strength = np.divide(np.abs(covariance), scale, out=np.full(X.shape[1], -1.0), where=varies)
    strongest = np.argsort(-strength, kind="stable")[:count]
    chosen = X.astype(bool).T @ share > 0.5
    chosen[strongest] = True
    chosen &= varies
    chosen[0] |= not chosen.any()
    return np.flatnonzero(chosen).astype(np.int64)


def _reporter(evaluation: Evaluation, validation: Any) -> Any:
    import xgboost

    class Reporter(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            # The training set's margins are cached, so a prediction here costs no pass over trees.
            if epoch % REPORT_EVERY_ROUNDS == 0:
                score = np.asarray(model.predict(validation), dtype=np.float64)
                evaluation.report(
                    CurvePoint(
                        step=epoch + 1,
                        train_log_loss=evals_log["train"]["logloss"][-1],
                        validation_log_loss=evals_log["validation"]["logloss"][-1],
                        validation_average_precision=average_precision(
                            evaluation.y, score, evaluation.weight
                        ),
                    )
                )
            return False

    return Reporter()


XGBOOST = Algorithm(
    name="xgboost",
    build=BoostedModel,
    load=BoostedModel.load,
    search_space={
        "features": Choice(("words+chars", "words", "chars")),
        "columns": IntRange(500, 4000, log=True),
        "eta": FloatRange(0.05, 0.3, log=True),
        "max_depth": IntRange(3, 9),
        "min_child_weight": FloatRange(0.5, 10.0, log=True),
        "subsample": FloatRange(0.6, 1.0),
        "colsample_bytree": FloatRange(0.2, 1.0),
        "lambda": FloatRange(0.1, 10.0, log=True),
    },
    defaults={
        "features": "words+chars",
        "columns": 2000,
        "eta": 0.1,
        "max_depth": 6,
        "min_child_weight": 1.0,
        "subsample": 1.0,
        "colsample_bytree": 0.5,
        "lambda": 1.0,
    },
    resources=Resources(cpu=2, memory_gib=4.0),
    preload=("xgboost", "sklearn.metrics"),
)
