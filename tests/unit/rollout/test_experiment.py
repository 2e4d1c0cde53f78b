from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from tidegate.config import ExperimentConfig
from tidegate.errors import BadInput
from tidegate.evaluation.sequential import asymptotic_bounds
from tidegate.evaluation.unit_effects import Units, effect
from tidegate.rollout.experiment import assigned, judge_experiment, plan_experiment

BEGAN = datetime(2026, 5, 1, tzinfo=UTC)
CONFIG = ExperimentConfig(metric="upheld", kind="share", smallest_effect=0.04)


def outcomes(units, *, gain=0.0, share=0.3, rows_a_unit=1, seed=0, name="ab", first=0):
    """Outcomes of units that were served as assigned; the candidate's share is higher by `gain`."""
    rng = np.random.default_rng(seed)
    ids = np.repeat([f"u{first + n}" for n in range(units)], rows_a_unit)
    arms = {unit: assigned(name, unit, candidate_share=0.5) for unit in set(ids)}
    is_candidate = np.array([arms[unit] == "candidate" for unit in ids])
    return pd.DataFrame(
        {
            "unit_id": ids,
            "upheld": (rng.random(ids.size) < share + gain * is_candidate).astype(int),
            "model_version": np.where(is_candidate, "v2", "v1"),
        }
    )


PLAN = plan_experiment(CONFIG, outcomes(3000, seed=9))


def judge(rows, *, config=CONFIG, days=7.0, name="ab", plan=PLAN):
    now = BEGAN + timedelta(days=days)
    return judge_experiment(
        config,
        rows,
        name=name,
        baseline="v1",
        candidate="v2",
        plan=plan,
        began=BEGAN,
        now=now,
    )


def test_units_are_split_as_configured_stay_put_and_are_split_anew_by_the_next_experiment():
    ids = [f"u{n}" for n in range(4000)]
    split = [assigned("ab", unit, candidate_share=0.2) == "candidate" for unit in ids]
    assert split == [assigned("ab", unit, candidate_share=0.2) == "candidate" for unit in ids]
    assert abs(np.mean(split) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 4000)
    other = [assigned("cd", unit, candidate_share=0.2) == "candidate" for unit in ids]
    assert abs(np.corrcoef(split, other)[0, 1]) < 4 / np.sqrt(4000)
    keyed = [
        assigned("ab", unit, candidate_share=0.2, key=b"secret") == "candidate" for unit in ids
    ]
    assert keyed != split


@pytest.mark.parametrize(
    ("gain", "better", "verdict"),
    [
        (0.1, "higher", "better"),
        (-0.1, "higher", "worse"),
        (0.1, "lower", "worse"),
        (-0.1, "lower", "better"),
    ],
)
def test_a_real_difference_is_named_and_its_direction_is_the_configured_one(gain, better, verdict):
    config = CONFIG.model_copy(update={"better": better})
    found = judge(outcomes(8000, gain=gain), config=config)
    assert found.verdict == verdict
    low, high = found.interval
    assert low < gain < high
    assert verdict in found.says
    assert (found.crossed_rows, found.left_out_rows) == (0, 0)
    assert found.candidate.units + found.baseline.units == 8000


def test_equal_versions_end_in_no_difference_once_there_are_units_enough():
    assert judge(outcomes(600)).verdict == "go_on"
    assert judge(outcomes(30_000)).verdict == "no_difference"


def test_an_experiment_that_runs_out_of_days_says_so():
    assert judge(outcomes(1000), days=27.9).verdict == "go_on"
    assert judge(outcomes(1000), days=28.0).verdict == "undecided"
    few = judge(outcomes(100), days=28.0)
    assert (few.verdict, few.interval is not None) == ("insufficient_data", True)
    nothing = judge(outcomes(100).head(0))
    assert (nothing.verdict, nothing.interval, nothing.ratio_p_value) == ("go_on", None, None)


def test_no_verdict_before_the_fewest_units_however_large_the_difference():
    assert judge(outcomes(300, gain=0.6)).verdict == "go_on"


def test_outcomes_that_are_lost_on_one_side_make_the_experiment_invalid():
    rows = outcomes(4000, gain=0.1)
    lost = rows[(rows["model_version"] == "v1") | (np.arange(4000) % 5 > 0)]
    found = judge(lost)
    assert found.verdict == "invalid"
    assert found.ratio_p_value < 1e-6
    assert judge(rows).ratio_p_value > 0.001


def test_rows_of_another_version_or_without_a_metric_are_counted_and_left_out():
    rows = outcomes(2000)
    rows["upheld"] = rows["upheld"].astype(float)
    rows.loc[:9, "upheld"] = np.nan
    rows.loc[10:14, "model_version"] = "v0"
    rows.loc[15:16, "unit_id"] = None
    rows.loc[20:22, "model_version"] = rows.loc[20:22, "model_version"].map(
        {"v1": "v2", "v2": "v1"}
    )
    found = judge(rows)
    assert (found.left_out_rows, found.crossed_rows) == (17, 3)
    assert found.baseline.rows + found.candidate.rows == 1983


