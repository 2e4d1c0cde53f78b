"""Rows that stand for many: figures by weight, and intervals as wide as the weights make them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import PolicyConfig
from tidegate.evaluation.fairness import audit
from tidegate.evaluation.intervals import effective_rows, wilson
from tidegate.evaluation.measurement import measure

POLICY = PolicyConfig(min_group_rows=50)


def sums(weight, hit):
    return tuple((weight[side].sum(), (weight[side] ** 2).sum()) for side in (hit, ~hit))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(1, 200), st.sampled_from([0.25, 1.0, 8.0]))
def test_rows_of_one_weight_are_worth_their_number(hits, misses, weight):
    hit = np.arange(hits + misses) < hits
    worth = effective_rows(*sums(np.full(hit.size, weight), hit))
    assert float(worth) == pytest.approx(hit.size)


def drawn(rng, design):
    """Return whether rows are hits and what each stands for; a tenth of all are."""
    hit = rng.random(600) < 0.1
    if design == "three weights":
        return hit, rng.choice([1.0, 5.0, 20.0], hit.size)
    kept = (rng.random(hit.size) < 0.3) | (hit != (design == "hits are sampled"))
    return hit[kept], np.where(hit == (design == "hits are sampled"), 1 / 0.3, 1.0)[kept]


@pytest.mark.parametrize("design", ["three weights", "hits are sampled", "misses are sampled"])
def test_a_weighted_shares_interval_covers_as_often_as_stated(design):
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        hit, weight = drawn(rng, design)
        worth = float(effective_rows(*sums(weight, hit)))
        share = float(np.average(hit, weights=weight))
        low, high = wilson(share * worth, worth, 0.95)
        held += low <= 0.1 <= high
    assert held / 1000 == pytest.approx(0.95, abs=0.025)


def posts(seed, rows=2000):
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.3).astype(int)
    score = np.clip(0.3 * label + 0.7 * rng.random(rows), 0, 1)
    return pd.DataFrame({"label": label, "score": score, "lang": rng.choice(["en", "de"], rows)})


def test_a_groups_figures_are_those_of_the_posts_its_rows_stand_for():
    table = posts(0)
    # One in ten of the harmless posts that were left alone is known, and stands for ten.
    left = (table["score"] < 0.5) & (table["label"] == 0)
    known = table[~left | (np.arange(len(table)) % 10 == 0)]
    weighted = known.assign(weight=np.where(left[known.index], 10.0, 1.0))
    whole, _ = audit(table, groups=["lang"], threshold=0.5, policy=POLICY)
    counted, _ = audit(known, groups=["lang"], threshold=0.5, policy=POLICY)
    found, _ = audit(weighted, groups=["lang"], threshold=0.5, policy=POLICY)
    by_name = {group.group: group for group in found}
    blind = {group.group: group for group in counted}
    for truth in whole:
        group = by_name[truth.group]
        assert group.fpr == pytest.approx(truth.fpr, abs=0.05)
        assert group.fpr_ci[0] < truth.fpr < group.fpr_ci[1]
        assert group.calibration_ci[0] < truth.calibration < group.calibration_ci[1]
        assert group.precision == pytest.approx(truth.precision)
        assert blind[truth.group].fpr > 2 * truth.fpr
        assert group.effective_rows < group.n


def test_a_group_is_judged_by_what_its_rows_are_worth():
    table = posts(1, rows=400).assign(weight=1.0)
    table.loc[table.index[:2], ["weight", "lang"]] = [200.0, "en"]
    (english,) = (
        group
        for group in audit(table, groups=["lang"], threshold=0.5, policy=POLICY)[0]
        if group.group == "en"
    )
    assert english.n > 100
    assert english.effective_rows < 10
    assert english.too_small


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scale_and_order_of_weights_and_rows_of_weight_zero_change_nothing(seed):
    rng = np.random.default_rng(seed)
    table = posts(seed, rows=300)
    table["weight"] = rng.choice([1.0, 2.0, 7.0], 300)
    mute = pd.concat([table, table.head(40).assign(weight=0.0)], ignore_index=True)
    others = [
        table.assign(weight=3 * table["weight"]),
        table.sample(frac=1, random_state=seed % 1000),
        mute,
    ]
    expected = audit(table, groups=["lang"], threshold=0.5, policy=POLICY)[0]
    recall = measure(table, 0.5, confidence=0.9).recall_ci
    for other in others:
        assert measure(other, 0.5, confidence=0.9).recall_ci == pytest.approx(recall)
        found = audit(other, groups=["lang"], threshold=0.5, policy=POLICY)[0]
        for one, two in zip(found, expected, strict=True):
            assert (one.group, one.n) == (two.group, two.n)
            for name in ("fpr", "precision", "recall", "selection_rate", "calibration"):
                assert getattr(one, f"{name}_ci") == pytest.approx(getattr(two, f"{name}_ci"))
