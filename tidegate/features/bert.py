"""A BERT-like encoder as an ONNX graph of int8 weights, mean-pooled."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.features.encoders import Encoder

_OPSET, _IR = 20, 9


def onnx_bytes(encoder: Encoder) -> bytes:
    """Return the graph ``ids (1, tokens), positions (tokens,) -> embedding (1, hidden)``.

    Weights of matrices are 8-bit a column, one bit of it unused, so that no processor's
    instructions saturate and every machine gives the same numbers; inputs are quantised as they
    come. Needs `onnx`, running the graph needs `onnxruntime` alone.
    """
    import logging

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().addFilter(_no_advice)
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
            onnx.save(_Graph(encoder).model(), whole)
            quantize_dynamic(
                whole,
                small,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
            return small.read_bytes()
    finally:
        logging.getLogger().removeFilter(_no_advice)


def _no_advice(record: Any) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


class _Graph:
    """The graph under construction: every method adds nodes and returns an output's name."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self) -> Any:
        from onnx import TensorProto, checker, helper

        hidden = int(self._encoder.config["hidden_size"])
        pooled = self._op("ReduceMean", self._hidden_states(), self._constant([1]), keepdims=0)
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"]),
                helper.make_tensor_value_info("positions", TensorProto.INT64, ["tokens"]),
            ],
            [helper.make_tensor_value_info(pooled, TensorProto.FLOAT, ["texts", hidden])],
            self._constants,
        )
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR)
        checker.check_model(model)
        return model

    def _hidden_states(self) -> str:
        config, weights = self._encoder.config, self._encoder.weights
        words = self._constant(weights["embeddings.word_embeddings.weight"])
        # One segment: its embedding is the same for every token.
        places = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._op(
            "Add",
            self._op("Gather", words, "ids"),
            self._op("Gather", self._constant(places), "positions"),
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for number in range(config["num_hidden_layers"]):
            x = self._layer(x, f"encoder.layer.{number}.")
        return x

    def _layer(self, x: str, name: str) -> str:
        config = self._encoder.config
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        size = hidden // heads
        split = self._constant([0, 0, heads, size])
        query, key, value = (
            self._op(
                "Transpose",
                self._op("Reshape", self._dense(x, f"{name}attention.self.{part}"), split),
                perm=order,
            )
            for part, order in (
                ("query", [0, 2, 1, 3]),
                ("key", [0, 2, 3, 1]),
                ("value", [0, 2, 1, 3]),
            )
        )
        scale = self._constant(np.float32(size**-0.5))
        scores = self._op("Mul", self._op("MatMul", query, key), scale)
        seen = self._op("MatMul", self._op("Softmax", scores, axis=-1), value)
        joined = self._op(
            "Reshape",
            self._op("Transpose", seen, perm=[0, 2, 1, 3]),
            self._constant([0, 0, hidden]),
        )
        attended = self._dense(joined, f"{name}attention.output.dense")
        x = self._norm(self._op("Add", x, attended), f"{name}attention.output.LayerNorm")
        inner = self._activation(self._dense(x, f"{name}intermediate.dense"))
        outer = self._dense(inner, f"{name}output.dense")
        return self._norm(self._op("Add", x, outer), f"{name}output.LayerNorm")

    def _activation(self, x: str) -> str:
        kind = self._encoder.config.get("hidden_act", "gelu")
        if kind == "relu":
            return self._op("Relu", x)
        return self._op("Gelu", x, approximate="tanh" if kind == "gelu_new" else "none")

    def _dense(self, x: str, name: str) -> str:
        weights = self._encoder.weights
        product = self._op("MatMul", x, self._constant(weights[f"{name}.weight"].T))
        return self._op("Add", product, self._constant(weights[f"{name}.bias"]))

    def _norm(self, x: str, name: str) -> str:
        weights = self._encoder.weights
        return self._op(
            "LayerNormalization",
            x,
            self._constant(weights[f"{name}.weight"]),
            self._constant(weights[f"{name}.bias"]),
            axis=-1,
            epsilon=float(self._encoder.config.get("layer_norm_eps", 1e-12)),
        )

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, value: npt.ArrayLike) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        array = np.asarray(value)
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name
