import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import ExplorationConfig
from tidegate.errors import BadInput
from tidegate.serving.exploration import Exploration, require_known_classes
from tidegate.serving.keyed_draw import keyed_digest, uniform

KEY = b"a secret of sixteen bytes or more"
ON = ExplorationConfig(allow_share=0.2, review_share=0.1, segments={"ads": 0.4}, never=("threat",))
IDS = [f"post-{number}" for number in range(4000)]


def explore(config, decisions, *, key=KEY, ids=None, segments=None, classes=None):
    rows = len(decisions)
    return Exploration(config, key).explore(
        decisions, ids or IDS[:rows], segments or [None] * rows, classes or [None] * rows
    )


def test_nothing_is_explored_unless_configured():
    found = explore(ExplorationConfig(), ["flagged", "review", "leave"], key=None)
    assert found.actions == ("flagged", "review", "leave")
    assert found.explored == (False, False, False)
    assert found.probabilities == (1.0, 1.0, 1.0)


def test_only_flagged_rows_are_let_through_and_only_left_ones_reviewed():
    decisions = ["flagged", "review", "leave"] * 1000
    found = explore(ON, decisions)
    changed = {
        (before, after)
        for before, after, explored in zip(decisions, found.actions, found.explored, strict=True)
        if explored
    }
    assert changed == {("flagged", "leave"), ("leave", "review")}
    assert all(
        (before != after) == explored
        for before, after, explored in zip(decisions, found.actions, found.explored, strict=True)
    )


def test_the_shares_are_those_of_the_segment():
    rows = len(IDS)
    for segment, share in (("ads", 0.4), ("feed", 0.2), (None, 0.2)):
        found = explore(ON, ["flagged"] * rows, segments=[segment] * rows)
        assert abs(sum(found.explored) / rows - share) < 4 * math.sqrt(share * (1 - share) / rows)
        expected = {share if explored else 1 - share for explored in found.explored}
        assert set(found.probabilities) == expected


def test_a_segment_alone_can_be_explored():
    only_ads = ExplorationConfig(segments={"ads": 0.5})
    segments = ["ads", "feed"] * 100
    found = explore(only_ads, ["flagged"] * 200, segments=segments)
    explored_in = {s for s, e in zip(segments, found.explored, strict=True) if e}
    assert explored_in == {"ads"}


@pytest.mark.parametrize("classes", ["threat", ("spam", "threat"), {"threat"}])
def test_a_class_that_the_policy_lists_is_never_let_through(classes):
    found = explore(ON, ["flagged"] * 500, classes=[classes] * 500)
    assert set(found.actions) == {"flagged"}
    assert set(found.probabilities) == {1.0}


def test_a_row_without_an_id_keeps_its_decision():
    found = explore(ON, ["flagged"] * 500, ids=[None] * 500)
    assert not any(found.explored)
    assert set(found.probabilities) == {1.0}


def test_the_same_id_draws_the_same_whatever_stands_beside_it():
    together = explore(ON, ["flagged"] * 300)
    alone = [explore(ON, ["flagged"], ids=[name]).explored[0] for name in IDS[:300]]
    assert list(together.explored) == alone
    other_key = explore(ON, ["flagged"] * 300, key=b"another secret, just as long")
    assert other_key.explored != together.explored


@given(
    decisions=st.lists(st.sampled_from(["flagged", "review", "leave"]), min_size=1, max_size=30),
    allow=st.floats(0.01, 0.5),
    review=st.floats(0.01, 0.5),
)
def test_the_logged_probability_is_that_of_the_action_taken(decisions, allow, review):
    config = ExplorationConfig(allow_share=allow, review_share=review)
    found = explore(config, decisions)
    share = {"flagged": allow, "leave": review, "review": 0.0}
    for decision, explored, probability in zip(
        decisions, found.explored, found.probabilities, strict=True
    ):
        assert probability == (share[decision] if explored else 1 - share[decision])


def test_weighting_by_the_logged_probability_gives_the_truth_over_many_keys():
    """Of flagged rows the truth is only seen of those let through; their weighted sum is unbiased.

    Horvitz-Thompson: the estimates' mean over keys is within four standard errors of the truth,
    though the share let through differs by segment and so does the truth.
    """
    rows = 300
    segments = ["ads" if i % 3 == 0 else "feed" for i in range(rows)]
    innocent = [int(i % 3 == 0 or i % 7 == 0) for i in range(rows)]
    truth = sum(innocent) / rows
    estimates = []
    for number in range(200):
        key = f"secret number {number:04d}".encode()
        found = explore(ON, ["flagged"] * rows, key=key, segments=segments)
        weighted = zip(innocent, found.explored, found.probabilities, strict=True)
        estimates.append(sum(y * seen / p for y, seen, p in weighted) / rows)
    error = statistics.stdev(estimates) / math.sqrt(len(estimates))
    assert abs(statistics.mean(estimates) - truth) < 4 * error
    # The unweighted share would be told wrong: this test could fail.
    assert error < 0.01 < abs(truth - sum(innocent[::3]) / len(innocent[::3]))


def test_the_draws_are_uniform_and_independent_by_purpose():
    """Kolmogorov's distance of 4000 draws stays under its 0.1 % point, 1.95 / sqrt(n)."""
    draws = sorted(uniform(KEY, "explore", name) for name in IDS)
    distance = max(abs((i + 0.5) / len(draws) - u) for i, u in enumerate(draws))
    assert distance < 1.95 / math.sqrt(len(draws))
    pairs = [(uniform(KEY, "explore", n), uniform(KEY, "sample", n)) for n in IDS]
    assert abs(statistics.correlation(*zip(*pairs, strict=True))) < 4 / math.sqrt(len(IDS))


def test_the_draws_are_the_same_in_every_release():
    """Changing them would end the meaning of rows that are already logged."""
    assert uniform(KEY, "explore", "post-1") == 0.2047628264004575
    assert keyed_digest(KEY, "redact text", "ä") == "72cae2c729d03a745820b90864567bc3"


@given(st.text(), st.text(), st.text())
def test_any_text_has_a_draw_below_one(purpose, first, second):
    assert 0.0 <= uniform(KEY, purpose, first) < 1.0
    if first != second:
        assert keyed_digest(KEY, purpose, first) != keyed_digest(KEY, purpose, second)


def test_exploration_without_a_fit_key_does_not_start(monkeypatch):
    with pytest.raises(BadInput, match="needs a secret key"):
        Exploration(ON)
    with pytest.raises(BadInput, match="at least 16 bytes"):
        Exploration(ON, b"short")
    monkeypatch.delenv("TIDEGATE_EXPLORATION_KEY", raising=False)
    with pytest.raises(BadInput, match="TIDEGATE_EXPLORATION_KEY"):
        Exploration.from_environment(ON)
    monkeypatch.setenv("TIDEGATE_EXPLORATION_KEY", KEY.decode())
    assert Exploration.from_environment(ON).explore(["flagged"], ["a"], [None], [None]) == explore(
        ON, ["flagged"], ids=["a"]
    )
    assert not Exploration.from_environment(ExplorationConfig()).is_on


def test_a_class_that_the_model_does_not_know_is_refused():
    require_known_classes(ON, ["threat", "spam"])
    with pytest.raises(BadInput, match="'threat' is no class of this model"):
        require_known_classes(ON, ["spam"])
