"""What every algorithm of the catalogue promises, whoever wrote it."""

import numpy as np
import pytest
import scipy.sparse as sp

from tidegate.features.blocks import Blocks
from tidegate.models.catalogue import algorithms
from tidegate.models.interface import Evaluation, Setting
from tidegate.models.quality import average_precision
from tidegate.records import FeatureBlock
from tidegate.search.space import contains

ROWS, FEATURES = 400, 60


@pytest.fixture(params=list(algorithms()))
def algorithm(request):
    return algorithms()[request.param]


def toy(seed=0, rows=ROWS):
    """Rows of 0/1 words, five of which belong to the violating class, in every form of theirs."""
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.3).astype(np.int8)
    probability = np.full((rows, FEATURES), 0.1)
    probability[:, :5] = np.where(y[:, None] == 1, 0.7, 0.05)
    words = (random.random((rows, FEATURES)) < probability).astype(np.float32)
    number = np.round(random.normal(y, 1.0), 1).astype(np.float32)
    spread = np.random.default_rng(99).normal(size=(FEATURES, 16)).astype(np.float32)
    texts = [" ".join(f"w{place}" for place in np.flatnonzero(row)) for row in words]
    return as_blocks(sp.csr_matrix(words), number[:, None], words @ spread, texts), y


def as_blocks(words, number, embedding, texts):
    parts = {"words": words, "tabular": sp.csr_matrix(number), "embedding": embedding}
    blocks = [
        FeatureBlock(name=family, column="text", family=family, width=part.shape[1])
        for family, part in parts.items()
    ]
    return Blocks(words.shape[0], blocks, lambda b: parts[b.name], lambda: {"text": texts})


def fitted(algorithm, X, y, weight=None, seed=0, evaluation=None):
    weight = np.ones(len(y)) if weight is None else weight
    return algorithm.build(algorithm.defaults, Setting(seed)).fit(X, y, weight, evaluation)


def test_the_defaults_are_a_point_of_the_search_space(algorithm):
    assert contains(algorithm.search_space, algorithm.defaults)


def test_probabilities_have_two_columns_that_add_up_to_one(algorithm):
    X, y = toy()
    probability = fitted(algorithm, X, y).predict_proba(X)
    assert probability.shape == (ROWS, 2)
    assert probability.dtype == np.float64
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-9)


def test_a_separable_set_is_learned(algorithm):
    X, y = toy()
    unseen, truth = toy(seed=1)
    score = fitted(algorithm, X, y).predict_proba(unseen)[:, 1]
    assert average_precision(truth, score, np.ones(ROWS)) > 0.95


def test_the_same_seed_gives_the_same_model(algorithm):
    X, y = toy()
    first, second = (fitted(algorithm, X, y, seed=7).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_saved_model_scores_as_before(algorithm, tmp_path):
    X, y = toy()
    model = fitted(algorithm, X, y)
    model.save(tmp_path)
    again = algorithm.load(tmp_path)
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes
    assert suffixes <= {".json", ".npz", ".ubj", ".onnx", ".safetensors"}


def test_a_row_scores_alone_as_it_does_among_others(algorithm, tmp_path):
    X, y = toy()
    fitted(algorithm, X, y).save(tmp_path)
    model = algorithm.load(tmp_path)
    together = model.predict_proba(X)
    for row in range(5):
        np.testing.assert_allclose(
            model.predict_proba(X.take(np.array([row])))[0], together[row], atol=1e-6
        )


def test_a_stored_zero_scores_as_an_absent_one(algorithm):
    X, y = toy()
    model = fitted(algorithm, X, y)
    first = X.take(np.array([0]))
    words, number, embedding = (first.part(block) for block in first.blocks)
    stored = sp.csr_matrix((words.toarray()[0], np.arange(FEATURES), [0, FEATURES]))
    assert stored.nnz == FEATURES > words.nnz
    with_zeros = as_blocks(stored, number.toarray(), embedding, first.texts()["text"])
    np.testing.assert_allclose(model.predict_proba(with_zeros), model.predict_proba(first))


def test_an_empty_row_has_a_score(algorithm):
    X, y = toy()
    nothing = sp.csr_matrix((1, FEATURES), dtype=np.float32)
    empty = as_blocks(nothing, np.zeros((1, 1)), np.zeros((1, 16), np.float32), [""])
    assert np.isfinite(fitted(algorithm, X, y).predict_proba(empty)).all()


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


def test_learning_beside_a_validation_set_reports_a_curve(algorithm):
    X, y = toy()
    unseen, truth = toy(seed=1)
    curve = []
    fitted(algorithm, X, y, evaluation=Evaluation(unseen, truth, np.ones(ROWS), curve.append))
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
