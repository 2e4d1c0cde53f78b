"""Gradient-boosted trees (XGBoost) on the columns that tell the classes apart best.

Text features come as some 100,000 sparse columns, most of which no tree would use; choosing a
few thousand beforehand makes a trial ten times cheaper and loses little average precision.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.features.blocks import Blocks
from tidegate.features.sparse_rows import picked
from tidegate.models.interface import (
    Algorithm,
    Evaluation,
    FloatRange,
    IntRange,
    Labels,
    Resources,
    Scores,
    Setting,
    Weights,
)
from tidegate.models.quality import curve_point
from tidegate.models.selection import FAMILIES, Columns, counted_rows, select_columns
from tidegate.models.target import indicators_of
from tidegate.records import Params, Target

MAX_ROUNDS = 400
EARLY_STOPPING_ROUNDS = 30
#: Sparse text columns hold few distinct values; more bins cost time and gain nothing.
MAX_BINS = 32
REPORT_EVERY_ROUNDS = 10

# Hyperparameters that are ours, not the library's.
_OURS = frozenset({"columns", "features"})
_MODEL, _COLUMNS = "model.ubj", "columns.npz"
# What NVIDIA's driver shows where a GPU is usable.
_DRIVER = Path("/proc/driver/nvidia/version")


class BoostedModel:
    """XGBoost's histogram trees over a fixed choice of columns.

    Parameters
    ----------
    params : mapping
        A point of `XGBOOST`'s search space.
    setting : Setting
        Seed of the row and column sampling; threads of training; what the labels mean.
    """

    def __init__(self, params: Params, setting: Setting) -> None:
        self._params = params
        self._seed = setting.seed
        self._threads = setting.threads
        self._target = setting.target
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

        X, y, sample_weight = counted_rows(X, y, sample_weight)
        matrix = X.csr(self._features)
        asked = indicators_of(self._target, y)
        self._columns = select_columns(matrix, asked, sample_weight, int(self._params["columns"]))
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
            callbacks=[_reporter(self._target, evaluation, validation)],
        )
        self._booster = booster[: booster.best_iteration + 1]
        return self

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, outputs); of two classes, column 1 is violating."""
        return _outputs(self._target, self._booster.inplace_predict(self._chosen(X)))

    @property
    def features(self) -> str:
        """Return the families of feature blocks that it learned from."""
        return self._features

    def contributions(self, X: Blocks) -> Any:
        """Return what each feature adds to the log-odds of two classes, CSR (rows, features).

        A feature that a row lacks adds something too: its absence.
        """
        import xgboost
        from scipy import sparse

        added = self._booster.predict(
            xgboost.DMatrix(self._chosen(X), nthread=self._threads), pred_contribs=True
        )
        found = sparse.coo_matrix(added[:, :-1])
        width = X.csr(self._features).shape[1]
        return sparse.csr_matrix(
            (found.data, (found.row, self._columns[found.col])), shape=(X.rows, width)
        )

    def save(self, folder: Path) -> None:
        """Write the trees as UBJSON, the chosen families and columns as npz."""
        self._booster.save_model(folder / _MODEL)
        np.savez(
            folder / _COLUMNS,
            columns=self._columns,
            features=self._features,
            target=self._target.model_dump_json(),
        )

    @classmethod
    def load(cls, folder: Path) -> "BoostedModel":
        """Read what `save` wrote; it scores with one thread."""
        import xgboost

        with np.load(folder / _COLUMNS, allow_pickle=False) as arrays:
            target = Target.model_validate_json(str(arrays["target"]))
            model = cls({"features": str(arrays["features"])}, Setting(target=target))
            model._columns = arrays["columns"]
        model._booster = xgboost.Booster({"nthread": 1}, model_file=folder / _MODEL)
        return model

    def _chosen(self, X: Blocks) -> Any:
        # XGBoost takes an absent entry for missing and a stored zero for a value; a zero must
        # mean the same however the row came to be.
        return picked(X.csr(self._features), self._columns)

    def _settings(self) -> dict[str, Any]:
        chosen_by_search = {k: v for k, v in self._params.items() if k not in _OURS}
        return {
            **chosen_by_search,
            **_objective(self._target),
            "device": _device(),
            "tree_method": "hist",
            "max_bin": MAX_BINS,
            "seed": self._seed,
            "nthread": self._threads,
            "verbosity": 0,
        }


def _objective(target: Target) -> dict[str, Any]:
    if target.kind == "multiclass":
        classes = len(target.outputs)
        return {"objective": "multi:softprob", "num_class": classes, "eval_metric": "mlogloss"}
    # Several tasks are a label matrix: the same objective, a tree a task each round.
    return {"objective": "binary:logistic", "eval_metric": "logloss"}


def _outputs(target: Target, predicted: Any) -> Scores:
    outputs = np.asarray(predicted, dtype=np.float64)
    if target.kind == "binary":
        return np.column_stack([1 - outputs, outputs])
    if target.kind == "multiclass":
        # The library's float32 sums to one within 1e-7 only.
        outputs /= outputs.sum(axis=1, keepdims=True)
    return outputs


def _device() -> str:
    """Return where trees grow: on a GPU if this build can use one and the driver shows one."""
    import xgboost

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    return "cuda" if xgboost.build_info()["USE_CUDA"] and _DRIVER.exists() and not hidden else "cpu"


def _reporter(target: Target, evaluation: Evaluation, validation: Any) -> Any:
    import xgboost

    class Reporter(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            # The training set's margins are cached, so a prediction here costs no pass over trees.
            if epoch % REPORT_EVERY_ROUNDS == 0:
                (train_losses,) = evals_log["train"].values()
                outputs = _outputs(target, model.predict(validation))
                evaluation.report(
                    curve_point(epoch + 1, train_losses[-1], target, evaluation, outputs)
                )
            return False

    return Reporter()


XGBOOST = Algorithm(
    name="xgboost",
    build=BoostedModel,
    load=BoostedModel.load,
    search_space={
        "features": FAMILIES,
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
    relative_cost=4.0,
)
