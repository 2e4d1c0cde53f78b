"""DeLong's interval and McNemar's test, against other ways to the same figures."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from tidegate.evaluation.paired_tests import delong, mcnemar


def two_models(rng, rows=300):
    label = (rng.random(rows) < 0.3).astype(float)
    shared = rng.normal(size=rows)
    first = 1.2 * label + shared + rng.normal(size=rows)
    second = 1.2 * label + shared + rng.normal(size=rows)
    return np.round(first, 1), np.round(second, 1), label


@pytest.mark.parametrize("weighted", [False, True])
def test_the_areas_are_those_of_scikit_learn(weighted):
    rng = np.random.default_rng(0)
    first, second, label = two_models(rng)
    weight = rng.random(label.size) if weighted else np.ones(label.size)
    found = delong(first, second, label, weight, 0.95)
    assert found.candidate == pytest.approx(roc_auc_score(label, first, sample_weight=weight))
    assert found.baseline == pytest.approx(roc_auc_score(label, second, sample_weight=weight))


def test_delongs_variance_is_that_of_the_definition():
    first, second, label = two_models(np.random.default_rng(1), rows=80)
    positive, negative = label == 1, label == 0

    def components(score):
        wins = score[positive][:, None] - score[negative][None, :]
        kernel = (wins > 0) + 0.5 * (wins == 0)
        return kernel.mean(axis=1), kernel.mean(axis=0)

    (v10, v01), (w10, w01) = components(first), components(second)
    variance = np.var(v10 - w10, ddof=1) / v10.size + np.var(v01 - w01, ddof=1) / v01.size
    found = delong(first, second, label, np.ones(label.size), 0.95)
    half = (found.difference_ci[1] - found.difference_ci[0]) / 2
    assert half == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)


def test_the_interval_covers_no_difference_as_often_as_stated():
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(600):
        first, second, label = two_models(rng)
        low, high = delong(first, second, label, np.ones(label.size), 0.9).difference_ci
        covered.append(low <= 0 <= high)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.035)


def test_a_model_beside_itself_has_an_interval_of_nothing():
    first, _, label = two_models(np.random.default_rng(3))
    assert delong(first, first, label, np.ones(label.size), 0.95).difference_ci == (0, 0)


def test_mcnemar_counts_rows_that_one_model_alone_gets_right():
    label = np.array([1.0] * 12 + [0.0] * 10)
    flagged = np.array([1.0] * 10 + [0, 0] + [0.0] * 9 + [1])
    other = np.array([1.0] * 3 + [0] * 8 + [1] + [0.0] * 8 + [1, 1])
    found = mcnemar(flagged == 1, other == 1, label)
    violating, harmless = found["violating"], found["harmless"]
    assert (violating.rows, violating.candidate_right, violating.baseline_right) == (12, 7, 1)
    assert violating.p_value == pytest.approx(binomtest(1, 8).pvalue)
    assert (harmless.candidate_right, harmless.baseline_right, harmless.p_value) == (1, 0, 1.0)
    assert found["all"].rows == 22


def test_models_that_flag_alike_are_not_told_apart():
    label = np.array([1.0, 0.0, 1.0])
    assert mcnemar(label == 1, label == 1, label)["all"].p_value == 1.0
