"""Average precision and ROC-AUC near 1, where few rows show how far they may move."""

import numpy as np
import pandas as pd
import pytest

from tidegate.evaluation.comparison import Baseline, compare
from tidegate.evaluation.measurement import quality


def sample(seed, violating, harmless, apart):
    rng = np.random.default_rng(seed)
    score = np.r_[rng.normal(size=violating) + apart, rng.normal(size=harmless)]
    label = np.r_[np.ones(violating), np.zeros(harmless)].astype(int)
    return pd.DataFrame({"label": label, "score": 1 / (1 + np.exp(-score))})


def test_the_intervals_hold_near_one_with_twenty_violating_rows():
    truth = quality(sample(0, 8_000, 392_000, 3.29), confidence=0.95)
    assert truth.roc_auc == pytest.approx(0.99, abs=0.001)
    held = {"average_precision": 0, "roc_auc": 0}
    for seed in range(100):
        found = quality(sample(seed, 20, 980, 3.29), confidence=0.95).intervals
        for name in held:
            low, high = found[name]
            held[name] += low <= getattr(truth, name) <= high
    assert min(held.values()) >= 0.91 * 100


def test_faultless_scores_are_not_taken_for_a_faultless_model():
    few = quality(sample(0, 20, 200, 12.0), confidence=0.95)
    many = quality(sample(0, 2000, 20_000, 12.0), confidence=0.95)
    assert few.roc_auc == many.roc_auc == few.average_precision == 1
    for name in ("roc_auc", "average_precision"):
        assert few.intervals[name][1] == 1
        assert few.intervals[name][0] < many.intervals[name][0] < 1


def test_many_rows_have_the_spread_that_they_show():
    # The violating scores spread twice as far as the model thinks.
    rng = np.random.default_rng(0)
    label = (np.arange(40_000) < 8000).astype(int)
    scores = np.where(label == 1, 2 + 2 * rng.normal(size=40_000), rng.normal(size=40_000))
    table = pd.DataFrame({"label": label, "score": 1 / (1 + np.exp(-scores))})
    low, high = quality(table, confidence=0.95).intervals["roc_auc"]
    areas = []
    for seed in range(40):
        rows = np.random.default_rng(seed).integers(0, 40_000, 40_000)
        areas.append(quality(table.iloc[rows], confidence=0.95).roc_auc)
    assert high - low == pytest.approx(2 * 1.96 * np.std(areas), rel=0.3)


def test_rows_of_equal_weight_are_rows_and_lighter_ones_prove_less():
    table = sample(1, 60, 600, 2.5)
    even = quality(table.assign(weight=4.0), confidence=0.95).intervals["roc_auc"]
    assert even == pytest.approx(quality(table, confidence=0.95).intervals["roc_auc"])
    light = table.assign(weight=np.where(np.arange(len(table)) % 10 == 0, 20.0, 1.0))
    low, high = quality(light, confidence=0.95).intervals["roc_auc"]
    assert high - low > even[1] - even[0]


def pair_of(seed, rows=300, strengths=(4.0, 4.2)):
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.2).astype(int)
    shared = rng.normal(size=rows)
    tables = []
    for strength in strengths:
        noise = 0.7 * shared + 0.7 * rng.normal(size=rows)
        score = 1 / (1 + np.exp(-(strength * label - 0.6 + noise)))
        tables.append(pd.DataFrame({"label": label, "score": score}))
    return tables


def differences(tables, cuts=(0.75, 0.7), confidence=0.95):
    baseline = Baseline("old", "in_service", cuts[1], tables[1])
    return compare(tables[0], cuts[0], baseline, confidence=confidence).differences


def test_differences_of_two_models_near_one_are_held_as_often_as_stated():
    truth = {name: of.difference for name, of in differences(pair_of(0, 400_000)).items()}
    held = dict.fromkeys(truth, 0)
    for seed in range(150):
        for name, found in differences(pair_of(seed + 1)).items():
            low, high = found.difference_ci
            held[name] += low <= truth[name] <= high
    assert min(held.values()) >= 0.91 * 150


def test_two_models_that_make_no_fault_are_not_taken_for_equal():
    found = differences(pair_of(0, strengths=(12.0, 12.5)))
    for name in ("average_precision", "recall"):
        low, high = found[name].difference_ci
        assert low < 0 < high
