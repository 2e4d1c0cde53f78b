"""A fine-tuned encoder as an ONNX graph: written without torch's exporter, scored without torch.

The graph has one node pattern a layer and standard operators only, so it reads the same in every
runtime, and dynamic quantization finds its matrix products.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.models.encoder_shape import EncoderShape

#: The first with Gelu as an operator; fixed, so that a graph does not change with the library.
OPSET, IR_VERSION = 20, 10
#: Added to the attention logits of padding.
_AWAY = -1e9
_ACTIVATIONS: Mapping[str, tuple[str, dict[str, str]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
}

Arrays = Mapping[str, npt.NDArray[np.float32]]


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def add(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Append a node and return the name of its first output; the others count up from it."""
        from onnx import helper

        name = f"{kind}_{len(self.nodes)}"
        names = [name, *(f"{name}_{place}" for place in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants[name] = value
        return name

    def numbers(self, *values: int) -> str:
        name = "numbers_" + "_".join(str(value) for value in values)
        return self.constant(name, np.array(values, dtype=np.int64))

    def linear(self, x: str, weights: Arrays, place: str) -> str:
        weight = self.constant(f"{place}.weight", weights[f"{place}.weight"].T.copy())
        product = self.add("MatMul", [x, weight])
        return self.add("Add", [product, self.constant(f"{place}.bias", weights[f"{place}.bias"])])

    def norm(self, x: str, weights: Arrays, place: str, epsilon: float) -> str:
        scale = self.constant(f"{place}.weight", weights[f"{place}.weight"])
        shift = self.constant(f"{place}.bias", weights[f"{place}.bias"])
        return self.add("LayerNormalization", [x, scale, shift], axis=-1, epsilon=epsilon)


def graph_of(shape: EncoderShape, weights: Arrays) -> bytes:
    """Return a serialized graph from ``ids``, ``segments`` and ``present`` to ``logits``.

    Its inputs have shape (rows, tokens), both free; its output (rows, logits).

    Parameters
    ----------
    weights : mapping
        By the names of `tidegate.models.torch_encoder.Encoder`.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = _Graph()
    hidden = _embedded(graph, shape, weights)
    away = _masked_logits(graph)
    for number in range(shape.layers):
        hidden = _layer(graph, shape, weights, f"layers.{number}.", hidden, away)
    logits = graph.linear(_mean_vector(graph, hidden), weights, "head")
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
    free = ("rows", "tokens")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "encoder",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, free),
                helper.make_tensor_value_info("segments", TensorProto.INT64, free),
                helper.make_tensor_value_info("present", TensorProto.BOOL, free),
            ],
            [
                helper.make_tensor_value_info(
                    "logits", TensorProto.FLOAT, ("rows", len(weights["head.bias"]))
                )
            ],
            [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tidegate",
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _embedded(graph: _Graph, shape: EncoderShape, weights: Arrays) -> str:
    def table(name: str, first: int = 0) -> str:
        place = f"embeddings.{name}.weight"
        return graph.constant(place, weights[place][first:])

    words = graph.add("Gather", [table("word_embeddings"), "ids"])
    segments = graph.add("Gather", [table("token_type_embeddings"), "segments"])
    length = graph.add("Shape", ["ids"], start=1, end=2)
    places = graph.add(
        "Slice",
        [
            table("position_embeddings", shape.first_position),
            graph.numbers(0),
            length,
            graph.numbers(0),
        ],
    )
    total = graph.add("Add", [graph.add("Add", [words, segments]), places])
    return graph.norm(total, weights, "embeddings.LayerNorm", shape.epsilon)


def _masked_logits(graph: _Graph) -> str:
    zero = graph.constant("zero", np.zeros((), dtype=np.float32))
    away = graph.constant("away", np.array(_AWAY, dtype=np.float32))
    chosen = graph.add("Where", ["present", zero, away])
    return graph.add("Unsqueeze", [chosen, graph.numbers(1, 2)])


def _layer(
    graph: _Graph, shape: EncoderShape, weights: Arrays, at: str, hidden: str, away: str
) -> str:
    three = graph.linear(hidden, weights, f"{at}attention")
    split = graph.add("Split", [three], outputs=3, axis=-1, num_outputs=3)
    heads = graph.numbers(0, 0, shape.heads, shape.width // shape.heads)

    def by_head(name: str, order: Sequence[int]) -> str:
        return graph.add("Transpose", [graph.add("Reshape", [name, heads])], perm=list(order))

    query = by_head(split, (0, 2, 1, 3))
    key = by_head(f"{split}_1", (0, 2, 3, 1))
    value = by_head(f"{split}_2", (0, 2, 1, 3))
    scale = np.array((shape.width // shape.heads) ** -0.5, dtype=np.float32)
    likeness = graph.add("Mul", [graph.add("MatMul", [query, key]), graph.constant("scale", scale)])
    share = graph.add("Softmax", [graph.add("Add", [likeness, away])], axis=-1)
    mixed = graph.add("Transpose", [graph.add("MatMul", [share, value])], perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", [mixed, graph.numbers(0, 0, shape.width)])
    attended = graph.add("Add", [hidden, graph.linear(mixed, weights, f"{at}attended")])
    hidden = graph.norm(attended, weights, f"{at}attended_norm", shape.epsilon)
    kind, options = _ACTIVATIONS[shape.activation]
    inner = graph.add(kind, [graph.linear(hidden, weights, f"{at}inner")], 1, **options)
    outer = graph.add("Add", [hidden, graph.linear(inner, weights, f"{at}outer")])
    return graph.norm(outer, weights, f"{at}outer_norm", shape.epsilon)


def _mean_vector(graph: _Graph, hidden: str) -> str:
    present = graph.add("Cast", ["present"], to=1)
    share = graph.add("Unsqueeze", [present, graph.numbers(2)])
    total = graph.add(
        "ReduceSum", [graph.add("Mul", [hidden, share]), graph.numbers(1)], keepdims=0
    )
    count = graph.add("ReduceSum", [share, graph.numbers(1)], keepdims=0)
    return graph.add("Div", [total, count])


def scoring_session(graph: Path | bytes, threads: int = 1) -> Any:
    """Return ONNX Runtime's session of a graph, from its file or its bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def quantized(graph: bytes) -> bytes:
    """Return a graph with int8 weights; activations are quantized as they come.

    Weights are 8-bit an output, one bit of it unused, so that no processor's instructions
    saturate and every machine gives the same score.

    Scales of activations span a batch, so a row's score depends a little on those beside it:
    whoever wants it to be the row's own scores one row at a time.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        model = onnx.load_model_from_string(graph)
        kinds = ["MatMul"]
        quantize_dynamic(
            model,
            target,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=kinds,
        )
        return target.read_bytes()
