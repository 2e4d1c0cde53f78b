"""One rule for batch scoring and the server: what is done with a post of this score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.decision_rule import answered_scores, segment_name
from tidegate.models.decisions import decide
from tidegate.records import (
    BundleManifest,
    CalibrationMap,
    DecisionRule,
    ReferenceMapping,
    Target,
)

SCORES = np.array([0.1, 0.5, 0.7, 0.9])
CALIBRATION = CalibrationMap(method="isotonic", knots=(0.0, 1.0), values=(0.0, 0.5))
SCALE = ReferenceMapping(
    reference="v1", knots=(0.0, 1.0), values=(0.2, 1.0), distance=0.1, shifts=()
)


def manifest(threshold=0.7, target=None, **rule):
    return BundleManifest(
        name="comments",
        version="v2",
        format=1,
        created_at="2026-01-01T00:00:00+00:00",
        algorithm="logistic",
        params={},
        inputs=(),
        target=target or Target(),
        threshold=threshold,
        min_precision=0.9,
        confidence=0.95,
        snapshot_digest="abc",
        files={},
        libraries={},
        rule=DecisionRule(**rule),
    )


def test_a_score_at_the_threshold_is_flagged_and_one_below_is_left():
    said = decide(manifest(), SCORES)
    assert said.decision.tolist() == ["leave", "leave", "flagged", "flagged"]
    assert said.flagged.tolist() == [False, False, True, True]
    assert said.threshold.tolist() == [0.7] * 4
    assert said.classes is None


def test_a_bundle_without_any_threshold_decides_nothing():
    said = decide(manifest(threshold=None), SCORES)
    assert said.decision is None
    assert said.flagged is None
    assert np.isnan(said.threshold).all()


def test_posts_between_the_two_thresholds_go_to_review():
    said = decide(manifest(review_threshold=0.5), SCORES)
    assert said.decision.tolist() == ["leave", "review", "flagged", "flagged"]


def test_where_nothing_may_be_acted_on_posts_can_still_go_to_review():
    said = decide(manifest(threshold=None, review_threshold=0.7), SCORES)
    assert said.decision.tolist() == ["leave", "leave", "review", "review"]


def test_each_segment_has_its_threshold_and_an_unknown_one_has_the_bundles():
    rule = {"segment_column": "surface", "segment_thresholds": {"chat": 0.5, "bio": None}}
    said = decide(manifest(**rule), np.full(4, 0.6), segments=["chat", "bio", "ads", None])
    assert said.decision.tolist() == ["flagged", "leave", "leave", "leave"]
    np.testing.assert_array_equal(said.threshold, [0.5, np.nan, 0.7, 0.7])
    assert decide(manifest(**rule), np.full(1, 0.6)).decision.tolist() == ["leave"]


def test_posts_without_a_segment_are_a_segment_of_their_own_where_evaluation_saw_some():
    rule = {"segment_column": "surface", "segment_thresholds": {"(none)": 0.5}}
    said = decide(manifest(**rule), np.full(3, 0.6), segments=[None, float("nan"), "chat"])
    assert said.decision.tolist() == ["flagged", "flagged", "leave"]


@pytest.mark.parametrize(
    ("value", "name"), [(3, "3"), (3.0, "3"), (2.5, "2.5"), ("3", "3"), (np.float64(3), "3")]
)
def test_a_segment_has_one_name_whatever_type_its_cell_has(value, name):
    assert segment_name(value) == name


def test_classes_are_named_by_their_own_thresholds_and_do_not_move_the_decision():
    target = Target(kind="multiclass", outputs=("fine", "rude", "hate"), violating=("rude", "hate"))
    outputs = np.array([[0.1, 0.3, 0.6], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0]])
    given_rule = manifest(target=target, class_thresholds={"rude": None, "hate": 0.6})
    said = decide(given_rule, outputs[:, 1:].sum(axis=1), outputs)
    assert said.classes.tolist() == [[False, False, True], [False] * 3, [False] * 3]
    assert said.decision.tolist() == ["flagged", "flagged", "leave"]


def test_clients_are_told_the_lasting_scale_before_the_probability():
    both = DecisionRule(calibration=CALIBRATION, scale=SCALE)
    np.testing.assert_allclose(answered_scores(both, SCORES), 0.2 + 0.8 * SCORES)
    np.testing.assert_allclose(
        decide(manifest(calibration=CALIBRATION), SCORES).answered_score, SCORES / 2
    )
    np.testing.assert_array_equal(decide(manifest(), SCORES).answered_score, SCORES)


def test_no_rows_have_no_decisions():
    said = decide(manifest(segment_thresholds={"chat": 0.5}), np.zeros(0), segments=[])
    assert said.decision.size == said.threshold.size == 0


CUTS = st.none() | st.floats(0, 1)


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    threshold=st.floats(0, 1),
    review=CUTS,
    chat=CUTS,
    seed=st.integers(0, 99),
)
def test_a_higher_score_in_a_segment_is_never_treated_milder_in_any_order_of_rows(
    scores, threshold, review, chat, seed
):
    score = np.array(scores)
    segments = np.where(np.arange(score.size) % 2, "chat", "ads").astype(object)
    rule = manifest(threshold, review_threshold=review, segment_thresholds={"chat": chat})
    said = decide(rule, score, segments=segments)
    shuffled = np.random.default_rng(seed).permutation(score.size)
    again = decide(rule, score[shuffled], segments=segments[shuffled])
    np.testing.assert_array_equal(again.decision, said.decision[shuffled])
    severity = np.select([said.decision == "flagged", said.decision == "review"], [2, 1], 0)
    for segment in ("chat", "ads"):
        own = segments == segment
        rising = severity[own][np.argsort(score[own], kind="stable")]
        assert (np.diff(rising) >= 0).all()
