"""Groups are judged only as far as the data can tell."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from tidegate.config import PolicyConfig
from tidegate.evaluation.fairness import NO_GROUP, audit
from tidegate.evaluation.intervals import pair_differences, wilson, wilson_bounds

POLICY = PolicyConfig(min_group_rows=50, max_fpr_gap=0.05, confidence=0.95)


def group_rows(name, *, harmless, flagged_harmless, violating=40, caught=30):
    """One group with given counts; the threshold is 0.5."""
    scores = np.r_[
        np.full(flagged_harmless, 0.9),
        np.full(harmless - flagged_harmless, 0.1),
        np.full(caught, 0.8),
        np.full(violating - caught, 0.2),
    ]
    labels = np.r_[np.zeros(harmless), np.ones(violating)].astype(int)
    return pd.DataFrame({"label": labels, "score": scores, "lang": [name] * labels.size})


def audited(*frames, groups=("lang",), threshold=0.5, policy=POLICY):
    frame = pd.concat(frames, ignore_index=True)
    return audit(frame, groups=groups, threshold=threshold, policy=policy)


def fpr_gap(report):
    return next(gap for gap in report.gaps if gap.metric == "fpr")


def test_the_rates_of_a_group_are_its_counts():
    metrics, _ = audited(group_rows("en", harmless=200, flagged_harmless=20))
    (english,) = metrics
    assert (english.n, english.violating) == (240, 40)
    assert english.fpr == pytest.approx(20 / 200)
    assert english.recall == pytest.approx(30 / 40)
    assert english.fnr == pytest.approx(10 / 40)
    assert english.precision == pytest.approx(30 / 50)
    assert english.fpr_ci == wilson(20, 200, 0.95)


def test_a_gap_shown_to_be_beyond_the_limit_fails():
    _, report = audited(
        group_rows("en", harmless=2000, flagged_harmless=20),
        group_rows("de", harmless=2000, flagged_harmless=400),
    )
    gap = fpr_gap(report)
    assert report.verdict == gap.verdict == "fail"
    assert (gap.highest, gap.lowest) == ("de", "en")
    assert gap.gap == pytest.approx(0.19)
    assert gap.gap_ci[0] > 0.05


def test_a_gap_shown_to_be_within_the_limit_passes():
    _, report = audited(
        group_rows("en", harmless=5000, flagged_harmless=100),
        group_rows("de", harmless=5000, flagged_harmless=110),
    )
    assert report.verdict == fpr_gap(report).verdict == "pass"


def test_a_gap_that_straddles_the_limit_is_not_settled():
    _, report = audited(
        group_rows("en", harmless=100, flagged_harmless=3),
        group_rows("de", harmless=100, flagged_harmless=7),
    )
    assert report.verdict == fpr_gap(report).verdict == "insufficient_data"


def test_only_the_false_positive_rate_has_a_limit_unless_the_policy_sets_others():
    _, report = audited(
        group_rows("en", harmless=500, flagged_harmless=5),
        group_rows("de", harmless=500, flagged_harmless=5, caught=2),
    )
    others = [gap for gap in report.gaps if gap.metric != "fpr"]
    assert {gap.metric for gap in others} == {"fnr", "precision", "selection_rate", "calibration"}
    assert {(gap.verdict, gap.limit) for gap in others} == {("reported", None)}


def test_a_further_limit_is_judged_like_the_first():
    policy = POLICY.model_copy(update={"max_gaps": {"fnr": 0.1}})
    _, report = audited(
        group_rows("en", harmless=5000, flagged_harmless=50, violating=800, caught=700),
        group_rows("de", harmless=5000, flagged_harmless=50, violating=800, caught=100),
        policy=policy,
    )
    verdicts = {gap.metric: gap.verdict for gap in report.gaps}
    assert (verdicts["fpr"], verdicts["fnr"], report.verdict) == ("pass", "fail", "fail")


def test_every_pair_of_judged_groups_is_compared():
    _, report = audited(
        group_rows("en", harmless=2000, flagged_harmless=20),
        group_rows("de", harmless=2000, flagged_harmless=400),
        group_rows("fr", harmless=2000, flagged_harmless=30),
    )
    pairs = {frozenset((p.first, p.second)): p for p in report.pairs if p.metric == "fpr"}
    assert {key: pair.verdict for key, pair in pairs.items()} == {
        frozenset(("en", "de")): "fail",
        frozenset(("fr", "de")): "fail",
        frozenset(("en", "fr")): "pass",
    }
    widest = max(pairs.values(), key=lambda pair: abs(pair.difference))
    assert abs(widest.difference) == pytest.approx(fpr_gap(report).gap)
    assert widest.size_ci[1] == fpr_gap(report).gap_ci[1]


def test_the_counts_are_those_of_fairlearn():
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "label": rng.integers(0, 2, 900),
            "score": rng.random(900),
            "lang": rng.choice(["en", "de", "fr"], 900),
        }
    )
    metrics, _ = audit(frame, groups=["lang"], threshold=0.5, policy=POLICY)
    theirs = MetricFrame(
        metrics={"fpr": false_positive_rate, "selection_rate": selection_rate},
        y_true=frame["label"],
        y_pred=(frame["score"] >= 0.5).astype(int),
        sensitive_features=frame["lang"],
    ).by_group
    for group in metrics:
        assert group.fpr == pytest.approx(theirs.loc[group.group, "fpr"])
        assert group.selection_rate == pytest.approx(theirs.loc[group.group, "selection_rate"])


def test_calibration_is_the_mean_score_less_the_share_that_violates():
    metrics, _ = audited(group_rows("en", harmless=60, flagged_harmless=6))
    (english,) = metrics
    assert english.mean_score == pytest.approx((6 * 0.9 + 54 * 0.1 + 30 * 0.8 + 10 * 0.2) / 100)
    assert english.calibration == pytest.approx(english.mean_score - 0.4)
    low, high = english.calibration_ci
    assert low < english.calibration < high


def test_a_group_without_violating_rows_is_not_taken_for_calibrated_beyond_doubt():
    few = pd.DataFrame({"label": 0, "score": 0.1, "lang": ["en"] * 60})
    (english,), _ = audit(few, groups=["lang"], threshold=0.5, policy=POLICY)
    assert english.calibration_ci[0] < 0.05
    assert english.calibration_ci[1] > 0.15


def test_more_columns_make_it_harder_to_fail_not_to_pass():
    def interval(groups):
        frame = pd.concat(
            [
                group_rows("en", harmless=900, flagged_harmless=20),
                group_rows("de", harmless=900, flagged_harmless=120),
            ],
            ignore_index=True,
        )
        frame["again"] = frame["lang"]
        return fpr_gap(audit(frame, groups=groups, threshold=0.5, policy=POLICY)[1]).gap_ci

    (low, high), (low_of_two, high_of_two) = interval(["lang"]), interval(["lang", "again"])
    assert low_of_two < low
    assert high_of_two == high


def test_of_many_groups_the_widest_pairs_are_listed_and_all_are_judged():
    frames = [group_rows(f"g{i:02d}", harmless=300, flagged_harmless=5 + i) for i in range(20)]
    _, report = audited(*frames)
    fpr = [pair for pair in report.pairs if pair.metric == "fpr"]
    assert len(fpr) == 100
    assert {"g00", "g19"} in [{pair.first, pair.second} for pair in fpr]
    assert any("of 190 pairs" in note for note in report.notes)


def test_names_of_other_types_are_groups_too():
    frame = pd.DataFrame(
        {"label": [1, 0, 1, 0], "score": [0.9, 0.9, 0.1, 0.1], "age": [18, 18, 40, None]}
    )
    metrics, _ = audit(frame, groups=["age"], threshold=0.5, policy=POLICY)
    assert {m.group: m.n for m in metrics} == {"18.0": 2, "40.0": 1, NO_GROUP: 1}


def test_a_small_group_is_reported_and_not_judged():
    metrics, report = audited(
        group_rows("en", harmless=5000, flagged_harmless=100),
        group_rows("de", harmless=5000, flagged_harmless=100),
        group_rows("eo", harmless=10, flagged_harmless=10, violating=2, caught=2),
    )
    assert [m.too_small for m in metrics] == [False, False, True]
    assert report.verdict == "pass"
    assert any("eo" in note and "min_group_rows" in note for note in report.notes)


def test_fewer_than_two_judged_groups_settle_nothing():
    _, report = audited(
        group_rows("en", harmless=5000, flagged_harmless=100),
        group_rows("eo", harmless=10, flagged_harmless=1, violating=2, caught=1),
    )
    assert report.verdict == "insufficient_data"


def test_rows_without_a_group_are_shown_and_not_judged():
    metrics, report = audited(
        group_rows("en", harmless=5000, flagged_harmless=100),
        group_rows("de", harmless=5000, flagged_harmless=100),
        group_rows(None, harmless=1000, flagged_harmless=900),
        group_rows(float("nan"), harmless=1000, flagged_harmless=900),
    )
    assert metrics[-1].group == NO_GROUP
    assert metrics[-1].n == 2080
    assert report.verdict == "pass"


def test_a_row_belongs_to_every_group_it_names_once():
    frame = pd.DataFrame(
        {
            "label": [1, 0, 1, 0],
            "score": [0.9, 0.9, 0.1, 0.1],
            "target": [["a", "b", "a"], np.array(["a"], dtype=object), [], None],
        }
    )
    metrics, _ = audit(frame, groups=["target"], threshold=0.5, policy=POLICY)
    assert {m.group: m.n for m in metrics} == {"a": 2, "b": 1, NO_GROUP: 2}


def test_without_harmless_rows_there_is_no_false_positive_rate():
    metrics, report = audited(
        group_rows("en", harmless=100, flagged_harmless=3),
        group_rows("de", harmless=0, flagged_harmless=0, violating=90, caught=60),
    )
    german = next(m for m in metrics if m.group == "de")
    assert german.fpr is None
    assert german.fpr_ci is None
    assert report.verdict == "insufficient_data"
    assert any("no harmless rows in de" in note for note in report.notes)


def test_without_groups_or_threshold_nothing_is_assessed():
    frame = group_rows("en", harmless=100, flagged_harmless=3)
    assert audited(frame, groups=())[1].verdict == "not_assessed"
    metrics, report = audited(frame, threshold=None)
    assert report.verdict == "not_assessed"
    assert metrics[0].n == 140
    assert metrics[0].fpr is None


def test_one_failed_column_fails_the_audit():
    even = pd.concat(
        [
            group_rows("en", harmless=3000, flagged_harmless=60),
            group_rows("de", harmless=3000, flagged_harmless=600),
        ],
        ignore_index=True,
    )
    even["half"] = np.where(np.arange(len(even)) % 2 == 0, "even", "odd")
    _, report = audit(even, groups=["half", "lang"], threshold=0.5, policy=POLICY)
    assert {g.column: g.verdict for g in report.gaps if g.metric == "fpr"} == {
        "half": "pass",
        "lang": "fail",
    }
    assert report.verdict == "fail"


# --- the interval of the largest difference --------------------------------------------------


def largest_difference(hits, rows, confidence):
    found = pair_differences(
        hits / rows, lambda level: wilson_bounds(hits, rows, level), confidence
    )
    return found.at_least.max(), min(1.0, found.at_most.max())


def test_two_groups_get_newcombes_interval():
    # Newcombe 1998, table II, example (a): 56/70 against 48/80.
    low, high = largest_difference(np.array([56.0, 48.0]), np.array([70.0, 80.0]), 0.95)
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_equal_groups_seem_to_differ_no_more_often_than_stated():
    rng = np.random.default_rng(0)
    rows = np.full(6, 400.0)
    seen = [
        largest_difference(rng.binomial(400, 0.2, 6).astype(float), rows, 0.95)[0] > 0
        for _ in range(500)
    ]
    assert np.mean(seen) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 500)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_shares_whose_score_test_does_not_reject(counts):
    hits, rows = counts
    low, high = wilson(hits, rows, 0.95)
    assert 0 <= low <= hits / rows <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            score = (hits / rows - bound) / np.sqrt(bound * (1 - bound) / rows)
            assert abs(score) == pytest.approx(norm.ppf(0.975), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(60, 90)), min_size=2, max_size=6))
def test_the_interval_holds_the_observed_largest_difference(counts):
    hits = np.array([h for h, _ in counts], dtype=float)
    rows = np.array([n for _, n in counts], dtype=float)
    low, high = largest_difference(hits, rows, 0.95)
    seen = (hits / rows).max() - (hits / rows).min()
    assert 0 <= low <= seen + 1e-12
    assert seen - 1e-12 <= high <= 1
