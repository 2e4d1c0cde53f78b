"""What evaluation measured is what the bundle will do."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import PolicyConfig
from tidegate.decision_rule import answered_scores, row_thresholds
from tidegate.errors import BadInput
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.golden_set import measure_golden_set
from tidegate.evaluation.served_rule import cuts_as_served, served_rule
from tidegate.evaluation.slices import confident_errors
from tidegate.records import DecisionRule, ReferenceMapping


def scored(rows, seed):
    """Posts of two surfaces; on "bio" the score knows nothing."""
    rng = np.random.default_rng(seed)
    surface = np.where(rng.random(rows) < 0.7, "chat", "bio")
    score = rng.random(rows)
    chance = np.where(surface == "chat", score**2, 0.2)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "label": (rng.random(rows) < chance).astype(int),
            "weight": 1.0,
            "score": score,
            "surface": surface,
        }
    )


VALIDATION, HOLDOUT = scored(6000, 0), scored(6000, 1)


def judged(policy, *, kind="benchmark_model", rule=None, reference=None):
    other = HOLDOUT.assign(score=HOLDOUT["score"] ** 2 if reference is None else reference)
    return evaluate(
        VALIDATION,
        HOLDOUT,
        baseline=Baseline("old", kind, None, other, rule=rule or DecisionRule()),
        policy=policy,
        groups=["surface"],
        name="posts",
        algorithm="logistic",
        prevalence={},
    )


def test_segments_thresholds_are_served_and_the_holdout_is_measured_by_them():
    policy = PolicyConfig(min_precision=0.7, segments="surface", insufficient_fairness="allow")
    report = judged(policy)
    rule = served_rule(report, policy)
    assert rule.segment_column == "surface"
    assert rule.segment_thresholds["bio"] is None
    assert rule.segment_thresholds["chat"] < 1
    cuts = row_thresholds(report.threshold, rule.segment_thresholds, HOLDOUT["surface"], 6000)
    assert report.flagged == int((HOLDOUT["score"].to_numpy() >= cuts).sum())
    bio = next(group for group in report.groups if group.group == "bio")
    assert bio.selection_rate == 0
    assert any("every segment acted on: chat" in reason for reason in report.reasons)
    assert any("In bio it shows it nowhere" in reason for reason in report.reasons)


def test_the_reviews_counted_are_the_posts_that_the_served_rule_sends_to_review():
    policy = PolicyConfig(
        segments="surface", posts_per_day=6000, review_capacity=900, min_precision=0.7
    )
    report = judged(policy)
    rule = served_rule(report, policy)
    score = VALIDATION["score"].to_numpy()
    cuts = row_thresholds(report.threshold, rule.segment_thresholds, VALIDATION["surface"], 6000)
    reviewed = int((~(score >= cuts) & (score >= rule.review_threshold)).sum())
    assert report.review.reviews_per_day == pytest.approx(reviewed)
    assert report.review.reviews_per_day_upper_bound <= 900


def test_the_review_band_and_the_calibration_reach_the_rule():
    policy = PolicyConfig(min_precision=0.5, posts_per_day=6000, review_capacity=300)
    report = judged(policy)
    rule = served_rule(report, policy)
    assert rule.review_threshold == report.review.threshold < report.review.act_threshold
    assert report.review.act_threshold == report.threshold
    assert rule.calibration == report.calibration.map
    assert rule.segment_column is None
    assert rule.scale is None


def test_a_chain_of_retrains_keeps_the_scale_of_the_first_model():
    # The first model answered its own scores. The second scores squares and was mapped back. The
    # third scores cubes: a client's 0.8 must still be the first model's 0.8.
    first = HOLDOUT["score"].to_numpy()
    knots = np.linspace(0, 1, 401)
    back = ReferenceMapping(
        reference="v1",
        knots=tuple(knots),
        values=tuple(np.sqrt(knots)),
        distance=0.25,
        shifts=(),
    )
    policy = PolicyConfig(min_precision=0.7)
    found = evaluate(
        VALIDATION,
        HOLDOUT.assign(score=first**3),
        baseline=Baseline(
            "v2", "in_service", None, HOLDOUT.assign(score=first**2), rule=DecisionRule(scale=back)
        ),
        policy=policy,
        groups=[],
        name="posts",
        algorithm="logistic",
        prevalence={},
    )
    rule = served_rule(found, policy)
    inside = first > 0.2
    told = answered_scores(rule, first**3)
    np.testing.assert_allclose(told[inside], first[inside], atol=0.01)


def test_a_holdout_without_the_segments_is_refused():
    policy = PolicyConfig(min_precision=0.7, segments="surface")
    with pytest.raises(BadInput, match="has no column 'surface'"):
        evaluate(
            VALIDATION,
            HOLDOUT.drop(columns="surface"),
            baseline=Baseline("old", "benchmark_model", None, HOLDOUT),
            policy=policy,
            groups=[],
            name="posts",
            algorithm="logistic",
            prevalence={},
        )


def test_what_lies_beside_the_holdout_goes_by_the_served_thresholds():
    policy = PolicyConfig(min_precision=0.7, segments="surface", insufficient_fairness="allow")
    report = judged(policy)
    cuts = cuts_as_served(report, HOLDOUT, policy)
    golden = measure_golden_set(HOLDOUT, cuts, None, policy=policy).figures
    assert (golden.precision, golden.recall) == (report.precision, report.recall)
    wrong = {error.id for error in confident_errors(HOLDOUT, cuts) if error.label == 0}
    assert wrong
    assert wrong <= set(HOLDOUT.loc[HOLDOUT["surface"] == "chat", "id"].astype(str))
    # A post that does not say its segment is served by the one threshold.
    assert cuts_as_served(report, HOLDOUT.drop(columns="surface"), policy) == report.threshold
