"""Promote, hold or insufficient data: the rules, one by one, and their sentences."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import PolicyConfig
from tidegate.errors import BadInput
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.decision import Evidence, decide, percent, span
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.measurement import Measurement, confusion, measure, roc_points
from tidegate.records import (
    BaselineComparison,
    Difference,
    EvaluationReport,
    FairnessGap,
    FairnessReport,
    OperatingPoint,
    Threshold,
)

POLICY = PolicyConfig(min_precision=0.9, confidence=0.95)
THRESHOLD = Threshold(
    value=0.8,
    min_precision=0.9,
    confidence=0.95,
    precision=0.94,
    precision_lower_bound=0.905,
    recall=0.5,
    flagged=300,
)


def measured(precision=0.93, lower=0.905, upper=0.95):
    return Measurement(
        flagged=310,
        precision=precision,
        precision_lower_bound=lower,
        precision_upper_bound=upper,
        recall=0.48,
        recall_ci=(0.44, 0.52),
    )


def compared(low, high):
    middle = (low + high) / 2
    difference = Difference(
        candidate=0.8 + middle, baseline=0.8, difference=middle, difference_ci=(low, high)
    )
    return BaselineComparison(
        name="logistic",
        kind="benchmark_model",
        threshold=0.7,
        rows=2000,
        differences={"average_precision": difference},
    )


def gap(verdict, interval=(0.08, 0.3)):
    return FairnessGap(
        column="lang",
        metric="fpr",
        highest="de",
        lowest="en",
        gap=0.19,
        gap_ci=interval,
        limit=0.05,
        verdict=verdict,
    )


def evidence(**changes):
    found = {
        "threshold": THRESHOLD,
        "best": None,
        "violating": 600.0,
        "needed": 29,
        "validation_prevalence": 0.3,
        "holdout": measured(),
        "fairness": FairnessReport(verdict="not_assessed"),
        "comparison": compared(0.01, 0.03),
    }
    return Evidence(**{**found, **changes})


def test_a_candidate_that_breaks_no_rule_is_promoted_with_reasons():
    decision = decide(evidence(), POLICY)
    assert decision.decision == "promote"
    assert len(decision.reasons) == 4
    assert "at least 90.5 % with 95 % confidence; the policy demands 90 %" in decision.reasons[0]
    assert "Recall is 48 % (44 to 52 %)" in decision.reasons[1]
    assert all(reason.endswith(".") for reason in decision.reasons)


def test_without_a_threshold_it_is_held_with_the_best_reachable_point():
    best = OperatingPoint(
        threshold=0.97, precision=0.88, precision_lower_bound=0.82, recall=0.1, flagged=81
    )
    decision = decide(evidence(threshold=None, best=best, holdout=None), POLICY)
    assert decision.decision == "hold"
    assert (
        "threshold 0.9700: 81 rows flagged, precision 88 % (at least 82 %)" in (decision.reasons[0])
    )


def test_too_few_violating_rows_are_told_from_a_bad_model():
    decision = decide(evidence(threshold=None, violating=28.0, holdout=None), POLICY)
    assert decision.decision == "insufficient_data"
    assert "28 violating rows" in decision.reasons[0]
    assert "needs 29" in decision.reasons[0]


def test_a_floor_of_one_asks_for_what_no_data_can_show():
    decision = decide(evidence(threshold=None, needed=None, holdout=None), POLICY)
    assert decision.decision == "insufficient_data"
    assert "min_precision below 1" in decision.reasons[0]


def test_a_holdout_that_shows_precision_below_the_floor_holds():
    decision = decide(evidence(holdout=measured(0.8, 0.76, 0.84)), POLICY)
    assert decision.decision == "hold"
    assert "at most 84 % with 95 % confidence; the policy demands 90 %" in decision.reasons[0]


def test_a_holdout_that_is_merely_unsure_does_not_hold():
    decision = decide(evidence(holdout=measured(0.89, 0.86, 0.92)), POLICY)
    assert decision.decision == "promote"
    assert "does not refute" in decision.reasons[1]


def test_a_threshold_that_flags_nothing_on_the_holdout_holds():
    nothing = Measurement(0, None, None, None, 0.0, (0.0, 0.1))
    assert decide(evidence(holdout=nothing), POLICY).decision == "hold"


def test_a_gap_beyond_the_limit_holds_and_stands_first():
    report = FairnessReport(verdict="fail", gaps=(gap("fail"),))
    decision = decide(evidence(fairness=report), POLICY)
    assert decision.decision == "hold"
    assert "19 points between de (highest) and en (lowest)" in decision.reasons[0]
    assert "policy.max_fpr_gap allows 5 points" in decision.reasons[0]


@pytest.mark.parametrize(
    ("rule", "outcome"), [("block", "insufficient_data"), ("allow", "promote")]
)
def test_unsettled_fairness_blocks_only_where_the_policy_says_so(rule, outcome):
    report = FairnessReport(
        verdict="insufficient_data", gaps=(gap("insufficient_data", (0.0, 0.3)),)
    )
    policy = POLICY.model_copy(update={"insufficient_fairness": rule})
    decision = decide(evidence(fairness=report), policy)
    assert decision.decision == outcome
    assert any(f"insufficient_fairness: {rule}" in reason for reason in decision.reasons)


def test_too_few_judged_groups_are_told_with_the_rule():
    report = FairnessReport(verdict="insufficient_data")
    reasons = decide(evidence(fairness=report), POLICY).reasons
    assert "policy.min_group_rows (50)" in reasons[0]


@pytest.mark.parametrize(
    ("interval", "outcome", "words"),
    [
        ((-0.05, -0.01), "hold", "below that of the benchmark model"),
        ((-0.05, 0.01), "promote", "not shown to differ from that of the benchmark model"),
        ((0.01, 0.02), "promote", "above that of the benchmark model"),
    ],
)
def test_only_a_candidate_shown_to_be_worse_than_the_baseline_is_held(interval, outcome, words):
    decision = decide(evidence(comparison=compared(*interval)), POLICY)
    assert decision.decision == outcome
    assert any(words in reason for reason in decision.reasons)


def test_a_hold_outweighs_insufficient_data():
    report = FairnessReport(verdict="insufficient_data")
    decision = decide(evidence(fairness=report, comparison=compared(-0.05, -0.01)), POLICY)
    assert decision.decision == "hold"
    assert "benchmark model" in decision.reasons[0]


def test_a_stated_prevalence_is_said():
    decision = decide(evidence(), POLICY.model_copy(update={"prevalence": 0.02}))
    assert (
        "2 % of the rows violate (policy.prevalence); in validation 30 % do"
        in (decision.reasons[-1])
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9, "90 %"), (0.905, "90.5 %"), (1.0, "100 %"), (0.9971, "99.71 %"), (0.0042, "0.42 %")],
)
def test_shares_are_written_with_the_digits_that_matter(share, text):
    assert percent(share) == text


def test_an_interval_names_its_unit_once():
    assert span((0.441, 0.52)) == "44.1 to 52 %"


# --- from two scored tables ------------------------------------------------------------------


def scored(rows, seed, strength=6.0, prevalence=0.3):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < prevalence).astype(int)
    scores = 1 / (1 + np.exp(-(strength * (labels - 0.5) + rng.normal(size=rows))))
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "label": labels,
            "weight": 1.0,
            "score": scores,
            "lang": np.where(rng.random(rows) < 0.5, "en", "de"),
        }
    )


def evaluated(validation, holdout, *, groups=("lang",), baseline=None, **policy):
    if baseline is None:
        baseline = Baseline("logistic", "benchmark_model", 0.5, holdout)
    return evaluate(
        validation,
        holdout,
        baseline=baseline,
        policy=PolicyConfig(**policy),
        groups=groups,
        name="comments",
        algorithm="xgboost",
        prevalence={"train": 0.3, "validation": 0.3, "holdout": 0.3},
    )


def test_a_good_model_on_enough_rows_is_promoted_and_the_report_survives_json():
    report = evaluated(
        scored(8000, 0, strength=4.0), scored(8000, 1, strength=4.0), min_precision=0.95
    )
    assert report.decision == "promote"
    assert report.threshold == report.validation_threshold.value
    assert report.precision_lower_bound >= 0.94
    assert report.recall_ci[0] < report.recall < report.recall_ci[1]
    assert EvaluationReport.model_validate_json(report.model_dump_json()) == report


def test_a_guessing_model_is_held_with_its_best_point():
    report = evaluated(scored(2000, 0, strength=0.0), scored(2000, 1, strength=0.0))
    assert report.decision == "hold"
    assert report.threshold is None
    assert report.precision is None
    assert report.best_reachable.precision < 0.9


def test_twenty_violating_rows_are_insufficient_data():
    report = evaluated(scored(100, 0, prevalence=0.2), scored(2000, 1))
    assert report.decision == "insufficient_data"


def test_the_stated_prevalence_moves_the_threshold_up():
    validation, holdout = scored(4000, 0, strength=4.0), scored(4000, 1, strength=4.0)
    here = evaluated(validation, holdout, min_precision=0.8)
    rare = evaluated(validation, holdout, min_precision=0.8, prevalence=0.1)
    assert rare.threshold > here.threshold
    assert rare.precision < measure(holdout, rare.threshold, confidence=0.95).precision


def test_a_missing_group_column_and_a_one_class_holdout_are_refused():
    with pytest.raises(BadInput, match="no column 'country'"):
        evaluated(scored(200, 0), scored(200, 1), groups=("country",))
    with pytest.raises(BadInput, match="only label 1"):
        evaluated(scored(200, 0), scored(200, 1).assign(label=1))


def test_confusion_counts_rows():
    frame = pd.DataFrame({"label": [0, 0, 1, 1, 1], "score": [0.1, 0.9, 0.2, 0.8, 0.9]})
    assert confusion(frame, 0.8) == ((1, 1), (1, 2))


def test_roc_points_run_from_nothing_to_everything_and_are_few():
    points = roc_points(scored(5000, 0), max_points=200)
    assert len(points) == 200
    assert points[0][:2] == (0, 0)
    assert points[-1][:2] == (1, 1)
    assert all(np.diff([p[0] for p in points]) >= 0)
    assert all(np.diff([p[2] for p in points]) < 0)


@pytest.mark.parametrize(
    ("interval", "margin", "decision", "words"),
    [
        ((-0.03, -0.001), None, "hold", "below that of"),
        ((-0.03, -0.001), 0.04, "promote", "by less than policy.non_inferiority_margin"),
        ((-0.03, -0.001), 0.02, "insufficient_data", "cannot show that average precision keeps up"),
        ((-0.03, -0.021), 0.02, "hold", "falls short of"),
        ((-0.01, 0.03), 0.02, "promote", "not shown to differ from"),
        ((-0.01, 0.03), 0.0, "insufficient_data", "allows a loss of 0.000"),
        ((0.01, 0.03), 0.0, "promote", "above"),
    ],
)
def test_a_margin_turns_the_burden_of_proof(interval, margin, decision, words):
    policy = POLICY.model_copy(update={"non_inferiority_margin": margin})
    found = decide(evidence(comparison=compared(*interval)), policy)
    assert found.decision == decision
    assert any(words in reason for reason in found.reasons)


def test_a_further_limit_is_named_by_its_own_key():
    far = gap("fail").model_copy(update={"metric": "fnr", "limit": 0.1})
    found = decide(evidence(fairness=FairnessReport(verdict="fail", gaps=(far,))), POLICY)
    assert found.decision == "hold"
    assert "False-negative rates" in found.reasons[0]
    assert "policy.max_gaps.fnr allows 10 points" in found.reasons[0]


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (3100, "About 3,100 rows labelled for validation, 1,178 more than now"),
        (None, "cannot help"),
    ],
)
def test_a_refusal_says_whether_more_rows_would_settle_it(needed, words):
    best = OperatingPoint(
        threshold=0.97,
        precision=0.92,
        precision_lower_bound=0.89,
        recall=0.1,
        flagged=81,
        rows=1922,
        rows_needed=needed,
    )
    reasons = decide(evidence(threshold=None, best=best, holdout=None), POLICY).reasons
    assert words in reasons[0]
