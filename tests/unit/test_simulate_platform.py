"""A platform lived through week by week, and authors who adapt to what gets flagged."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.data.simulate import Drift, Platform, World, training_labels
from tidegate.data.simulate.adversary import Adversary
from tidegate.data.simulate.kinds import build_tables
from tidegate.data.simulate.lexicon import CONCEPT_WORDS, FAMILIES
from tidegate.errors import BadInput

QUIET = (Drift("prior", 0, 1.0),)
PLAIN = "|".join(
    word for by in CONCEPT_WORDS.values() for words in by.values() for word in words.split()
)


def keyword_filter(posts):
    return posts["text"].str.lower().str.contains(PLAIN)


def nothing(posts):
    return np.zeros(len(posts), dtype=bool)


def lived(world, seed, flagged, weeks):
    platform = Platform(world, seed)
    return platform, [platform.week(number, flagged) for number in range(weeks)]


def _hidden_share(week):
    telling = week.truth["kind"].isin(["insult", "scam", "threat"]) & ~week.truth["scripted"]
    return week.truth[telling]["hidden_words"].mean()


def test_authors_hide_the_words_that_were_flagged():
    world = World(accounts=400, days=56, drifts=QUIET)
    watched, weeks = lived(world, 1, keyword_filter, 8)
    free, left_alone = lived(world, 1, nothing, 8)
    assert _hidden_share(weeks[-1]) > _hidden_share(weeks[0]) + 0.2
    assert _hidden_share(left_alone[-1]) == pytest.approx(_hidden_share(left_alone[0]), abs=0.12)
    pd.testing.assert_frame_equal(weeks[0].posts, left_alone[0].posts)
    # What differs is what was taught: the same accounts mean the same at the same times.
    same = ["post_id", "kind", "role", "violating"]
    pd.testing.assert_frame_equal(weeks[-1].truth[same], left_alone[-1].truth[same])
    caught = [
        keyword_filter(week.posts)[week.truth["violating"] == 1].mean()
        for week in (weeks[0], weeks[-1])
    ]
    assert caught[-1] < caught[0] - 0.1
    assert watched.history[-1]["hidden_words"]["scam"] > free.history[-1]["hidden_words"]["scam"]


def test_authors_coin_new_words_when_their_coinages_are_flagged_too():
    world = World(accounts=400, days=56, drifts=QUIET)
    platform = Platform(world, 1)
    for number in range(8):
        platform.week(number, lambda posts: np.ones(len(posts), dtype=bool))
    assert max(platform.history[-1]["coined_epochs"]) >= 1
    assert platform.history[0]["coined_epochs"] == [0] * len(FAMILIES)


def test_words_come_back_when_nobody_flags_them_any_more():
    world = World(accounts=400, days=84, drifts=QUIET)
    platform = Platform(world, 1)
    weeks = [
        platform.week(number, keyword_filter if number < 6 else nothing) for number in range(12)
    ]
    assert _hidden_share(weeks[11]) < _hidden_share(weeks[6]) - 0.1


def test_without_decisions_of_a_caller_the_platform_flags_after_its_first_release():
    world = World(accounts=400, days=49, drifts=QUIET)
    _, weeks = lived(world, 0, None, 7)
    flagged = [week.truth["flagged"].mean() for week in weeks]
    assert flagged[:4] == [0, 0, 0, 0]
    assert min(flagged[4:]) > 0.01
    assert not any(len(week.appeals) for week in weeks[:4])
    assert sum(len(week.appeals) for week in weeks[4:]) > 5


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.0, 1.0))
def test_the_same_decisions_give_the_same_weeks(seed, share):
    world = World(accounts=60, days=21)

    def some(posts):
        return (posts["post_id"] % 100) < 100 * share

    _, first = lived(world, seed, some, 3)
    _, again = lived(world, seed, some, 3)
    for left, right in zip(first, again, strict=True):
        for name in ("posts", "events", "reports", "labels", "appeals", "truth"):
            pd.testing.assert_frame_equal(getattr(left, name), getattr(right, name))


def test_feedback_arrives_in_its_week_and_late():
    _, weeks = lived(World(accounts=300, days=35), 2, nothing, 5)
    seen = set()
    for week in weeks:
        first = pd.Timestamp("2026-01-05", tz="UTC") + pd.Timedelta(days=week.days.start)
        end = first + pd.Timedelta(days=len(week.days))
        for frame, column in ((week.labels, "labelled_at"), (week.reports, "reported_at")):
            assert frame[column].between(first, end, inclusive="left").all()
            assert frame[column].is_monotonic_increasing
        assert week.posts["created_at"].between(first, end, inclusive="left").all()
        assert not seen.intersection(week.labels["post_id"])
        seen.update(week.labels["post_id"])
    assert (~weeks[4].labels["post_id"].isin(weeks[4].posts["post_id"])).mean() > 0.1


def test_training_labels_are_one_a_post():
    def everything(posts):
        return np.ones(len(posts), dtype=bool)

    _, weeks = lived(World(accounts=300, days=21), 2, everything, 3)
    labels = training_labels(weeks[2])
    assert labels["post_id"].is_unique
    assert set(labels["label_source"]) == {"audit", "investigator", "appeal"}
    assert set(labels["label"]) == {0, 1}


def test_weeks_come_in_their_order():
    platform = Platform(World(accounts=60, days=14), 0)
    with pytest.raises(ValueError, match="week 1 does not come next"):
        platform.week(1)
    platform.week(0)
    with pytest.raises(ValueError, match="week 0 does not come next"):
        platform.week(0)
    platform.week(1)
    with pytest.raises(ValueError, match="2 of 2 weeks are over"):
        platform.week(2)


def test_a_filter_that_does_not_answer_for_every_post_changes_nothing():
    platform, fresh = (Platform(World(accounts=60, days=14), 0) for _ in range(2))
    with pytest.raises(ValueError, match="one boolean a post"):
        platform.week(0, lambda posts: [True])
    pd.testing.assert_frame_equal(platform.week(0).posts, fresh.week(0).posts)


@given(
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    seed=st.integers(0, 100),
    rate=st.floats(0, 20),
)
def test_what_authors_choose_is_always_a_distribution(counts, seed, rate):
    rng = np.random.default_rng(seed)
    forms = rng.integers(0, 1728, size=(len(counts), 3))
    kind = rng.integers(0, 8, size=len(counts))
    adversary = Adversary.naive()
    for _ in range(3):
        flagged = rng.random(len(counts)) < 0.5
        adversary = adversary.after(
            forms, np.array(counts), kind, flagged, rate=rate, memory=0.7, coining_weeks=1
        )
    choice = adversary.word_choice()
    assert (choice >= 0).all()
    np.testing.assert_allclose(choice.sum(axis=(1, 2)), 1.0)
    np.testing.assert_allclose(build_tables(choice).form.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"posts_per_account_day": -1.0}, "posts_per_account_day: must be 0 or more"),
        ({"label_share": 1.5}, "label_share: is a share, got 1.5"),
        ({"report_rate": float("nan")}, "report_rate: must be 0 or more, got nan"),
        ({"season_days": 0.0}, "season_days: must be above 0"),
        ({"drifts": (Drift("prior", 99, 1.0),)}, "day 99 is not one of the 90 days"),
        ({"drifts": (Drift("prior", 3, -1.0),)}, "size must be 0 or more, got -1"),
        ({"drifts": (Drift("covariate", 3, 0.6),) * 2}, "together at most 1"),
    ],
)
def test_a_world_that_cannot_be_says_what_is_wrong(changes, told):
    with pytest.raises(BadInput) as error:
        World(**changes)
    assert told in str(error.value)


def test_a_year_may_drift_many_times():
    drifts = (
        Drift("prior", 7, 0.5),
        Drift("prior", 14, 4.0),
        Drift("covariate", 7, 0.3),
        Drift("covariate", 14, 0.3),
        Drift("concept", 7, 1.0),
        Drift("concept", 14, 0.0),
    )
    world = World(accounts=100, days=21, drifts=drifts, season_amplitude=0.0)
    day = np.array([0, 7, 14])
    np.testing.assert_allclose(world.violating_multiplier(day), [1.0, 0.5, 2.0])
    assert world.promotion_violates(day).tolist() == [False, True, False]
    np.testing.assert_allclose(world.novel_topic_shares(day).sum(axis=1), [0.0, 0.3, 0.6])
