"""Encoder directories in the layout of Hugging Face: found by URI, checked, read."""

import importlib.util
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.errors import BadInput

FILES = ("config.json", "model.safetensors", "tokenizer.json")
PACKAGE = "package://"
_POSITIVE = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_ACTIVATIONS = ("gelu", "gelu_new", "relu")
# Models whose layers have BERT's names; RoBERTa's positions begin after the padding's.
_KINDS = ("bert", "roberta", "xlm-roberta")


@dataclass(frozen=True)
class Encoder:
    """A BERT-like encoder, checked against its own configuration.

    Parameters
    ----------
    uri : str
    config : mapping
        ``config.json``.
    weights : mapping of str to ndarray
        float32, by the names of BERT without the model's prefix.
    tokenizer : str
        ``tokenizer.json``.
    first_position : int
        Position of the first token.
    """

    uri: str
    config: Mapping[str, Any]
    weights: Mapping[str, npt.NDArray[np.float32]]
    tokenizer: str
    first_position: int

    @property
    def max_tokens(self) -> int:
        """Longest text that has positions, special tokens included."""
        return int(self.config["max_position_embeddings"]) - self.first_position


def encoder_folder(uri: str) -> Path:
    """Return a local folder with the files of an encoder directory.

    Parameters
    ----------
    uri : str
        A path, an fsspec URI, which is downloaded into a temporary folder, or
        ``package://MODULE/FOLDER`` for a folder inside an installed Python package.

    Raises
    ------
    BadInput
        If the package, the folder or one of `FILES` is not there.
    """
    if uri.startswith(PACKAGE):
        folder = _in_package(uri)
    elif "://" in uri:
        folder = _downloaded(uri)
    else:
        folder = Path(uri).expanduser()
    if not folder.is_dir():
        raise BadInput(f"encoder {uri}", "is no folder", "name one that holds " + ", ".join(FILES))
    for name in FILES:
        if not (folder / name).is_file():
            raise BadInput(f"encoder {uri}", f"{name} is missing", "add it or name another folder")
    return folder


def _in_package(uri: str) -> Path:
    module, _, inside = uri.removeprefix(PACKAGE).partition("/")
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise BadInput(f"encoder {uri}", f"no package {module!r} is installed", "install it")
    root = Path(found.submodule_search_locations[0]).resolve()
    folder = (root / inside).resolve()
    if not folder.is_relative_to(root):
        raise BadInput(f"encoder {uri}", "leaves the package", "name a folder inside it")
    return folder


def _downloaded(uri: str) -> Path:
    import fsspec

    folder = Path(tempfile.mkdtemp(prefix="tidegate-encoder-"))
    for name in FILES:
        try:
            with fsspec.open(f"{uri.rstrip('/')}/{name}", "rb") as stream:
                (folder / name).write_bytes(stream.read())
        except (FileNotFoundError, ValueError, ImportError) as error:
            raise BadInput(
                f"encoder {uri}",
                f"{name} cannot be read: {' '.join(str(error).split())}",
                "check the URI",
            ) from None
    return folder


def read_encoder(uri: str) -> Encoder:
    """Read an encoder directory and hold its weights against its configuration.

    Raises
    ------
    BadInput
        If a file is missing or broken, or weights, tokenizer and configuration disagree; the
        message names the file.
    """
    folder = encoder_folder(uri)
    config = _read_config(uri, folder / "config.json")
    roberta = config["model_type"] != "bert"
    first_position = int(config.get("pad_token_id") or 0) + 1 if roberta else 0
    weights = _read_weights(uri, folder / "model.safetensors", config)
    tokenizer = (folder / "tokenizer.json").read_bytes().decode("utf-8", "replace")
    _check_tokenizer(uri, tokenizer, int(config["vocab_size"]))
    return Encoder(uri, config, weights, tokenizer, first_position)


def _read_config(uri: str, path: Path) -> Mapping[str, Any]:
    where, mend = f"encoder {uri}: config.json", "name the folder of a BERT-like encoder"
    try:
        config = json.loads(path.read_bytes())
    except ValueError:
        raise BadInput(where, "is no JSON", mend) from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in _KINDS:
        raise BadInput(where, f"model_type {kind!r} is none of {', '.join(_KINDS)}", mend)
    for key in _POSITIVE:
        if type(config.get(key)) is not int or config[key] < 1:
            raise BadInput(
                where, f"{key} must be a whole number above 0, got {config.get(key)!r}", mend
            )
    if config["hidden_size"] % config["num_attention_heads"]:
        raise BadInput(where, "hidden_size is no multiple of num_attention_heads", mend)
    if config.get("hidden_act", "gelu") not in _ACTIVATIONS:
        raise BadInput(where, f"hidden_act must be one of {', '.join(_ACTIVATIONS)}", mend)
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise BadInput(where, "position_embedding_type must be absolute", mend)
    return dict(config)


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight that BERT's configuration promises."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    square, row = (hidden, hidden), (hidden,)
    layer = {
        **dict.fromkeys((f"attention.self.{name}" for name in ("query", "key", "value")), square),
        "attention.output.dense": square,
        "attention.output.LayerNorm": row,
        "intermediate.dense": (inner, hidden),
        "output.dense": (hidden, inner),
        "output.LayerNorm": row,
    }
    for number in range(config["num_hidden_layers"]):
        for name, shape in layer.items():
            shapes[f"encoder.layer.{number}.{name}.weight"] = shape
            shapes[f"encoder.layer.{number}.{name}.bias"] = shape[:1]
    return shapes


def _read_weights(
    uri: str, path: Path, config: Mapping[str, Any]
) -> dict[str, npt.NDArray[np.float32]]:
    from safetensors import SafetensorError, safe_open

    where, mend = f"encoder {uri}: model.safetensors", "copy the folder again from its source"
    weights = {}
    try:
        with safe_open(path, framework="numpy") as stored:
            names = {_without_prefix(name): name for name in stored.keys()}  # noqa: SIM118
            for name, shape in expected_shapes(config).items():
                if name not in names:
                    raise BadInput(where, f"weight {name} is missing", mend)
                found = tuple(stored.get_slice(names[name]).get_shape())
                if found != shape:
                    raise BadInput(
                        where, f"weight {name} is {found}, config.json says {shape}", mend
                    )
                weights[name] = np.asarray(stored.get_tensor(names[name]), dtype=np.float32)
    except (SafetensorError, OSError) as error:
        raise BadInput(where, f"cannot be read: {' '.join(str(error).split())}", mend) from None
    except (TypeError, AttributeError):
        raise BadInput(
            where, "holds a type that numpy lacks", "save the weights as float32 or float16"
        ) from None
    if not all(np.isfinite(values).all() for values in weights.values()):
        raise BadInput(where, "holds weights that are not finite", mend)
    return weights


def _without_prefix(name: str) -> str:
    for prefix in ("bert.", "roberta."):
        name = name.removeprefix(prefix)
    return name


def _check_tokenizer(uri: str, text: str, vocab_size: int) -> None:
    from tokenizers import Tokenizer

    where, mend = f"encoder {uri}: tokenizer.json", "copy the folder again from its source"
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise BadInput(where, f"cannot be read: {' '.join(str(error).split())}", mend) from None
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= vocab_size:
        raise BadInput(
            where, f"has the token number {largest}, config.json a vocab_size of {vocab_size}", mend
        )
