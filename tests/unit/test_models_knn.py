import numpy as np
import pytest
import scipy.sparse as sp

from tidegate.features.blocks import Blocks, blocks_of
from tidegate.models import neighbours
from tidegate.models.interface import Setting
from tidegate.models.knn import KNN
from tidegate.models.quality import average_precision
from tidegate.records import FeatureBlock


def clouds(rows, seed=0, width=16):
    """Unit vectors around twelve centres, half of which violate."""
    random = np.random.default_rng(seed)
    centre = random.integers(0, 12, rows)
    vectors = np.random.default_rng(7).normal(size=(12, width))[centre]
    vectors += random.normal(0, 0.4, vectors.shape)
    return vectors.astype(np.float32), (centre % 2).astype(np.int8)


def fitted(X, y, **params):
    model = KNN.build({**KNN.defaults, **params}, Setting(seed=3))
    return model.fit(X, y, np.ones(len(y)))


def reached(model, X, y):
    return average_precision(y, model.predict_proba(X)[:, 1], np.ones(len(y)))


def test_an_index_of_clusters_finds_what_the_exact_one_does(monkeypatch, tmp_path):
    X, y = clouds(1500)
    unseen, truth = (
        blocks_of(part, family="embedding") if part.ndim == 2 else part
        for part in clouds(300, seed=1)
    )
    exact = fitted(blocks_of(X, family="embedding"), y)
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 100)
    clustered = fitted(blocks_of(X, family="embedding"), y)
    assert reached(clustered, unseen, truth) == pytest.approx(
        reached(exact, unseen, truth), abs=0.01
    )
    clustered.save(tmp_path)
    np.testing.assert_array_equal(
        KNN.load(tmp_path).predict_proba(unseen), clustered.predict_proba(unseen)
    )


def test_wide_terms_are_projected_where_there_is_no_embedding(tmp_path):
    random = np.random.default_rng(0)
    y = (random.random(500) < 0.4).astype(np.int8)
    words = random.random((500, 2000)) < 0.01
    words[:, :20] |= (random.random((500, 20)) < 0.4) & (y[:, None] == 1)
    X = blocks_of(sp.csr_matrix(words.astype(np.float32)))
    model = fitted(X.take(np.arange(300)), y[:300], k=10)
    assert reached(model, X.take(np.arange(300, 500)), y[300:]) > 0.9
    model.save(tmp_path)
    with np.load(tmp_path / "nearness.npz") as arrays:
        assert arrays["projection"].shape == (2000, 128)


def test_columns_beside_the_text_count_as_much_as_they_are_let():
    vectors, _ = clouds(400)
    random = np.random.default_rng(5)
    y = (random.random(400) < 0.5).astype(np.int8)
    number = (y + random.normal(0, 0.3, 400)).astype(np.float32)[:, None]
    parts = {"embedding": vectors, "tabular": number}
    blocks = [FeatureBlock(name=n, column=n, family=n, width=parts[n].shape[1]) for n in parts]
    X = Blocks(400, blocks, lambda block: parts[block.name], dict)
    train, test = np.arange(300), np.arange(300, 400)
    shares = [
        reached(fitted(X.take(train), y[:300], k=10, beside=beside), X.take(test), y[300:])
        for beside in (0.0, 1.0)
    ]
    assert shares[0] < 0.7 < 0.85 < shares[1]


def test_rows_of_many_copies_do_not_vouch_for_themselves():
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(100, 8)), 3, axis=0).astype(np.float32)
    y = np.repeat(random.integers(0, 2, 100), 3).astype(np.int8)
    model = fitted(blocks_of(vectors, family="embedding"), y, k=5, temperature=0.02)
    fresh = blocks_of(random.normal(size=(50, 8)).astype(np.float32), family="embedding")
    # Labels are noise: a model that learned from its copies would be sure of them.
    assert np.abs(model.predict_proba(fresh)[:, 1] - y.mean()).mean() < 0.25
