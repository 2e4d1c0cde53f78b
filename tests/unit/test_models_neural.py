import numpy as np
import pytest
import scipy.sparse as sp

from tidegate.features.blocks import Blocks
from tidegate.models.interface import BINARY, Evaluation, Setting
from tidegate.models.neural import NEURAL, forward, split
from tidegate.models.outputs import fitted_temperature, merged, probabilities
from tidegate.records import FeatureBlock


def blocks(rows=60, seed=0):
    random = np.random.default_rng(seed)
    parts = {
        "words": sp.random(rows, 40, 0.2, "csr", np.float32, random_state=seed),
        "embedding": random.normal(size=(rows, 6)).astype(np.float32),
        "tabular": sp.csr_matrix(random.normal(size=(rows, 2)).astype(np.float32)),
    }
    named = [
        FeatureBlock(name=family, column="c", family=family, width=part.shape[1])
        for family, part in parts.items()
    ]
    return Blocks(rows, named, lambda block: parts[block.name], dict)


def test_terms_get_vectors_and_all_else_is_dense():
    terms, dense = split(blocks(), "words+embedding")
    assert (terms.shape, dense.shape) == ((60, 40), (60, 8))
    terms, dense = split(blocks(), "words")
    assert (terms.shape, dense.shape) == ((60, 40), (60, 2))


def test_numpy_scores_as_torch_does():
    from tidegate.models.torch_bag import BagNet, as_arrays, batch_of

    terms, dense = split(blocks(), "words+embedding")
    net = BagNet(
        terms=40, dense=8, width=16, hidden=12, outputs=3, dropout=0.5, term_dropout=0.5
    ).eval()
    weights = {
        **as_arrays(net),
        "columns": np.arange(40),
        "mean": np.zeros(8),
        "spread": np.ones(8),
    }
    expected = net(batch_of(terms, dense)).detach().numpy()
    np.testing.assert_allclose(forward(weights, terms, dense), expected, atol=1e-5)


def test_only_the_most_frequent_terms_are_learned():
    X = blocks()
    y = np.tile([0, 1], 30).astype(np.int8)
    params = {**NEURAL.defaults, "terms": 7, "epochs": 1}
    model = NEURAL.build(params, Setting()).fit(X, y, np.ones(60))
    frequency = np.diff(X.part(X.blocks[0]).tocsc().indptr)
    assert len(model._weights["columns"]) == 7
    assert frequency[model._weights["columns"]].min() >= np.sort(frequency)[-7]


def test_equal_rows_become_one_of_their_weight():
    rows, weight = merged([b"a", b"b", b"a", b"c", b"a"], np.array([1.0, 2, 3, 4, 5]))
    np.testing.assert_array_equal(rows, [0, 1, 3])
    np.testing.assert_array_equal(weight, [9, 2, 4])


@pytest.mark.parametrize("hotter", [0.5, 3.0])
def test_the_temperature_undoes_what_made_scores_too_sure_or_not_sure_enough(hotter):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 1))
    y = (random.random(20_000) < 1 / (1 + np.exp(-logits[:, 0]))).astype(np.int8)
    evaluation = Evaluation(blocks(), y, np.ones(len(y)), lambda point: None)
    found = fitted_temperature(BINARY, logits * hotter, evaluation)
    assert found == pytest.approx(hotter, rel=0.08)
    probability = probabilities(BINARY, logits * hotter, found)[:, 1]
    assert probability.mean() == pytest.approx(y.mean(), abs=0.01)


def losses(state, **params):
    X = blocks(rows=200)
    terms, _ = split(X, "words")
    y = (np.asarray(terms[:, :8].sum(axis=1)).ravel() > 0.8).astype(np.int8)
    curve = []
    chosen = {**NEURAL.defaults, "epochs": 3, "batch": 64, "dropout": 0.0, **params}
    model = NEURAL.build(chosen, Setting(state=state))
    model.fit(X, y, np.ones(200), Evaluation(X, y, np.ones(200), curve.append))
    return [point.validation_log_loss for point in curve]


def test_it_goes_on_from_the_state_that_a_fit_before_left(tmp_path):
    alone = losses(None)
    first, second = losses(tmp_path), losses(tmp_path, lr=1e-3)
    assert first == alone
    assert second[0] < first[-1] < first[0]


def test_a_state_of_another_shape_is_no_start(tmp_path):
    losses(tmp_path, width=32)
    assert losses(tmp_path, width=128) == losses(None, width=128)
