"""What each objective promises, simulated on populations whose every rate is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import CostConfig, PolicyConfig
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.ranking import rank
from tidegate.evaluation.review import review_band
from tidegate.evaluation.segments import choose_by_segment

COSTS = CostConfig(wrong_removal=4.0, missed_violation=1.0, appeal=2.0, appeal_share=0.25)


def drawn(rng, rows, prevalence=0.2):
    """Violating scores are u ** 0.2, harmless ones 1 - u ** 0.25: every rate is a formula."""
    label = (rng.random(rows) < prevalence).astype(float)
    u = rng.random(rows)
    return np.where(label == 1, u**0.2, 1 - u**0.25), label, np.ones(rows)


def recall(cut):
    return 1 - np.clip(cut, 0, 1) ** 5


def fpr(cut):
    return (1 - np.clip(cut, 0, 1)) ** 4


def policy(**changes):
    return PolicyConfig.model_validate(changes)


OBJECTIVES = {
    "max_precision": (policy(objective="max_precision", min_recall=0.9), recall, 1),
    "max_fpr": (policy(objective="max_fpr", max_fpr=0.02), fpr, -1),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_rate_of_one_class_is_promised_at_its_level_and_not_far_above(name):
    wanted, rate, sign = OBJECTIVES[name]
    limit = wanted.min_recall or wanted.max_fpr
    rng = np.random.default_rng(1)
    kept = []
    for _ in range(600):
        threshold = choose(drawn(rng, 1500), wanted).threshold
        kept.append(sign * rate(threshold.value) >= sign * limit)
    error = np.sqrt(0.05 * 0.95 / 600)
    assert np.mean(kept) >= 0.95 - 2 * error
    # An order statistic, tested once: nothing is paid for trying several.
    assert np.mean(kept) <= 0.985 + 2 * error


def test_a_recall_floor_takes_the_highest_threshold_that_keeps_it():
    rows = drawn(np.random.default_rng(2), 2000)
    high, low = (
        choose(rows, policy(objective="max_precision", min_recall=floor)).threshold
        for floor in (0.7, 0.95)
    )
    assert high.value > low.value
    assert high.precision > low.precision
    assert high.recall >= high.promised_bound >= 0.7


def test_too_few_rows_of_the_class_are_told_with_the_number_needed():
    rows = drawn(np.random.default_rng(3), 60)
    choice = choose(rows, policy(objective="max_precision", min_recall=0.9))
    assert choice.threshold is None
    assert choice.needed == 29 > choice.have
    choice = choose(rows, policy(objective="max_fpr", max_fpr=0.01))
    assert choice.threshold is None
    assert choice.needed == 299 > choice.have


def true_cost(cut, prevalence):
    return prevalence * (1 - recall(cut)) + (1 - prevalence) * COSTS.wrong_flag * fpr(cut)


@pytest.mark.parametrize("stated", [None, 0.2])
def test_the_cost_bound_survives_the_choice_of_the_cheapest_threshold(stated):
    wanted = policy(objective="min_cost", costs=COSTS, prevalence=stated)
    rng = np.random.default_rng(4)
    kept, found = [], 0
    for _ in range(300):
        threshold = choose(drawn(rng, 3000), wanted).threshold
        found += threshold is not None
        kept.append(
            threshold is None or true_cost(threshold.value, 0.2) <= threshold.promised_bound
        )
    assert found > 290
    assert np.mean(kept) >= 0.95
    best = min(true_cost(cut, 0.2) for cut in np.linspace(0, 1, 1001))
    assert true_cost(threshold.value, 0.2) <= best * 1.1


def test_no_threshold_is_chosen_where_acting_is_not_shown_to_be_cheaper():
    rng = np.random.default_rng(5)
    score, label, weight = rng.random(2000), (rng.random(2000) < 0.1).astype(float), np.ones(2000)
    assert (
        choose((score, label, weight), policy(objective="min_cost", costs=COSTS)).threshold is None
    )


def test_the_costs_of_a_wrong_flag_include_its_appeal():
    costs = CostConfig(
        wrong_removal=1, missed_violation=1, appeal=2, appeal_share=0.5, review_minute=3
    )
    assert costs.wrong_flag == 1 + 0.5 * (2 + 3)


# --- refusals --------------------------------------------------------------------------------


def test_a_refusal_says_how_many_rows_would_settle_it_and_they_do():
    rng = np.random.default_rng(6)

    def rows(count):
        score = rng.random(count)
        return score, (rng.random(count) < np.where(score > 0.7, 0.93, 0.1)).astype(float), None

    def asked(count):
        score, label, _ = rows(count)
        return choose((score, label, np.ones(count)), policy(min_precision=0.9))

    needed = [c.best.rows_needed for c in (asked(250) for _ in range(60)) if c.threshold is None]
    assert len(needed) > 20
    typical = int(np.median([n for n in needed if n is not None]))
    passed = np.mean([asked(typical).threshold is not None for _ in range(60)])
    assert passed > 0.4
    assert np.mean([asked(4 * typical).threshold is not None for _ in range(30)]) > 0.9


def test_a_model_that_never_reaches_the_floor_is_not_sent_for_more_rows():
    rng = np.random.default_rng(7)
    rows = rng.random(3000), (rng.random(3000) < 0.3).astype(float), np.ones(3000)
    assert choose(rows, policy()).best.rows_needed is None


# --- review ----------------------------------------------------------------------------------


@pytest.mark.parametrize("production", [None, 0.05])
def test_the_reviews_fit_into_the_capacity_in_at_least_the_stated_share_of_samples(production):
    rng = np.random.default_rng(8)
    share = 0.2 if production is None else production
    kept, low = [], []
    for _ in range(400):
        band = review_band(
            drawn(rng, 1500),
            0.9,
            posts_per_day=10_000,
            capacity=800,
            confidence=0.95,
            prevalence=production,
        )
        inside = share * (recall(band.threshold) - recall(0.9))
        inside += (1 - share) * (fpr(band.threshold) - fpr(0.9))
        kept.append(10_000 * inside <= 800)
        low.append(band.threshold)
        assert band.reviews_per_day <= band.reviews_per_day_upper_bound <= 800
    assert np.mean(kept) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(low) < 0.9


def test_more_reviewers_reach_further_down_and_catch_more():
    rows = drawn(np.random.default_rng(9), 3000)
    few, many = (
        review_band(rows, 0.9, posts_per_day=1000, capacity=c, confidence=0.95) for c in (30, 300)
    )
    assert many.threshold < few.threshold < 0.9
    assert many.recall_with_review > few.recall_with_review


def test_without_a_threshold_to_act_on_everything_flagged_goes_to_review():
    rows = drawn(np.random.default_rng(10), 2000)
    band = review_band(rows, None, posts_per_day=1000, capacity=100, confidence=0.95)
    assert band.act_threshold is None
    assert np.mean(rows[0] >= band.threshold) <= 0.1


# --- segments --------------------------------------------------------------------------------


def test_all_segments_promises_are_kept_together():
    rng = np.random.default_rng(11)
    wanted = policy(min_precision=0.8)
    broken = 0
    for _ in range(300):
        score, label, weight = drawn(rng, 3000)
        segment = np.array(["chat", "posts", "bio"])[rng.integers(0, 3, 3000)]
        for found in choose_by_segment((score, label, weight), segment, wanted):
            cut = 1.0 if found.threshold is None else found.threshold.value
            right, wrong = 0.2 * recall(cut), 0.8 * fpr(cut)
            if found.threshold is not None and right / (right + wrong) < 0.8:
                broken += 1
                break
    assert broken / 300 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_a_segment_with_nothing_left_to_test_passes_its_risk_on():
    rng = np.random.default_rng(12)
    score, label, weight = drawn(rng, 2000)
    easy = np.arange(2000) < 400
    label[easy] = 1.0
    segment = np.where(easy, "easy", "hard")
    easy_one, hard_one = choose_by_segment((score, label, weight), segment, policy())
    assert easy_one.threshold.flagged == 400
    assert easy_one.risk == pytest.approx(0.025)
    assert hard_one.risk == pytest.approx(0.05)


def test_rows_without_a_segment_are_one_of_their_own():
    rows = drawn(np.random.default_rng(13), 1000)
    found = choose_by_segment(rows, [None, "a"] * 500, policy())
    assert [one.segment for one in found] == ["(none)", "a"]


# --- the whole evaluation --------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "max_precision", "min_recall": 0.8},
        {"objective": "max_fpr", "max_fpr": 0.05},
        {"objective": "min_cost", "costs": COSTS.model_dump()},
        {"posts_per_day": 1000, "review_capacity": 50, "segments": "surface"},
    ],
)
def test_evaluation_chooses_by_the_policys_objective_and_says_so(changes):
    rng = np.random.default_rng(14)

    def table(count):
        score, label, weight = drawn(rng, count)
        return pd.DataFrame(
            {
                "id": np.arange(count),
                "label": label.astype(int),
                "weight": weight,
                "score": score,
                "surface": np.where(np.arange(count) % 2, "chat", "posts"),
            }
        )

    validation, holdout = table(2000), table(2000)
    report = evaluate(
        validation,
        holdout,
        baseline=Baseline("benchmark model", "benchmark_model", 0.5, holdout),
        policy=policy(min_precision=0.8, **changes),
        groups=(),
        name="a",
        algorithm="logistic",
        prevalence={"validation": 0.2},
    )
    assert report.decision == "promote"
    chosen = report.validation_threshold
    assert chosen.objective == changes.get("objective", "max_recall")
    told = " ".join(report.reasons)
    if "objective" in changes:
        words = {"max_precision": "a recall", "max_fpr": "a false-positive rate"}
        assert words.get(changes["objective"], "a cost below that of doing nothing") in told
        assert report.review is None
    else:
        assert report.review.threshold < report.threshold
        assert [one.segment for one in report.segments] == ["chat", "posts"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "max_fpr"}, "max_fpr is not set"),
        ({"objective": "min_cost"}, "costs is not set"),
        ({"review_capacity": 5}, "needs posts_per_day"),
    ],
)
def test_an_objective_without_its_number_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        policy(**changes)


# --- what always holds -----------------------------------------------------------------------

EVERY = [
    {"objective": "max_precision", "min_recall": 0.7},
    {"objective": "max_fpr", "max_fpr": 0.1},
    {"objective": "min_cost", "costs": COSTS.model_dump()},
    {"min_precision": 0.6},
]


@st.composite
def scored_rows(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([4, 30, 10_000]))
    score, label, weight = drawn(rng, draw(st.integers(60, 400)), prevalence=0.4)
    return np.round(score * levels) / levels, label, weight


@settings(max_examples=60, deadline=None)
@given(scored_rows(), st.sampled_from(EVERY), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, changes, random):
    order = np.array(random.sample(range(rows[0].size), rows[0].size))
    shuffled = choose(tuple(part[order] for part in rows), policy(**changes))
    assert shuffled == choose(rows, policy(**changes))


@settings(max_examples=60, deadline=None)
@given(scored_rows(), st.sampled_from(EVERY), st.sampled_from([np.exp, lambda s: 50 * s - 3]))
def test_an_increasing_change_of_scale_flags_the_same_rows(rows, changes, change):
    score, label, weight = rows
    before = choose(rows, policy(**changes)).threshold
    after = choose((change(score), label, weight), policy(**changes)).threshold
    assert (before is None) == (after is None)
    if before is not None:
        assert np.array_equal(score >= before.value, change(score) >= after.value)


@settings(max_examples=60, deadline=None)
@given(scored_rows(), st.sampled_from(EVERY), st.sampled_from([0.2, 7.0]))
def test_equal_weights_are_no_weights(rows, changes, weight):
    score, label, ones = rows
    assert choose((score, label, weight * ones), policy(**changes)) == choose(
        rows, policy(**changes)
    )


@settings(max_examples=60, deadline=None)
@given(scored_rows(), st.integers(0, 2**32 - 1))
def test_rows_of_weight_zero_are_no_rows_and_integer_weights_count_as_repetition(rows, seed):
    score, label, _ = rows
    times = np.random.default_rng(seed).integers(0, 4, score.size)
    weighted = rank(score, label, times.astype(float))
    repeated = rank(np.repeat(score, times), np.repeat(label, times))
    cuts = repeated.grid(1)
    unit = times.max()
    assert weighted.mass(cuts) * unit == pytest.approx(repeated.mass(cuts))
    assert weighted.hits(cuts) * unit == pytest.approx(repeated.hits(cuts))
    assert weighted.prevalence == pytest.approx(repeated.prevalence)


LADDERS = {
    "min_recall": ("max_precision", (0.5, 0.7, 0.9)),
    "max_fpr": ("max_fpr", (0.02, 0.1, 0.3)),
}


@settings(max_examples=60, deadline=None)
@given(scored_rows(), st.sampled_from(sorted(LADDERS)))
def test_a_higher_limit_never_raises_the_threshold(rows, key):
    objective, limits = LADDERS[key]
    found = [
        choose(rows, policy(objective=objective, **{key: limit})).threshold for limit in limits
    ]
    values = [threshold.value for threshold in found if threshold is not None]
    assert values == sorted(values, reverse=True)
