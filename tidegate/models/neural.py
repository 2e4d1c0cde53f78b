"""An embedding-bag net over terms and dense features: trained by Lightning, scored in numpy.

After fastText (Joulin et al., 2017), with the terms' own TF-IDF weights, a layer norm and a hidden
layer, so that embeddings and typed columns can be learned beside the words.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tidegate import store
from tidegate.features.blocks import Blocks, chosen_blocks
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
from tidegate.models.outputs import fitted_temperature, logit_count, merged, probabilities
from tidegate.models.quality import curve_point
from tidegate.records import CurvePoint, Params, Target

#: Families whose features are terms, each with a vector of its own; all others are dense.
TERMS = frozenset({"words", "chars", "inner"})
EPSILON = 1e-5
#: A dense feature counts as no more than this many of its standard deviations.
MOST_DEVIATIONS = 5.0

_WEIGHTS, _ABOUT = "weights.npz", "neural.json"

Floats = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]


class NeuralModel:
    """A net over the most frequent terms and every dense feature of the chosen families.

    Parameters
    ----------
    params : mapping
        A point of `NEURAL`'s search space.
    setting : Setting
    """

    def __init__(self, params: Params, setting: Setting) -> None:
        self._params = params
        self._setting = setting
        self._target = setting.target
        self._features = str(params["features"])
        self._temperature = 1.0
        self._weights: Arrays = {}

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "NeuralModel":
        """Learn from rows of positive weight; equal rows of one label count as one, heavier.

        With `evaluation`, keep the weights of the lowest validation log-loss and the temperature
        that calibrates them.
        """
        from tidegate.models.torch_training import quiet_and_seeded

        started = time.monotonic()
        used = sample_weight > 0
        terms, dense = split(X.take(used), self._features)
        rows, weight = merged(_row_keys(terms, dense, y[used]), sample_weight[used])
        terms, dense, y = terms[rows], dense[rows], y[used][rows]
        frequency = np.asarray((terms != 0).T @ weight)
        frequent = np.argsort(-frequency, kind="stable")[: int(self._params["terms"])]
        columns = np.sort(frequent[frequency[frequent] > 0]).astype(np.int64)
        mean = np.average(dense, axis=0, weights=weight)
        spread = np.sqrt(np.average((dense - mean) ** 2, axis=0, weights=weight))
        fixed: Arrays = {
            "columns": columns,
            "mean": mean,
            "spread": np.where(spread > EPSILON, spread, 1),
        }
        with quiet_and_seeded(self._setting):
            self._learn(fixed, terms, dense, y, weight, evaluation, started)
        return self

    def _learn(
        self,
        fixed: Arrays,
        terms: Any,
        dense: Floats,
        y: Labels,
        weight: Weights,
        evaluation: Evaluation | None,
        started: float,
    ) -> None:
        from tidegate.models.torch_bag import BagNet, as_arrays, batch_of, start_from
        from tidegate.models.torch_training import (
            Course,
            Data,
            as_labels,
            as_shares,
            learn,
            prior_logits,
        )

        terms, dense = terms[:, fixed["columns"]], scaled(dense, fixed)
        net = BagNet(
            terms=terms.shape[1],
            dense=dense.shape[1],
            width=int(self._params["width"]),
            hidden=int(self._params["hidden"]),
            outputs=logit_count(self._target),
            dropout=float(self._params["dropout"]),
            term_dropout=float(self._params["term_dropout"]),
        )
        net.head.bias.data.copy_(prior_logits(self._target, y, weight))
        before = self._state()
        if before and all(np.array_equal(before[name], value) for name, value in fixed.items()):
            start_from(net, before)
        labels, share = as_labels(self._target, y), as_shares(weight)
        size, seed = int(self._params["batch"]), self._setting.seed

        def schedule(epoch: int) -> list[npt.NDArray[np.int64]]:
            order = np.random.default_rng((seed, epoch)).permutation(len(y))
            return [order[start : start + size] for start in range(0, len(order), size)]

        def batch(rows: npt.NDArray[np.int64]) -> Mapping[str, Any]:
            inputs = batch_of(terms[rows], dense[rows])
            return {**inputs, "labels": labels[rows], "weight": share[rows]}

        evaluate = None
        if evaluation is not None:
            asked, held_out = evaluation, split(evaluation.X, self._features)

            def evaluate(step: int, train_loss: float) -> CurvePoint:
                found = forward({**fixed, **as_arrays(net)}, *held_out)
                outputs = probabilities(self._target, found)
                point = curve_point(step, train_loss, self._target, asked, outputs)
                asked.report(point)
                return point

        groups = [
            {
                "params": [*net.parameters()],
                "lr": float(self._params["lr"]),
                "weight_decay": float(self._params["weight_decay"]),
            }
        ]
        course = Course(int(self._params["epochs"]), started)
        learn(net, groups, Data(schedule, batch), self._setting, course, evaluate)
        self._weights = {**fixed, **as_arrays(net)}
        if self._setting.state is not None:
            np.savez(self._setting.state / _WEIGHTS, allow_pickle=False, **dict(self._weights))
        if evaluation is not None:
            self._temperature = fitted_temperature(
                self._target, forward(self._weights, *held_out), evaluation
            )

    def _state(self) -> Arrays:
        """Return the weights that a fit before this one left, if any; another's are left alone."""
        folder = self._setting.state
        if folder is None or not (folder / _WEIGHTS).exists():
            return {}
        with np.load(folder / _WEIGHTS, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, outputs of the target)."""
        logits = forward(self._weights, *split(X, self._features))
        return probabilities(self._target, logits, self._temperature)

    def save(self, folder: Path) -> None:
        """Write the weights and what turns logits into probabilities."""
        np.savez(folder / _WEIGHTS, allow_pickle=False, **dict(self._weights))
        about = {
            "target": self._target.model_dump(mode="json"),
            "features": self._features,
            "temperature": self._temperature,
        }
        store.write_json(folder / _ABOUT, about)

    @classmethod
    def load(cls, folder: Path) -> "NeuralModel":
        """Read what `save` wrote; it scores without torch."""
        about = store.read_json(folder / _ABOUT)
        target = Target.model_validate(about["target"])
        model = cls({"features": about["features"]}, Setting(target=target))
        model._temperature = about["temperature"]
        with np.load(folder / _WEIGHTS, allow_pickle=False) as arrays:
            model._weights = {name: arrays[name] for name in arrays.files}
        return model


def split(X: Blocks, families: str) -> tuple[Any, Floats]:
    """Return the chosen features as terms (CSR without stored zeros) and as dense ones."""
    terms: list[Any] = [sparse.csr_matrix((X.rows, 0), dtype=np.float32)]
    dense: list[Floats] = [np.zeros((X.rows, 0), dtype=np.float32)]
    for block in chosen_blocks(X.blocks, families):
        part = X.part(block)
        if block.family in TERMS:
            terms.append(sparse.csr_matrix(part))
        else:
            dense.append(part.toarray() if sparse.issparse(part) else np.asarray(part))
    joined = sparse.hstack(terms, format="csr", dtype=np.float32)
    joined.eliminate_zeros()
    joined.sort_indices()
    return joined, np.hstack(dense).astype(np.float32)


def scaled(dense: Floats, weights: Arrays) -> Floats:
    """Return dense features in standard deviations of the training rows, within bounds."""
    deviations = (dense - weights["mean"]) / weights["spread"]
    return np.clip(deviations, -MOST_DEVIATIONS, MOST_DEVIATIONS).astype(np.float32)


def forward(weights: Arrays, terms: Any, dense: Floats) -> npt.NDArray[np.float64]:
    """Return the net's logits of shape (rows, outputs), as torch would."""
    parts = [scaled(dense, weights).astype(np.float64)]
    wide: float | npt.NDArray[np.float64] = 0.0
    if "bag.weight" in weights:
        chosen = terms[:, weights["columns"]]
        wide = np.asarray(chosen @ weights["wide.weight"], dtype=np.float64)
        summed = np.asarray(chosen @ weights["bag.weight"], dtype=np.float64)
        centred = summed - summed.mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
        normed = centred / np.sqrt(variance + EPSILON)
        parts.append(normed * weights["norm.weight"] + weights["norm.bias"])
    hidden = np.hstack(parts) @ weights["hidden.weight"].T.astype(np.float64)
    hidden = np.maximum(hidden + weights["hidden.bias"], 0)
    logits = hidden @ weights["head.weight"].T.astype(np.float64) + weights["head.bias"]
    return np.asarray(logits + wide, dtype=np.float64)


