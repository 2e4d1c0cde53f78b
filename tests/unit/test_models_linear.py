import numpy as np
import pytest
import scipy.sparse as sp

from tidegate.features.blocks import blocks_of
from tidegate.models.interface import Setting
from tidegate.models.linear import LOGISTIC


def fitted(X, y, **params):
    return LOGISTIC.build({**LOGISTIC.defaults, **params}, Setting()).fit(X, y, np.ones(len(y)))


def noise(rows=600, violating=0.1):
    random = np.random.default_rng(0)
    X = sp.csr_matrix((random.random((rows, 5)) < 0.3).astype(np.float32))
    return blocks_of(X), (random.random(rows) < violating).astype(np.int8)


def test_without_class_weights_the_mean_score_is_the_prevalence():
    X, y = noise()
    assert fitted(X, y).predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), abs=1e-3)


def test_balanced_class_weights_centre_the_scores_on_one_half():
    X, y = noise()
    score = fitted(X, y, C=1.0, class_weight="balanced").predict_proba(X)[:, 1]
    assert score.mean() == pytest.approx(0.5, abs=0.02)


def test_a_small_c_shrinks_the_coefficients_towards_none():
    X, y = noise()
    spread = [np.ptp(fitted(X, y, C=C).predict_proba(X)[:, 1]) for C in (0.01, 100.0)]
    assert spread[0] < 0.2 * spread[1]


def coefficients(tmp_path, **params):
    random = np.random.default_rng(0)
    y = (random.random(600) < 0.4).astype(np.int8)
    words = random.random((600, 40)) < np.where(np.arange(40) < 4, 0.1 + 0.5 * y[:, None], 0.1)
    X = blocks_of(sp.csr_matrix(words.astype(np.float32)))
    fitted(X, y, **params).save(tmp_path)
    with np.load(tmp_path / "coefficients.npz") as arrays:
        return arrays["coefficients"][:, 0]


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_penalties_with_l1_leave_only_the_columns_that_tell(tmp_path, penalty):
    found = coefficients(tmp_path, C=0.05, penalty=penalty)
    assert (found[:4] > 0).all()
    assert np.count_nonzero(found[4:]) < 6
    assert np.count_nonzero(coefficients(tmp_path, C=0.05)) == 40
