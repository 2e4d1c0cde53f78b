import re
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tidegate.config import QuantizeConfig
from tidegate.errors import BadInput
from tidegate.features.blocks import Blocks
from tidegate.features.encoders import read_encoder
from tidegate.models.encoder import ENCODER
from tidegate.models.interface import Evaluation, NotEnoughTime, Setting
from tidegate.models.tokens import batches_by_length, tokenized, tokenizer_of

TOY = {"mode": "whole", "layers": 1, "lr": 1e-3, "epochs": 2, "batch": 16, "dropout": 0.0}


def posts(rows=96, seed=0, **columns):
    random = np.random.default_rng(seed)
    y = (np.arange(rows) % 3 == 0).astype(np.int8)
    texts = [
        " ".join(f"w{word}" for word in random.integers(0 if bad else 5, 60, 1 + row % 9))
        + (" w1 w2" if bad else "")
        for row, bad in enumerate(y)
    ]
    return of({"text": texts, **columns}), y


def of(texts):
    return Blocks(len(next(iter(texts.values()), ())), (), lambda block: None, lambda: texts)


def fitted(folder, evaluation=None, X=None, seconds=None, **params):
    X, y = (X, np.tile([0, 1], X.rows)[: X.rows].astype(np.int8)) if X else posts()
    setting = Setting(encoder=folder, seconds=seconds)
    return ENCODER.build({**TOY, **params}, setting).fit(X, y, np.ones(len(y)), evaluation)


@pytest.mark.parametrize("mode", ["frozen", "top", "lora", "whole"])
def test_the_graph_that_serves_scores_as_the_net_that_learned(toy_encoder, mode):
    from tidegate.models.torch_encoder import Inputs

    X, _ = posts()
    model = fitted(toy_encoder, mode=mode)
    tokens = tokenized(model._tokenizer, X.texts(), model._longest)
    learned = Inputs(model._encoder, tokens, most_bytes=0).logits()[:, 0]
    served = model.predict_proba(X)[:, 1]
    np.testing.assert_allclose(np.log(served / (1 - served)), learned, atol=1e-5)


def test_layers_below_the_trained_ones_stay_as_they_came(toy_encoder):
    before = read_encoder(toy_encoder).weights
    after = fitted(toy_encoder, mode="top", layers=1)._encoder.state_dict()
    name = "attention.output.dense.weight"
    first, second = (before[f"encoder.layer.{number}.{name}"] for number in (0, 1))
    np.testing.assert_array_equal(after["layers.0.attended.weight"], first)
    assert np.abs(after["layers.1.attended.weight"].numpy() - second).max() > 1e-4


def test_what_is_below_the_trained_layers_is_computed_once(toy_encoder, monkeypatch):
    from tidegate.models import torch_encoder

    asked = []
    lower = torch_encoder.Encoder.lower
    monkeypatch.setattr(
        torch_encoder.Encoder,
        "lower",
        lambda self, tokens, *rest: asked.append(len(tokens)) or lower(self, tokens, *rest),
    )
    X, _ = posts()
    fitted(toy_encoder, mode="top", epochs=4)
    assert sum(asked) == X.rows


def test_a_curve_is_reported_and_learning_ends_within_its_seconds(toy_encoder):
    X, y = posts(seed=1)
    curve = []
    fitted(toy_encoder, Evaluation(X, y, np.ones(len(y)), curve.append))
    assert [point.step for point in curve] == [3, 6, 9, 12]
    curve.clear()
    began = time.monotonic()
    evaluation = Evaluation(X, y, np.ones(len(y)), curve.append)
    fitted(toy_encoder, evaluation, seconds=6.0, mode="frozen", epochs=10_000)
    assert curve
    assert time.monotonic() - began < 20


def test_seconds_in_which_nothing_can_be_learned_are_given_back(toy_encoder):
    X, y = posts(seed=1)
    curve = []
    with pytest.raises(NotEnoughTime, match=r"a pass over the rows takes \d+ s, and 0 s are left"):
        fitted(toy_encoder, Evaluation(X, y, np.ones(len(y)), curve.append), seconds=0.5)
    assert not curve