def test_equal_versions_are_told_apart_no_more_often_than_stated_however_often_one_looks():
    """200 A/A experiments, 10 looks each, accounts of many rows and a skewed metric: at most 5 %.

    Looking at a fixed-size interval as often errs more than twice as often: the test can fail.
    """
    rng = np.random.default_rng(3)
    false, false_of_fixed, rounds, looks = 0, 0, 200, np.geomspace(200, 2500, 10).astype(int)
    for _ in range(rounds):
        rows = 1.0 + rng.geometric(0.4, size=(2, 2500))
        level = rng.gamma(0.7, 1.0, size=(2, 2500))
        total = rows * level + rng.normal(0, np.sqrt(rows))
        before = level + rng.normal(0, 1, size=(2, 2500))
        wrong = wrong_of_fixed = False
        for units in looks:
            sides = [Units(total[a, :units], rows[a, :units], before[a, :units]) for a in (0, 1)]
            found = effect(*sides)
            low, high = asymptotic_bounds(
                found.difference, found.standard_error, 2 * units, 0.05, tuned_rows=4000
            )
            wrong |= not low <= 0 <= high
            wrong_of_fixed |= abs(found.difference) > 1.96 * found.standard_error
        false, false_of_fixed = false + wrong, false_of_fixed + wrong_of_fixed
    assert false / rounds <= 0.05
    assert false_of_fixed / rounds > 0.1


def test_a_planned_experiment_finds_the_smallest_effect_as_often_as_planned():
    """300 experiments of the planned size, each read once: within three errors of 80 %."""
    rng = np.random.default_rng(4)
    half = PLAN.units // 2
    hits = rng.binomial(half, [[PLAN.mean], [PLAN.mean + CONFIG.smallest_effect]], size=(2, 300))
    share = hits / half
    error = np.sqrt((share * (1 - share) / half).sum(axis=0))
    low, _ = asymptotic_bounds(
        share[1] - share[0], error, PLAN.units, CONFIG.false_verdict_share, tuned_rows=PLAN.units
    )
    assert abs((low > 0).mean() - 0.8) < 3 * np.sqrt(0.8 * 0.2 / 300)
    assert PLAN.fixed_units < PLAN.units < 2.2 * PLAN.fixed_units


def test_the_plan_grows_with_the_spread_and_shrinks_with_the_effect_and_the_pre_period():
    rng = np.random.default_rng(5)
    habit = rng.normal(20, 4, size=2000)
    past = pd.DataFrame(
        {
            "unit_id": np.arange(2000),
            "minutes": habit + rng.normal(0, 3, size=2000),
            "minutes_before": habit,
        }
    )
    config = ExperimentConfig(metric="minutes", kind="mean", smallest_effect=0.5, better="lower")
    plain = plan_experiment(config, past, units_a_day=100)
    adjusted = plan_experiment(config.model_copy(update={"pre_period": "minutes_before"}), past)
    assert plain.variance_kept == 1.0
    assert adjusted.variance_kept == pytest.approx(9 / 25, abs=0.04)
    assert adjusted.units == pytest.approx(plain.units * adjusted.variance_kept, rel=0.01)
    assert plain.days == pytest.approx(plain.units / 100, abs=0.01)
    assert plain.smallest_in_time == pytest.approx(0.5 * np.sqrt(plain.units / 2800), rel=0.001)
    coarse = config.model_copy(update={"smallest_effect": 1.0})
    assert plan_experiment(coarse, past).units == pytest.approx(plain.units / 4, rel=0.01)


def test_the_pre_period_takes_out_what_units_differed_by_already():
    """The adjusted difference is nearer to the truth; a new unit's absent past harms nothing."""
    rng = np.random.default_rng(6)
    errors, plain_errors = [], []
    for _ in range(100):
        habit = rng.normal(0, 4, size=(2, 500))
        total = habit + rng.normal([[0.0], [0.5]], 1, size=(2, 500))
        habit[:, :50] = np.nan
        ones = np.ones(500)
        errors.append(effect(*(Units(total[a], ones, habit[a]) for a in (0, 1))).difference - 0.5)
        plain_errors.append(effect(*(Units(total[a], ones) for a in (0, 1))).difference - 0.5)
    assert np.std(errors) < 0.5 * np.std(plain_errors)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / 10


def test_rows_of_one_unit_do_not_pass_for_so_many_units():
    """A unit's ten equal rows say what one says: the interval stays as wide."""
    once = outcomes(2000, seed=7)
    tenfold = pd.concat([once] * 10, ignore_index=True)
    first, second = judge(once), judge(tenfold)
    assert second.baseline.rows == 10 * first.baseline.rows
    assert second.interval == pytest.approx(first.interval)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (outcomes(10).rename(columns={"upheld": "uphold"}), "no column 'upheld'; did you mean"),
        (outcomes(10).drop(columns="unit_id"), "no column 'unit_id'"),
        (outcomes(10).assign(upheld="yes"), "upheld: is not numeric"),
        (outcomes(10).assign(upheld=3), "must be within 0 and 1"),
    ],
)
def test_outcomes_that_cannot_be_judged_are_bad_input(rows, message):
    with pytest.raises(BadInput, match=message):
        judge(rows)
    with pytest.raises(BadInput, match=message):
        plan_experiment(CONFIG, rows)


def test_a_plan_from_too_little_is_refused():
    with pytest.raises(BadInput, match="at least 200 units, got 20"):
        plan_experiment(CONFIG, outcomes(20))