def _row_keys(terms: Any, dense: Floats, y: Labels) -> list[bytes]:
    spans = zip(terms.indptr[:-1], terms.indptr[1:], strict=True)
    return [
        terms.indices[start:end].tobytes()
        + terms.data[start:end].tobytes()
        + dense[row].tobytes()
        + y[row].tobytes()
        for row, (start, end) in enumerate(spans)
    ]


NEURAL = Algorithm(
    name="neural",
    build=NeuralModel,
    load=NeuralModel.load,
    search_space={
        "features": Choice(
            ("words+chars", "words+inner", "words+chars+embedding", "words+inner+embedding")
        ),
        "terms": IntRange(5_000, 60_000, log=True),
        "width": Choice((32, 64, 128)),
        "hidden": Choice((32, 64, 128)),
        "dropout": FloatRange(0.0, 0.6),
        "term_dropout": FloatRange(0.0, 0.6),
        "lr": FloatRange(5e-4, 1e-2, log=True),
        "weight_decay": FloatRange(1e-3, 1.0, log=True),
        "epochs": IntRange(2, 20),
        "batch": Choice((64, 128, 256)),
    },
    defaults={
        "features": "words+chars+embedding",
        "terms": 30_000,
        "width": 64,
        "hidden": 64,
        "dropout": 0.4,
        "term_dropout": 0.3,
        "lr": 3e-3,
        "weight_decay": 0.1,
        "epochs": 12,
        "batch": 128,
    },
    resources=Resources(cpu=2, memory_gib=4.0),
    preload=("tidegate.models.torch_bag", "tidegate.models.torch_training", "sklearn.metrics"),
    relative_cost=20.0,
    resumable=True,
)
