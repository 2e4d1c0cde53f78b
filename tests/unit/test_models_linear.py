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
