"""A BERT small enough to make in a test."""

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tidegate.features.encoders import expected_shapes

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "free", "prize", "lunch", "noon", "win", "a", "at"]
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def tiny_weights(config=CONFIG):
    generator = np.random.default_rng(0)
    return {
        name: generator.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }


def write_tiny_encoder(folder, *, config=CONFIG, weights=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tiny_weights() if weights is None else weights, folder / "model.safetensors")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
