"""What must always hold of the gates: fairness, the baseline, the reviews, the decision."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import PolicyConfig
from tidegate.evaluation.class_thresholds import class_thresholds
from tidegate.evaluation.comparison import Baseline, compare
from tidegate.evaluation.decision import Evidence, decide
from tidegate.evaluation.fairness import audit
from tidegate.evaluation.measurement import measure
from tidegate.evaluation.review import review_band
from tidegate.evaluation.segments import choose_by_segment
from tidegate.records import BaselineComparison, Difference, FairnessReport

SEEDS = st.integers(0, 2**32 - 1)
SEVERITY = {"promote": 0, "insufficient_data": 1, "hold": 2}
GENTLE = settings(max_examples=15, deadline=None)
CUT = 0.5


def posts(seed, rows=240):
    rng = np.random.default_rng(seed)
    label = np.append((rng.random(rows - 2) < 0.4).astype(int), [0, 1])
    score = np.round(1 / (1 + np.exp(-rng.normal(2 * label - 1))), 2)
    table = pd.DataFrame({"label": label, "score": score, "weight": 1.0})
    table["lang"] = rng.choice(["en", "de", "fr"], rows)
    table["other"] = np.round(np.clip(score + 0.3 * rng.normal(size=rows), 0, 1), 2)
    return table, rng


def audited(table, cut=CUT, **policy):
    return audit(
        table, groups=["lang"], threshold=cut, policy=PolicyConfig(min_group_rows=20, **policy)
    )


def beside(table, cuts=(CUT, CUT)):
    other = Baseline("old", "in_service", cuts[1], table.assign(score=table["other"]))
    return compare(table, cuts[0], other, confidence=0.9, resamples=50)


def same(one, two):
    """Whether two comparisons say the same, but for the last digits of a sum."""
    assert one.discordance == two.discordance
    assert one.differences.keys() == two.differences.keys()
    for name, found in one.differences.items():
        then = two.differences[name]
        np.testing.assert_allclose(
            (found.candidate, found.baseline, *found.difference_ci),
            (then.candidate, then.baseline, *then.difference_ci),
            atol=1e-9,
        )
    return True


def banded(table):
    rows = tuple(table[name].to_numpy(dtype=float) for name in ("score", "label", "weight"))
    return review_band(rows, CUT, posts_per_day=1000, capacity=300, confidence=0.9)


def segmented(table):
    rows = tuple(table[name].to_numpy(dtype=float) for name in ("score", "label", "weight"))
    return choose_by_segment(rows, table["lang"], PolicyConfig(min_precision=0.6, confidence=0.8))


def table_of_classes(table):
    """Violating posts are of class a or b, by the language; each has a probability."""
    english = table["lang"] == "en"
    name = np.where(table["label"] == 0, "fine", np.where(english, "a", "b"))
    own = {"score_a": table["score"] * np.where(english, 1, 0.3), "score_b": table["other"]}
    return table.assign(**{"class": name}, **own)


LAX = (
    table_of_classes(posts(0, rows=300)[0]),
    PolicyConfig(min_precision=0.4, confidence=0.8),
)


@GENTLE
@given(SEEDS)
def test_no_gate_minds_the_order_of_the_rows(seed):
    table, rng = posts(seed)
    shuffled = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    assert same(beside(shuffled), beside(table))
    assert banded(shuffled) == banded(table)
    assert segmented(shuffled) == segmented(table)
    (groups, report), (groups_then, report_then) = audited(shuffled), audited(table)
    assert report.verdict == report_then.verdict
    for one, two in zip(groups, groups_then, strict=True):
        assert (one.group, one.n, one.fpr_ci, one.recall_ci) == (
            two.group,
            two.n,
            two.fpr_ci,
            two.recall_ci,
        )


@GENTLE
@given(SEEDS, st.sampled_from([np.cbrt, lambda s: 40 * s - 3]))
def test_only_calibration_minds_the_scale_of_the_scores(seed, change):
    table, _ = posts(seed)
    moved = table.assign(score=change(table["score"]), other=change(table["other"]))
    cut = float(change(CUT))
    assert same(beside(moved, (cut, cut)), beside(table))
    gaps = {gap.metric: gap for gap in audited(moved, cut)[1].gaps}
    for gap in audited(table)[1].gaps:
        if gap.metric != "calibration":
            assert gaps[gap.metric] == gap


@GENTLE
@given(SEEDS, st.sampled_from([0.25, 8.0]))
def test_equal_weights_are_no_weights_and_rows_of_weight_zero_are_no_rows(seed, weight):
    table, _ = posts(seed)
    even = table.assign(weight=weight)
    assert same(beside(even), beside(table))
    assert banded(even) == banded(table)
    assert segmented(even) == segmented(table)
    assert measure(even, CUT, confidence=0.9) == measure(table, CUT, confidence=0.9)
    assert audited(even) == audited(table)
    mute = pd.concat([table, table.head(60).assign(weight=0.0, label=1)], ignore_index=True)
    silent, heard = beside(mute), beside(table)
    # Disagreements are counted in rows.
    assert same(silent.model_copy(update={"discordance": heard.discordance}), heard)


@GENTLE
@given(SEEDS)
def test_rows_of_full_and_of_half_weight_are_two_rows_and_one(seed):
    table, rng = posts(seed)
    double = rng.random(len(table)) < 0.5
    weighted = table.assign(weight=np.where(double, 1.0, 0.5))
    repeated = pd.concat([table, table[double]], ignore_index=True)
    one, two = beside(weighted).differences, beside(repeated).differences
    for name, found in one.items():
        np.testing.assert_allclose(
            (found.candidate, found.baseline), (two[name].candidate, two[name].baseline)
        )

    counted = {group.group: group for group in audited(repeated)[0]}
    for group in audited(weighted)[0]:
        then = counted[group.group]
        for name in ("fpr", "recall", "precision", "selection_rate", "calibration", "mean_score"):
            assert getattr(group, name) == pytest.approx(getattr(then, name))


@GENTLE
@given(SEEDS)
def test_a_classs_threshold_minds_neither_order_nor_scale_nor_equal_weights(seed):
    table, rng = posts(seed, rows=600)
    plain = table_of_classes(table)
    expected = class_thresholds(plain, *LAX)
    shuffled = plain.iloc[rng.permutation(len(plain))].reset_index(drop=True)
    assert class_thresholds(shuffled, *LAX) == expected
    assert class_thresholds(plain.assign(weight=4.0), *LAX) == expected
    mute = pd.concat([plain, plain.head(50).assign(weight=0.0)], ignore_index=True)
    curved = plain.assign(**{f"score_{name}": np.cbrt(plain[f"score_{name}"]) for name in "ab"})
    for other in (mute, curved):
        for one, two in zip(class_thresholds(other, *LAX), expected, strict=True):
            assert (one.threshold is None) == (two.threshold is None)
            if one.threshold and two.threshold:
                assert one.threshold.precision == two.threshold.precision
                assert one.threshold.recall == two.threshold.recall


@GENTLE
@given(SEEDS, st.lists(st.floats(0.3, 0.9), min_size=2, max_size=2))
def test_a_higher_floor_never_names_more_posts_of_a_class(seed, floors):
    table = table_of_classes(posts(seed, rows=1500)[0])
    low, high = (
        class_thresholds(table, table, PolicyConfig(min_precision=floor, confidence=0.8))
        for floor in sorted(floors)
    )
    for lax, strict in zip(low, high, strict=True):
        if strict.threshold:
            assert lax.threshold is not None
            assert lax.threshold.value <= strict.threshold.value


@GENTLE
@given(SEEDS, st.lists(st.floats(0.01, 1), min_size=2, max_size=4))
def test_a_laxer_limit_never_turns_a_passed_audit_into_another(seed, limits):
    table, _ = posts(seed)
    order = {"pass": 0, "insufficient_data": 1, "fail": 2}
    verdicts = [audited(table, max_fpr_gap=limit)[1].verdict for limit in sorted(limits)]
    ranks = [order[verdict] for verdict in verdicts]
    assert ranks == sorted(ranks, reverse=True)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.2, 0.2),
    st.floats(0, 0.1),
    st.lists(st.floats(0, 0.5), min_size=2, max_size=4),
)
def test_a_wider_margin_never_makes_the_decision_harder(middle, half, margins):
    difference = Difference(
        candidate=0.5 + middle,
        baseline=0.5,
        difference=middle,
        difference_ci=(middle - half, middle + half),
    )
    comparison = BaselineComparison(
        name="old",
        kind="in_service",
        threshold=None,
        rows=100,
        differences={"average_precision": difference},
    )
    evidence = Evidence(
        threshold=None,
        best=None,
        violating=100.0,
        needed=50,
        validation_prevalence=0.3,
        holdout=None,
        fairness=FairnessReport(verdict="not_assessed"),
        comparison=comparison,
    )

    def harshest(margin):
        decision = decide(evidence, PolicyConfig(non_inferiority_margin=margin))
        about = [reason for reason in decision.reasons if "verage precision" in reason]
        holds = "falls short" in about[0]
        unsure = "cannot show" in about[0]
        return SEVERITY["hold" if holds else "insufficient_data" if unsure else "promote"]

    ranks = [harshest(margin) for margin in sorted(margins)]
    assert ranks == sorted(ranks, reverse=True)