def test_the_context_and_the_reply_are_two_segments(toy_encoder):
    tokenizer = tokenizer_of(read_encoder(toy_encoder).tokenizer)
    tokens = tokenized(tokenizer, {"context": ["w1 w2"], "reply": ["w3"]}, 16)
    np.testing.assert_array_equal(tokens.ids - 4, [-2, 1, 2, -1, 3, -1])
    np.testing.assert_array_equal(tokens.segments, [0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize(
    "text", ["", "\U0001f600\U0001f600", "שלום עולם", "\ud800 w1", "w1 " * 3_000_000], ids=range(5)
)
def test_whatever_is_posted_has_a_score(toy_encoder, text, tmp_path):
    fitted(toy_encoder, mode="frozen", epochs=1).save(tmp_path)
    outputs = ENCODER.load(tmp_path).predict_proba(of({"text": [text]}))
    assert np.isfinite(outputs).all()


def test_rows_without_text_are_refused(toy_encoder):
    with pytest.raises(BadInput, match=r"data\.text: the encoder reads text"):
        fitted(toy_encoder, X=Blocks(4, (), lambda block: None, dict))


def test_a_gpu_that_is_asked_for_and_not_there_is_refused(toy_encoder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    X, y = posts()
    model = ENCODER.build(TOY, Setting(encoder=toy_encoder, device="gpu"))
    with pytest.raises(BadInput, match=r"search\.device: gpu asked for and none is there"):
        model.fit(X, y, np.ones(len(y)))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match=re.escape(str(tmp_path / "none"))):
        fitted(str(tmp_path / "none"))


def quantized_with(folder, max_loss, *, while_learning=False):
    X, y = posts(seed=1)
    quantize = max_loss and QuantizeConfig(max_loss=max_loss, while_learning=while_learning)
    setting = Setting(encoder=folder, quantize=quantize)
    evaluation = Evaluation(X, y, np.ones(len(y)), lambda point: None)
    train, labels = posts()
    return ENCODER.build(TOY, setting).fit(train, labels, np.ones(len(labels)), evaluation)


def test_int8_weights_that_lose_little_serve_and_say_what_they_lost(toy_encoder, tmp_path):
    X, y = posts(seed=1)
    model, whole = quantized_with(toy_encoder, 0.05), quantized_with(toy_encoder, None)
    told = model.quantization
    exact, rough = (found.predict_proba(X)[:, 1] for found in (whole, model))
    assert told.kept
    assert told.int8_bytes < told.float_bytes
    lost = average_precision_score(y, exact) - average_precision_score(y, rough)
    assert told.average_precision_lost == pytest.approx(lost, abs=1e-9)
    assert np.abs(exact - rough).max() > 1e-6
    assert np.corrcoef(exact, rough)[0, 1] > 0.99
    model.save(tmp_path)
    assert (tmp_path / "model.onnx").stat().st_size == told.int8_bytes
    np.testing.assert_array_equal(ENCODER.load(tmp_path).predict_proba(X)[:, 1], rough)
    assert whole.quantization is None


def test_rounding_while_learning_computes_what_the_int8_graph_will(toy_encoder):
    import torch

    from tidegate.models.encoder_shape import shape_of
    from tidegate.models.onnx_encoder import graph_of, quantized, scoring_session
    from tidegate.models.torch_encoder import Encoder, as_arrays, read_weights

    pretrained = read_encoder(toy_encoder)
    shape = shape_of(pretrained)
    torch.manual_seed(0)
    rounded = Encoder(shape, 2, 0.0, first=0, rounded=True).eval()
    read_weights(rounded, pretrained)
    exact = Encoder(shape, 2, 0.0, first=0).eval()
    exact.load_state_dict(rounded.state_dict())
    session = scoring_session(quantized(graph_of(shape, as_arrays(exact))))
    off = {"rounded": 0.0, "exact": 0.0}
    for length in range(3, 12):
        ids = np.arange(1, length + 1, dtype=np.int64)[None] % shape.vocabulary
        segments, present = np.zeros_like(ids), np.ones(ids.shape, dtype=bool)
        served = session.run(None, {"ids": ids, "segments": segments, "present": present})[0]
        batch = {
            "tokens": torch.from_numpy(ids),
            "segments": torch.from_numpy(segments),
            "present": torch.from_numpy(present),
        }
        for name, encoder in (("rounded", rounded), ("exact", exact)):
            logits = encoder(batch).detach().numpy()
            off[name] += float(np.abs(logits - served).mean())
    assert off["rounded"] < 0.1 * off["exact"]


def test_what_was_learned_with_rounding_serves_in_int8_and_its_loss_is_against_the_float_graph(
    toy_encoder,
):
    X, y = posts(seed=1)
    model = quantized_with(toy_encoder, 0.05, while_learning=True)
    assert model.quantization.kept
    assert abs(model.quantization.average_precision_lost) < 0.05
    assert average_precision_score(y, model.predict_proba(X)[:, 1]) > 0.8


def test_an_int8_score_does_not_depend_on_the_rows_beside_it(toy_encoder):
    X, _ = posts(seed=1)
    model = quantized_with(toy_encoder, 0.05)
    alone = [model.predict_proba(X.take(np.array([row])))[0, 1] for row in (0, 7, 31)]
    np.testing.assert_array_equal(model.predict_proba(X)[[0, 7, 31], 1], alone)


def test_int8_weights_that_lose_too_much_are_measured_and_left(toy_encoder, monkeypatch):
    from tidegate.models import onnx_encoder

    quantized = onnx_encoder.quantized

    def turned(graph):
        import onnx

        model = onnx.load_model_from_string(quantized(graph))
        for node in model.graph.node:
            if node.name == "logits":
                node.op_type = "Neg"
        return model.SerializeToString()

    monkeypatch.setattr(onnx_encoder, "quantized", turned)
    model, whole = quantized_with(toy_encoder, 0.005), quantized_with(toy_encoder, None)
    told = model.quantization
    assert not told.kept
    assert told.average_precision_lost > told.max_loss == 0.005
    X, _ = posts(seed=1)
    np.testing.assert_array_equal(model.predict_proba(X), whole.predict_proba(X))


def test_batches_hold_every_row_once_and_little_padding():
    lengths = np.random.default_rng(0).integers(3, 100, 1000)
    batches = batches_by_length(lengths, 16, 512, seed=(0, 1))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(1000))
    padded = [len(rows) * lengths[rows].max() for rows in batches]
    assert max(padded) <= 512
    assert sum(padded) < 1.1 * lengths.sum()
    again = batches_by_length(lengths, 16, 512, seed=(0, 2))
    assert any((a.shape != b.shape or (a != b).any()) for a, b in zip(batches, again, strict=False))
