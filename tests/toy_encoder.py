"""An encoder folder as small as one can be: random weights and a vocabulary of w0 to w59."""

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tidegate.features.encoders import expected_shapes

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = tuple(f"w{number}" for number in range(60))
WIDTH = 32


def write_toy_encoder(folder, **changes):
    """Write config.json, model.safetensors and tokenizer.json; return the folder."""
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "num_hidden_layers": 2,
        "hidden_size": WIDTH,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": len(SPECIAL) + len(WORDS),
        "max_position_embeddings": 80,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    random = np.random.default_rng(0)
    tensors = {}
    for name, size in expected_shapes(config).items():
        value = random.normal(0, 0.15, size)
        if name.endswith("LayerNorm.weight"):
            value = np.ones(size)
        elif "position" in name or "token_type" in name:
            value *= 0.2
        tensors[name] = value.astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
