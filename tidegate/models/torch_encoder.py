"""A BERT-like encoder and its classification head in torch, for training only.

Post-norm layers, learned positions and GELU (Devlin et al., 2019), one mean-pooled vector a text
and a linear head. Written out because training has to start at any layer, from hidden states that
were computed once, and because the same names become the ONNX graph that serves.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from tidegate.features.encoders import Encoder as Pretrained
from tidegate.models.encoder_shape import EncoderShape
from tidegate.models.interface import Labels, Weights
from tidegate.models.tokens import Tokens
from tidegate.models.torch_training import prior_logits
from tidegate.records import Target

Tensors = dict[str, npt.NDArray[np.float32]]

_PLACES = {
    "attention.output.dense": "attended",
    "attention.output.LayerNorm": "attended_norm",
    "intermediate.dense": "inner",
    "output.dense": "outer",
    "output.LayerNorm": "outer_norm",
}
_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}
_THREE = ("query", "key", "value")
_LEAST_STEP = 1e-12
_TIMED_PARTS, _TIMED_PASSES = 4, 3


class RoundedLinear(nn.Linear):  # type: ignore[misc]
    """A linear layer as int8 arithmetic computes it, which learns as if nothing were rounded.

    Weights are rounded to 7 bits an output, activations to 8 bits of the batch's range, as the
    graph of `tidegate.models.onnx_encoder.quantized` does. The gradient passes the rounding by.

    References
    ----------
    Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", CVPR 2018.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        with torch.autocast(x.device.type, enabled=False):
            x, seen = x.float(), x.detach().float()
            low, high = seen.min().clamp(max=0.0), seen.max().clamp(min=0.0)
            step = ((high - low) / 255).clamp(min=_LEAST_STEP)
            zero = (-low / step).round().to(torch.int32)
            inputs = torch.fake_quantize_per_tensor_affine(x, step, zero, 0, 255)
            steps = (self.weight.detach().abs().amax(1) / 64).clamp(min=_LEAST_STEP)
            nought = torch.zeros_like(steps, dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(self.weight, steps, nought, 0, -64, 64)
            return functional.linear(inputs, weight, self.bias)


class LowRank(nn.Module):  # type: ignore[misc]
    """A frozen linear layer and a trained update of low rank (LoRA; Hu et al., 2022)."""

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, frozen.in_features) / rank)
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output with the update, which is scaled by 2."""
        return self.frozen(x) + 2 * functional.linear(functional.linear(x, self.down), self.up)

    def merged(self) -> nn.Linear:
        """Return one linear layer that does the same."""
        with torch.no_grad():
            self.frozen.weight += 2 * self.up @ self.down
        return self.frozen


class Layer(nn.Module):  # type: ignore[misc]
    """Self-attention and a feed-forward net, each with its residual and norm."""

    def __init__(
        self, shape: EncoderShape, dropout: float, linear: type[nn.Linear] = nn.Linear
    ) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention: nn.Module = linear(shape.width, 3 * shape.width)
        self.attended = linear(shape.width, shape.width)
        self.attended_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.inner = linear(shape.width, shape.inner_width)
        self.outer = linear(shape.inner_width, shape.width)
        self.outer_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.drop = nn.Dropout(dropout)
        self.activation = _ACTIVATIONS[shape.activation]

    def forward(self, hidden: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return new hidden states of shape (rows, tokens, width)."""
        rows, tokens, width = hidden.shape
        three = self.attention(hidden).view(rows, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            three[0], three[1], three[2], attn_mask=present[:, None, None, :]
        )
        mixed = self.attended(mixed.transpose(1, 2).reshape(rows, tokens, width))
        hidden = self.attended_norm(hidden + self.drop(mixed))
        return self.outer_norm(hidden + self.drop(self.outer(self.activation(self.inner(hidden)))))


