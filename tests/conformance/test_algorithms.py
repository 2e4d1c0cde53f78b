"""What every algorithm of the catalogue promises, whoever wrote it."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from tidegate.features.blocks import Blocks
from tidegate.models.catalogue import algorithms
from tidegate.models.interface import BINARY, Evaluation, Setting
from tidegate.models.quality import average_precision, measured
from tidegate.models.target import indicators_of, score_of, violating_of
from tidegate.records import FeatureBlock, Target
from tidegate.search.space import contains

ROWS, FEATURES = 400, 60
CLASSES = Target(
    kind="multiclass", outputs=("hate", "normal", "offensive"), violating=("hate", "offensive")
)
TASKS = Target(kind="multilabel", outputs=("violating", "insult"), violating=("violating",))


#: What suits 400 rows and an encoder that never saw a language, inside the search space.
TOY = {"encoder": {"mode": "whole", "lr": 1e-3, "epochs": 9, "batch": 16, "dropout": 0.0}}


@pytest.fixture(params=list(algorithms()))
def algorithm(request, toy_encoder):
    found = algorithms()[request.param]

    def build(params, setting):
        return found.build(params, replace(setting, encoder=toy_encoder))

    return replace(found, build=build, defaults={**found.defaults, **TOY.get(found.name, {})})


@pytest.fixture(params=[BINARY, CLASSES, TASKS], ids=lambda target: target.kind)
def target(request):
    return request.param


@functools.cache
def toy(seed=0, target=BINARY):
    """Rows of 0/1 words, five of which tell each question's answer, in every form of theirs."""
    random = np.random.default_rng(seed)
    y = (random.random(ROWS) < 0.3).astype(np.int8)
    if target.kind == "multiclass":
        y = random.integers(0, 3, ROWS).astype(np.int8)
    elif target.kind == "multilabel":
        y = np.column_stack([y, random.random(ROWS) < 0.4]).astype(np.int8)
    probability = np.full((ROWS, FEATURES), 0.1)
    for question, answer in enumerate(indicators_of(target, y).T):
        told = slice(5 * question, 5 * question + 5)
        probability[:, told] = np.where(answer[:, None] == 1, 0.7, 0.05)
    words = (random.random((ROWS, FEATURES)) < probability).astype(np.float32)
    number = np.round(random.normal(violating_of(target, y), 1.0), 1).astype(np.float32)
    spread = np.random.default_rng(99).normal(size=(FEATURES, 16)).astype(np.float32)
    spread[15:] /= 3  # an embedding knows which words matter
    texts = [" ".join(f"w{place}" for place in np.flatnonzero(row)) for row in words]
    return as_blocks(sp.csr_matrix(words), number[:, None], words @ spread, texts), y


def as_blocks(words, number, embedding, texts):
    parts = {"words": words, "tabular": sp.csr_matrix(number), "embedding": embedding}
    blocks = [
        FeatureBlock(name=family, column="text", family=family, width=part.shape[1])
        for family, part in parts.items()
    ]
    return Blocks(words.shape[0], blocks, lambda b: parts[b.name], lambda: {"text": texts})


def fitted(algorithm, X, y, weight=None, seed=0, evaluation=None, target=BINARY):
    weight = np.ones(len(y)) if weight is None else weight
    model = algorithm.build(algorithm.defaults, Setting(seed, target=target))
    return model.fit(X, y, weight, evaluation)


_LEARNED = {}


def learned(algorithm, target=BINARY):
    """Return the toy's rows, and a model of them that no test may change."""
    X, y = toy(target=target)
    key = algorithm.name, target.kind
    if key not in _LEARNED:
        _LEARNED[key] = fitted(algorithm, X, y, target=target)
    return X, _LEARNED[key]


def test_the_defaults_are_a_point_of_the_search_space(algorithm):
    assert contains(algorithm.search_space, algorithm.defaults)


def test_every_output_has_its_column_of_probabilities(algorithm, target):
    X, model = learned(algorithm, target)
    probability = model.predict_proba(X)
    assert probability.shape == (ROWS, len(target.outputs))
    assert probability.dtype == np.float64
    assert ((probability >= 0) & (probability <= 1)).all()
    if target.kind != "multilabel":
        np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-9)


def test_a_separable_set_is_learned(algorithm, target):
    unseen, truth = toy(seed=1, target=target)
    outputs = learned(algorithm, target)[1].predict_proba(unseen)
    score = score_of(target, outputs)
    # A row tells two tasks with as many words as it tells one, and 400 rows are few for a net.
    floor = {"binary": 0.95, "multiclass": 0.9, "multilabel": 0.8}[target.kind]
    assert average_precision(violating_of(target, truth), score, np.ones(ROWS)) > floor
    if target.kind == "multiclass":
        assert (outputs.argmax(axis=1) == truth).mean() > 0.85
    if target.kind == "multilabel":
        assert average_precision(truth[:, 1], outputs[:, 1], np.ones(ROWS)) > floor


def test_probabilities_are_calibrated_on_the_whole(algorithm, target):
    unseen, truth = toy(seed=1, target=target)
    outputs = learned(algorithm, target)[1].predict_proba(unseen)
    shares = indicators_of(target, truth).mean(axis=0)
    said = outputs[:, 1:] if target.kind == "binary" else outputs
    np.testing.assert_allclose(said.mean(axis=0), shares, atol=0.1)
    # A model that only knew the shares would have their entropy for its loss.
    ignorant = np.tile(outputs.mean(axis=0), (ROWS, 1))
    loss = [measured(target, truth, o, np.ones(ROWS))[1] for o in (outputs, ignorant)]
    assert loss[0] < 0.8 * loss[1]


