"""The counts behind the slider: what every threshold would do."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import PolicyConfig
from tidegate.evaluation.fairness import audit
from tidegate.evaluation.measurement import measure
from tidegate.evaluation.operating_curve import RATES, as_json, load_at, operating_curve
from tidegate.records import GroupMetrics


def table(rows, seed, distinct=10_000, weighted=False):
    rng = np.random.default_rng(seed)
    label = np.append([0, 1], rng.integers(0, 2, rows - 2))
    score = np.round((0.3 * label + rng.random(rows)) * distinct) / distinct / 1.3
    groups = [["a"], ["a", "b"], ["b"], None]
    return pd.DataFrame(
        {
            "label": label,
            "score": score,
            "weight": rng.choice([0.2, 1.0, 2.0], rows) if weighted else 1.0,
            "target": pd.Series([groups[i] for i in rng.integers(0, 4, rows)], dtype=object),
        }
    )


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 900),
    st.integers(0, 50),
    st.sampled_from([1, 5, 10_000]),
    st.booleans(),
    st.sampled_from([None, 0.02, 0.7]),
)
def test_every_stop_holds_what_measuring_that_threshold_gives(
    rows, seed, distinct, weighted, prevalence
):
    scored = table(rows, seed, distinct, weighted)
    curve = operating_curve(scored, confidence=0.9, prevalence=prevalence)
    assert 1 <= curve.cuts.size <= 502
    assert (np.diff(curve.cuts) > 0).all()
    for stop in {0, curve.cuts.size // 2, curve.cuts.size - 1}:
        found = measure(scored, float(curve.cuts[stop]), confidence=0.9, prevalence=prevalence)
        assert found.flagged == curve.flagged[stop] > 0
        assert found.precision == pytest.approx(curve.precision(stop))
        assert found.precision_lower_bound == pytest.approx(curve.precision_lower_bound[stop])
        assert found.precision_upper_bound == pytest.approx(curve.precision_upper_bound[stop])
        assert found.recall == pytest.approx(curve.recall(stop)[0])
        assert found.recall_ci == pytest.approx(curve.recall(stop)[1])


def test_each_distinct_score_has_a_stop_while_there_are_few():
    scored = table(300, 0, distinct=50)
    curve = operating_curve(scored, confidence=0.95)
    assert curve.cuts.size == scored["score"].nunique()
    assert curve.flagged[0] == 300


def test_a_million_rows_keep_a_few_hundred_stops_that_lie_close():
    scored = table(100_000, 0, distinct=10**9)
    curve = operating_curve(scored, confidence=0.95)
    assert curve.cuts.size <= 500
    recalls = curve.hits / curve.total_hits
    assert np.abs(np.diff(recalls)).max() < 0.005
    assert curve.flagged[-1] <= 2


@pytest.mark.parametrize("threshold", [0.31234, 0.5, 0.77777])
def test_a_threshold_to_keep_is_a_stop_as_it_is_and_no_stop_beside_it_flags_the_same(threshold):
    scored = table(5000, 3)
    curve = operating_curve(scored, confidence=0.95, keep=[threshold])
    assert curve.cuts[curve.nearest(threshold)] == threshold
    assert np.unique(curve.flagged).size == curve.cuts.size


def test_a_threshold_above_every_score_is_no_stop():
    curve = operating_curve(table(100, 0), confidence=0.95, keep=[2.0])
    assert (curve.cuts < 2).all()
    assert curve.flagged.min() > 0


@pytest.mark.parametrize("weighted", [False, True])
def test_groups_are_counted_as_the_audit_counts_them(weighted):
    scored, policy = table(2000, 1, weighted=weighted), PolicyConfig()
    groups = audit(scored, groups=["target"], threshold=0.5, policy=policy)[0]
    curve = operating_curve(scored, confidence=0.95, groups=groups, keep=[0.5])
    stop = curve.nearest(0.5)
    assert [g.group for g in curve.groups] == [g.group for g in groups]
    for counted, audited in zip(curve.groups, groups, strict=True):
        assert counted.n == audited.n
        for name in RATES:
            share, interval = counted.rate(name, stop, 0.95)
            assert share == pytest.approx(getattr(audited, name))
            assert interval == pytest.approx(getattr(audited, f"{name}_ci"))


def test_the_largest_groups_are_followed_when_there_are_too_many():
    scored = table(400, 0)
    scored["target"] = [f"g{min(i, 69)}" for i in range(400)]
    groups = [
        GroupMetrics(column="target", group=f"g{i}", n=331 if i == 69 else 1, violating=0,
                     too_small=True)
        for i in range(70)
    ]  # fmt: skip
    curve = operating_curve(scored, confidence=0.95, groups=groups)
    assert len(curve.groups) == 60
    assert "g69" in [g.group for g in curve.groups]


def test_the_load_of_a_threshold_adds_up():
    curve = operating_curve(table(3000, 2), confidence=0.95, prevalence=0.05)
    costs = {
        "wrong_removal": 4,
        "missed_violation": 2,
        "appeal": 3,
        "appeal_share": 0.5,
        "review_minute": 0.5,
        "review_minutes": 2,
    }
    act, review = 300, 100
    load = load_at(curve, act, review, posts=1000, costs=costs)
    alone = load_at(curve, act, act, posts=1000)
    assert alone.reviewed == 0
    assert alone.cost is None
    assert load.flagged == alone.flagged
    assert load.wrong / load.flagged == pytest.approx(1 - curve.precision(act))
    found = 0.05 * 1000 - alone.missed
    assert found == pytest.approx(load.flagged - load.wrong)
    assert load.missed < alone.missed
    assert load.appeals == load.wrong / 2
    assert load.cost == pytest.approx(
        4 * load.wrong + load.appeals * (3 + 1) + 2 * load.missed + 1 * load.reviewed
    )


def test_what_the_page_gets_is_small_and_whole():
    scored = table(20_000, 0, distinct=10**6)
    groups = audit(scored, groups=["target"], threshold=0.5, policy=PolicyConfig())[0]
    curve = operating_curve(scored, confidence=0.95, groups=groups)
    values = as_json(curve)
    assert np.cumsum(values["flagged"]).tolist() == curve.flagged.tolist()
    assert np.cumsum(values["groups"][0]["right"]).tolist() == curve.groups[0].mass.right.tolist()
    assert len(json.dumps(values, separators=(",", ":"))) < 60_000