class Embeddings(nn.Module):  # type: ignore[misc]
    """Token, position and segment vectors, summed and normed; they are never trained.

    AdamW would step through all 30,000 rows at every batch, for words that fine-tuning sees a
    few times; on a CPU that costs as much as the layers do.
    """

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.position_embeddings = nn.Embedding(shape.positions, shape.width)
        self.token_type_embeddings = nn.Embedding(shape.types, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.first_position = shape.first_position
        self.requires_grad_(False)

    def forward(self, tokens: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """Return vectors of shape (rows, tokens, width)."""
        places = torch.arange(tokens.shape[1], device=tokens.device) + self.first_position
        return self.LayerNorm(
            self.word_embeddings(tokens)
            + self.position_embeddings(places)
            + self.token_type_embeddings(segments)
        )


class Encoder(nn.Module):  # type: ignore[misc]
    """An encoder whose layers from `first` on are trained, and its head.

    Parameters
    ----------
    shape : EncoderShape
    outputs : int
        Logits a row.
    dropout : float
        In the trained layers and before the head.
    first : int
        The first layer that is trained; those below are frozen.
    rounded : bool
        Whether every product is computed as int8 weights would.
    """

    def __init__(
        self,
        shape: EncoderShape,
        outputs: int,
        dropout: float,
        first: int,
        *,
        rounded: bool = False,
    ) -> None:
        super().__init__()
        linear = RoundedLinear if rounded else nn.Linear
        self.shape, self.first = shape, first
        self.embeddings = Embeddings(shape)
        self.layers = nn.ModuleList(
            Layer(shape, dropout if number >= first else 0.0, linear)
            for number in range(shape.layers)
        )
        self.drop = nn.Dropout(dropout)
        self.head = linear(shape.width, outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        for layer in self.layers[:first]:
            layer.requires_grad_(False)

    def lower(
        self, tokens: torch.Tensor, segments: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        """Return the hidden states that the first trained layer sees."""
        with torch.no_grad():
            hidden = self.embeddings(tokens, segments)
            for layer in self.layers[: self.first]:
                hidden = layer(hidden, present)
        return hidden

    def upper(self, hidden: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return one mean vector a row, from the hidden states that `lower` gave."""
        for layer in self.layers[self.first :]:
            hidden = layer(hidden, present)
        share = present.to(hidden.dtype)[:, :, None]
        return (hidden * share).sum(1) / share.sum(1)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits of a batch of `Inputs`."""
        if "vector" in batch:
            return self.classify(batch["vector"])
        hidden = batch.get("hidden")
        if hidden is None:
            hidden = self.lower(batch["tokens"], batch["segments"], batch["present"])
        return self.classify(self.upper(hidden, batch["present"]))

    def start_head_at(self, target: Target, y: Labels, weight: Weights) -> None:
        """Let the head give every row the classes' shares before it has learned anything."""
        self.head.bias.data.copy_(prior_logits(target, y, weight))

    def classify(self, vector: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (rows, outputs)."""
        return self.head(self.drop(vector))

    def add_low_rank(self, rank: int) -> None:
        """Freeze every layer and learn updates of low rank to the attention's projections."""
        for layer in self.layers:
            layer.requires_grad_(False)
            layer.attention = LowRank(layer.attention, rank)

    def merge_low_rank(self) -> None:
        """Turn what `add_low_rank` added into plain layers."""
        for layer in self.layers:
            if isinstance(layer.attention, LowRank):
                layer.attention = layer.attention.merged()


def read_weights(encoder: Encoder, pretrained: Pretrained) -> None:
    """Fill an encoder, but not its head, with what was read of a folder."""
    state = encoder.state_dict()
    found = {name: torch.from_numpy(value) for name, value in pretrained.weights.items()}
    wanted = {name: found[name] for name in state if name.startswith("embeddings.")}
    for number in range(encoder.shape.layers):
        source, target = f"encoder.layer.{number}.", f"layers.{number}."
        for part in ("weight", "bias"):
            three = [found[f"{source}attention.self.{name}.{part}"] for name in _THREE]
            wanted[f"{target}attention.{part}"] = torch.cat(three)
            for theirs, ours in _PLACES.items():
                wanted[f"{target}{ours}.{part}"] = found[f"{source}{theirs}.{part}"]
    encoder.load_state_dict(wanted, strict=False)


def as_arrays(encoder: Encoder) -> Tensors:
    """Return every weight by its name here, for the ONNX graph."""
    encoder.merge_low_rank()
    state: Mapping[str, torch.Tensor] = encoder.state_dict()
    return {
        name: np.ascontiguousarray(value.float().cpu().numpy()) for name, value in state.items()
    }


class Inputs:
    """Texts as what the trained layers see; what is below them is computed once where it fits.

    Parameters
    ----------
    encoder : Encoder
        On the device that it trains on.
    tokens : Tokens
    most_bytes : int
        Hidden states that would take more are computed at every batch instead.
    keep_vectors : bool
        Whether the vectors of an encoder whose head alone is trained are kept.
    """

    def __init__(
        self, encoder: Encoder, tokens: Tokens, most_bytes: int, *, keep_vectors: bool = True
    ) -> None:
        self._encoder, self._tokens = encoder, tokens
        self._hidden: npt.NDArray[np.float16] | None = None
        self._vectors: torch.Tensor | None = None
        width = encoder.shape.width
        if keep_vectors and encoder.first == encoder.shape.layers:
            self._vectors = torch.zeros(len(tokens.lengths), width)
        elif encoder.first and 2 * len(tokens.ids) * width <= most_bytes:
            self._hidden = np.zeros((len(tokens.ids), width), dtype=np.float16)
        if self._vectors is not None or self._hidden is not None:
            self._fill()

    def _fill(self) -> None:
        encoder, device = self._encoder.eval(), self._encoder.head.weight.device
        for rows in self._tokens.by_length():
            batch = {name: value.to(device) for name, value in self._raw(rows).items()}
            hidden = encoder.lower(batch["tokens"], batch["segments"], batch["present"])
            if self._vectors is not None:
                self._vectors[rows] = encoder.upper(hidden, batch["present"]).float().cpu()
            elif self._hidden is not None:
                places, present = self._tokens.places(rows)
                self._hidden[places[present]] = hidden.cpu().numpy()[present]
        encoder.train()

    def batch(self, rows: npt.NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Return some rows as `Encoder` takes them, on the CPU."""
        if self._vectors is not None:
            return {"vector": self._vectors[rows]}
        if self._hidden is None:
            return self._raw(rows)
        places, present = self._tokens.places(rows)
        hidden = torch.from_numpy(self._hidden[places].astype(np.float32))
        return {"hidden": hidden, "present": torch.from_numpy(present)}

    def _raw(self, rows: npt.NDArray[np.int64]) -> dict[str, torch.Tensor]:
        ids, segments, present = self._tokens.padded(rows, self._encoder.shape.padding)
        named = {"tokens": ids, "segments": segments, "present": present}
        return {name: torch.from_numpy(value) for name, value in named.items()}

    def logits(self) -> npt.NDArray[np.float64]:
        """Return the logits of all rows, with the encoder as it is now."""
        encoder, device = self._encoder, self._encoder.head.weight.device
        found = np.zeros((len(self._tokens.lengths), encoder.head.out_features))
        was_training = encoder.training
        encoder.eval()
        with torch.no_grad():
            for rows in self._tokens.by_length():
                batch = {name: value.to(device) for name, value in self.batch(rows).items()}
                found[rows] = encoder(batch).float().cpu().numpy()
        encoder.train(was_training)
        return found


@dataclass(frozen=True)
class Pace:
    """Seconds a row, measured on a few rows before any long work begins.

    `lower` is the frozen layers' pass, `upper` the trained layers' pass, `learning` a training
    step of the trained layers.
    """

    lower: float
    upper: float
    learning: float


def measured_pace(encoder: Encoder, tokens: Tokens, batch_rows: int) -> Pace:
    """Time an encoder on a few batches of its texts; its weights stay as they are.

    Batches are of texts of like length, as those that it learns from: a batch of all lengths is
    mostly padding. Of several passes over each the quickest counts: the first one pays for what is
    set up once, and on a machine that others use too, one may take ten times its time.
    """
    order = np.argsort(tokens.lengths, kind="stable")
    batches = [part[len(part) // 2 :][:batch_rows] for part in np.array_split(order, _TIMED_PARTS)]
    inputs = Inputs(encoder, tokens, most_bytes=0, keep_vectors=False)
    device = encoder.head.weight.device
    total = np.zeros(3)
    for rows in batches:
        batch = {name: value.to(device) for name, value in inputs.batch(rows).items()}
        taken = []
        for _ in range(_TIMED_PASSES):
            began = time.monotonic()
            hidden = encoder.lower(batch["tokens"], batch["segments"], batch["present"])
            lower = time.monotonic()
            with torch.no_grad():
                encoder.upper(hidden, batch["present"])
            upper = time.monotonic()
            encoder.classify(encoder.upper(hidden, batch["present"])).sum().backward()
            taken.append((lower - began, upper - lower, time.monotonic() - upper))
        total += np.min(taken, axis=0)
    encoder.zero_grad()
    return Pace(*(total / sum(len(rows) for rows in batches)).tolist())


def parameter_groups(
    encoder: Encoder, mode: str, rate: float, head_rate: float, layer_decay: float
) -> Sequence[Mapping[str, Any]]:
    """Return what AdamW trains, each layer slower than the one above it.

    A head alone and updates of low rank start from nothing, and take ten times the rate.
    """
    faster = {"frozen": 5 * head_rate}.get(mode, head_rate)
    groups: list[Mapping[str, Any]] = [{"params": [*encoder.head.parameters()], "lr": faster}]
    rate *= 10 if mode == "lora" else 1
    for height, layer in enumerate(reversed(encoder.layers)):
        trained = [value for value in layer.parameters() if value.requires_grad]
        if trained:
            groups.append({"params": trained, "lr": rate * layer_decay**height})
    return groups