def test_the_same_seed_gives_the_same_model(algorithm):
    X, y = toy()
    first, second = (fitted(algorithm, X, y, seed=7).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_saved_model_scores_as_before(algorithm, target, tmp_path):
    X, model = learned(algorithm, target)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    model.save(first)
    again = algorithm.load(first)
    again.save(second)
    for loaded in (again, algorithm.load(second)):
        np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X), atol=1e-6)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes
    assert suffixes <= {".json", ".npz", ".ubj", ".onnx", ".safetensors"}


def test_a_row_scores_alone_as_it_does_among_others(algorithm, tmp_path):
    X, model = learned(algorithm)
    model.save(tmp_path)
    model = algorithm.load(tmp_path)
    together = model.predict_proba(X)
    for row in range(5):
        np.testing.assert_allclose(
            model.predict_proba(X.take(np.array([row])))[0], together[row], atol=1e-6
        )


def test_a_stored_zero_scores_as_an_absent_one(algorithm):
    X, model = learned(algorithm)
    first = X.take(np.array([0]))
    words, number, embedding = (first.part(block) for block in first.blocks)
    stored = sp.csr_matrix((words.toarray()[0], np.arange(FEATURES), [0, FEATURES]))
    assert stored.nnz == FEATURES > words.nnz
    with_zeros = as_blocks(stored, number.toarray(), embedding, first.texts()["text"])
    np.testing.assert_allclose(model.predict_proba(with_zeros), model.predict_proba(first))


def test_an_empty_row_has_a_score(algorithm):
    nothing = sp.csr_matrix((1, FEATURES), dtype=np.float32)
    empty = as_blocks(nothing, np.zeros((1, 1)), np.zeros((1, 16), np.float32), [""])
    assert np.isfinite(learned(algorithm)[1].predict_proba(empty)).all()


def test_the_heavier_of_two_contradicting_labels_is_learned(algorithm):
    X, y = toy()
    twice = X.take(np.tile(np.arange(ROWS), 2))
    labels = np.concatenate([y, 1 - y]).astype(np.int8)
    first_heavier = np.repeat([4.0, 1.0], ROWS)
    for weight, truth in ((first_heavier, y), (first_heavier[::-1], 1 - y)):
        score = fitted(algorithm, twice, labels, weight.copy()).predict_proba(X)[:, 1]
        assert score[truth == 1].mean() > score[truth == 0].mean() + 0.1


def test_a_row_of_weight_three_counts_like_three_rows(algorithm):
    X, y = toy()
    times = np.where(np.arange(ROWS) % 4 == 0, 3, 1)
    weighted = fitted(algorithm, X, y, times.astype(np.float64))
    repeated = fitted(algorithm, X.take(np.repeat(np.arange(ROWS), times)), np.repeat(y, times))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=0.01)


def test_a_row_of_weight_zero_is_not_there(algorithm):
    X, y = toy()
    present = np.arange(ROWS) % 3 > 0
    wrong = np.where(present, y, 1 - y).astype(np.int8)
    masked = fitted(algorithm, X, wrong, present.astype(np.float64))
    absent = fitted(algorithm, X.take(present), y[present])
    np.testing.assert_allclose(masked.predict_proba(X), absent.predict_proba(X), atol=1e-9)


def test_learning_beside_a_validation_set_reports_a_curve(algorithm, target):
    X, y = toy(target=target)
    unseen, truth = toy(seed=1, target=target)
    curve = []
    evaluation = Evaluation(unseen, truth, np.ones(ROWS), curve.append)
    fitted(algorithm, X, y, evaluation=evaluation, target=target)
    assert curve
    steps = [point.step for point in curve]
    assert steps == sorted(set(steps))
    assert all(0 <= point.validation_average_precision <= 1 for point in curve)
    assert all(point.train_log_loss > 0 and point.validation_log_loss > 0 for point in curve)


def test_a_report_that_raises_stops_the_learning(algorithm):
    class Stop(Exception):
        pass

    def report(point):
        raise Stop

    X, y = toy()
    with pytest.raises(Stop):
        fitted(algorithm, X, y, evaluation=Evaluation(X, y, np.ones(ROWS), report))


def test_validation_rows_are_weighted(algorithm):
    X, y = toy()
    unseen, truth = toy(seed=1)
    flipped = np.where(np.arange(ROWS) < 200, truth, 1 - truth).astype(np.int8)
    right_half = (np.arange(ROWS) < 200).astype(np.float64)
    curves = []
    for rows, labels, weight in (
        (unseen, flipped, right_half),
        (unseen.take(np.arange(200)), truth[:200], np.ones(200)),
    ):
        curve = []
        fitted(algorithm, X, y, evaluation=Evaluation(rows, labels, weight, curve.append))
        curves.append(curve[0])
    assert curves[0].validation_average_precision == pytest.approx(
        curves[1].validation_average_precision
    )
    assert curves[0].validation_log_loss == pytest.approx(curves[1].validation_log_loss, rel=1e-5)
