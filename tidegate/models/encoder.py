"""A pre-trained text encoder, fine-tuned: all of it, its upper layers, LoRA, or only a head."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tidegate import store
from tidegate.errors import BadInput
from tidegate.features.blocks import Blocks
from tidegate.features.encoders import Encoder as Pretrained
from tidegate.features.encoders import read_encoder
from tidegate.models.encoder_shape import default_encoder, shape_of
from tidegate.models.interface import (
    RESERVED_SHARE,
    Algorithm,
    Choice,
    Evaluation,
    FloatRange,
    IntRange,
    Labels,
    NotEnoughTime,
    Resources,
    Scores,
    Setting,
    Weights,
)
from tidegate.models.outputs import fitted_temperature, logit_count, merged, probabilities
from tidegate.models.quality import curve_point, measured
from tidegate.models.tokens import Tokens, batches_by_length, tokenized, tokenizer_of
from tidegate.records import CurvePoint, Params, Quantization, Target

if TYPE_CHECKING:
    from tidegate.models.torch_encoder import Encoder, Pace

#: Most tokens of a text; fewer where 99 of 100 training texts are shorter.
MOST_TOKENS = 128
LOW_RANK = 8
HEAD_RATE = 1e-3
#: A layer learns this much slower than the one above it (Sun et al., 2019).
LAYER_DECAY = 0.9
#: Hidden states of the frozen layers are kept when they take no more than this, as float16.
CACHE_BYTES = 3 * 2**30

#: Fewer passes over the rows than this leave the head where it started.
LEAST_EPOCHS = 0.5
_GRAPH, _TOKENIZER, _ABOUT = "model.onnx", "tokenizer.json", "encoder.json"
_HEAD_EPOCHS = 8
#: What writing the graph and measuring its latency take, beside scoring.
_WRITING_SECONDS = 4.0
#: What int8 weights add to that: made, measured on validation, row by row.
_INT8_TIMES = 2.0
Floats = npt.NDArray[np.float32]


class EncoderModel:
    """An encoder and a head over its mean-pooled vector.

    Parameters
    ----------
    params : mapping
        A point of `ENCODER`'s search space.
    setting : Setting
        Its `encoder` names the folder to start from; `seconds` bounds the learning.
    """

    def __init__(self, params: Params, setting: Setting) -> None:
        self._params = params
        self._setting = setting
        self._target = setting.target
        self._longest = MOST_TOKENS
        self._temperature = 1.0
        self._tokenizer: Any = None
        self._tokenizer_json = ""
        self._encoder: Encoder | None = None
        self._session: Any = None
        self._graph = b""
        self._is_int8 = False
        self._loaded_from = Path()
        #: What int8 weights cost; None where they were not tried.
        self.quantization: Quantization | None = None

    def fit(
        self,
        X: Blocks,
        y: Labels,
        sample_weight: Weights,
        evaluation: Evaluation | None = None,
    ) -> "EncoderModel":
        """Learn from rows of positive weight; equal texts of one label count as one, heavier.

        With `evaluation`, keep the weights of the lowest validation log-loss and the temperature
        that calibrates them.
        """
        from tidegate.models.torch_training import quiet_and_seeded

        started = time.monotonic()
        uri = self._setting.encoder or default_encoder()
        if uri is None:
            raise BadInput("search.encoder", "no encoder is named or installed", "name a folder")
        pretrained = read_encoder(uri)
        self._tokenizer_json = pretrained.tokenizer
        self._tokenizer = tokenizer_of(pretrained.tokenizer)
        used = sample_weight > 0
        texts = X.take(used).texts()
        tokens = tokenized(self._tokenizer, texts, min(MOST_TOKENS, pretrained.max_tokens))
        self._longest = int(np.ceil(np.percentile(tokens.lengths, 99)))
        if tokens.lengths.max() > self._longest:
            tokens = tokenized(self._tokenizer, texts, self._longest)
        with quiet_and_seeded(self._setting):
            self._learn(pretrained, tokens, y[used], sample_weight[used], evaluation, started)
        return self

    def _learn(
        self,
        pretrained: Pretrained,
        tokens: Tokens,
        y: Labels,
        weight: Weights,
        evaluation: Evaluation | None,
        started: float,
    ) -> None:
        from tidegate.models.onnx_encoder import graph_of, scoring_session
        from tidegate.models.torch_encoder import (
            Encoder,
            Inputs,
            as_arrays,
            measured_pace,
            parameter_groups,
            read_weights,
        )
        from tidegate.models.torch_training import Course, Data, as_labels, as_shares, learn, on_gpu

        keys = [tokens.row(row) + y[row].tobytes() for row in range(len(y))]
        rows, weight = merged(keys, weight)
        y = y[rows]
        shape = shape_of(pretrained)
        mode = str(self._params["mode"])
        trained = {"frozen": 0, "top": int(self._params["layers"])}.get(mode, shape.layers)
        encoder = Encoder(
            shape,
            logit_count(self._target),
            float(self._params["dropout"]),
            first=max(0, shape.layers - trained),
            rounded=self._setting.quantize is not None and self._setting.quantize.while_learning,
        )
        read_weights(encoder, pretrained)
        encoder.start_head_at(self._target, y, weight)
        if mode == "lora":
            encoder.add_low_rank(LOW_RANK)
        encoder.to("cuda" if on_gpu(self._setting) else "cpu")
        report_seconds = final_seconds = 0.0
        if self._setting.seconds is not None:
            pace = measured_pace(encoder, tokens, int(self._params["batch"]))
            report_seconds, final_seconds = self._planned(
                pace, len(rows), 0 if evaluation is None else evaluation.X.rows, started
            )
        inputs = Inputs(encoder, tokens, CACHE_BYTES)
        labels = as_labels(self._target, y)
        share = as_shares(weight)
        batch_rows, lengths = int(self._params["batch"]), tokens.lengths[rows]

        def schedule(epoch: int) -> list[npt.NDArray[np.int64]]:
            return batches_by_length(
                lengths, batch_rows, batch_rows * 64, (self._setting.seed, epoch)
            )

        def batch(chosen: npt.NDArray[np.int64]) -> Mapping[str, Any]:
            found = inputs.batch(rows[chosen])
            return {**found, "labels": labels[chosen], "weight": share[chosen]}

        evaluate, best = None, (np.inf, np.zeros(0))
        if evaluation is not None:
            asked = evaluation
            seen = tokenized(self._tokenizer, asked.X.texts(), self._longest)
            held_out = Inputs(encoder, seen, CACHE_BYTES)

            def evaluate(step: int, train_loss: float) -> CurvePoint:
                nonlocal best
                logits = held_out.logits()
                outputs = probabilities(self._target, logits)
                point = curve_point(step, train_loss, self._target, asked, outputs)
                asked.report(point)
                best = min(best, (point.validation_log_loss, logits), key=lambda found: found[0])
                return point

        epochs = int(self._params["epochs"]) * (_HEAD_EPOCHS if mode == "frozen" else 1)
        learn(
            encoder,
            parameter_groups(encoder, mode, float(self._params["lr"]), HEAD_RATE, LAYER_DECAY),
            Data(schedule, batch),
            self._setting,
            Course(
                epochs,
                started,
                reports_per_epoch=1 if mode == "frozen" else 2,
                report_seconds=report_seconds,
                final_seconds=final_seconds,
            ),
            evaluate,
        )
        encoder.merge_low_rank()
        self._encoder = encoder
        self._graph = graph_of(encoder.shape, as_arrays(encoder))
        if evaluation is not None:
            logits = self._with_int8(best[1], seen, evaluation)
            self._temperature = fitted_temperature(self._target, logits, evaluation)
        self._session = scoring_session(self._graph, self._setting.threads)

    def _with_int8(self, logits: Scores, tokens: Tokens, evaluation: Evaluation) -> Scores:
        """Take int8 weights if they lose little; return the logits of what serves.

        `logits` and `tokens` are of the evaluation's rows.
        """
        from tidegate.models.onnx_encoder import quantized, scoring_session

        if self._setting.quantize is None:
            return logits
        threads, most = self._setting.threads, self._setting.quantize.max_loss
        if self._setting.quantize.while_learning:
            # What was seen while learning is rounded; the graph as it is may still serve.
            logits = self._logits(scoring_session(self._graph, threads), tokens, one_by_one=False)
        graph = quantized(self._graph)
        rough = self._logits(scoring_session(graph, threads), tokens, one_by_one=True)
        reached = [
            measured(
                self._target,
                evaluation.y,
                probabilities(self._target, found),
                evaluation.weight,
            )[0]
            for found in (logits, rough)
        ]
        lost = reached[0] - reached[1]
        self.quantization = Quantization(
            kept=lost <= most,
            average_precision_lost=lost,
            max_loss=most,
            float_bytes=len(self._graph),
            int8_bytes=len(graph),
        )
        if lost > most:
            return logits
        self._graph, self._is_int8 = graph, True
        return rough

    def _logits(self, session: Any, tokens: Tokens, *, one_by_one: bool) -> Scores:
        """Return logits; activations of int8 are scaled over a batch, so each row is its own."""
        logits = np.zeros((len(tokens.lengths), logit_count(self._target)))
        for rows in tokens.by_length(1) if one_by_one else tokens.by_length():
            ids, segments, present = tokens.padded(rows, 0)
            inputs = {"ids": ids, "segments": segments, "present": present}
            logits[rows] = session.run(None, inputs)[0]
        return logits

    def _planned(
        self, pace: "Pace", rows: int, validation_rows: int, started: float
    ) -> tuple[float, float]:
        """Return the seconds of a report and of what follows the learning.

        Raises
        ------
        NotEnoughTime
            If the trial's seconds leave less than `LEAST_EPOCHS` passes.
        """
        report_seconds = pace.upper * validation_rows
        # Afterwards the whole graph scores validation once more, not the trained layers alone.
        final_seconds = (pace.lower + pace.upper) * validation_rows + _WRITING_SECONDS
        if self._setting.quantize is not None:
            final_seconds *= 1 + _INT8_TIMES
        spent = time.monotonic() - started + pace.lower * (rows + validation_rows)
        left = (1 - RESERVED_SHARE) * (self._setting.seconds or 0.0)
        left -= spent + report_seconds + final_seconds
        epoch_seconds = pace.learning * rows
        if left < LEAST_EPOCHS * epoch_seconds:
            raise NotEnoughTime(
                f"a pass over the rows takes {epoch_seconds:.0f} s, and "
                f"{max(0.0, left):.0f} s are left for learning"
            )
        return report_seconds, final_seconds

    def predict_proba(self, X: Blocks) -> Scores:
        """Return probabilities of shape (rows, outputs); a fitted model scores as a saved one."""
        tokens = tokenized(self._tokenizer, X.texts(), self._longest)
        logits = self._logits(self._session, tokens, one_by_one=self._is_int8)
        return probabilities(self._target, logits, self._temperature)

    def save(self, folder: Path) -> None:
        """Write the ONNX graph, the tokenizer, and what turns logits into probabilities."""
        if not self._graph:
            shutil.copytree(self._loaded_from, folder, dirs_exist_ok=True)
            return
        (folder / _GRAPH).write_bytes(self._graph)
        store.write_text(folder / _TOKENIZER, self._tokenizer_json)
        about = {
            "target": self._target.model_dump(mode="json"),
            "longest": self._longest,
            "temperature": self._temperature,
            "int8": self._is_int8,
        }
        store.write_json(folder / _ABOUT, about)

    @classmethod
    def load(cls, folder: Path) -> "EncoderModel":
        """Read what `save` wrote; it scores with one thread and without torch."""
        from tidegate.models.onnx_encoder import scoring_session

        about = store.read_json(folder / _ABOUT)
        model = cls({}, Setting(target=Target.model_validate(about["target"])))
        model._longest = about["longest"]
        model._temperature = about["temperature"]
        model._is_int8 = about.get("int8", False)
        model._tokenizer_json = (folder / _TOKENIZER).read_text(encoding="utf-8")
        model._tokenizer = tokenizer_of(model._tokenizer_json)
        model._session = scoring_session(folder / _GRAPH)
        model._loaded_from = folder
        return model


ENCODER = Algorithm(
    name="encoder",
    build=EncoderModel,
    load=EncoderModel.load,
    search_space={
        "mode": Choice(("top", "whole", "lora", "frozen")),
        "layers": IntRange(1, 6),
        "lr": FloatRange(2e-5, 1e-3, log=True),
        "epochs": IntRange(1, 12),
        "batch": Choice((16, 32)),
        "dropout": FloatRange(0.0, 0.3),
    },
    defaults={
        "mode": "top",
        "layers": 3,
        "lr": 2e-4,
        "epochs": 6,
        "batch": 32,
        "dropout": 0.1,
    },
    resources=Resources(cpu=2, memory_gib=6.0),
    modalities=frozenset({"text"}),
    plans_by_seconds=True,
    preload=("tidegate.models.torch_encoder", "tidegate.models.torch_training", "sklearn.metrics"),
    relative_cost=200.0,
)
