"""McNemar's test at operating points, against SciPy's binomial test."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tidegate.evaluation.paired_tests import mcnemar


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
