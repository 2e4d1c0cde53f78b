"""Several trials as one model: chosen by validation scores, saved without pickles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.features.blocks import blocks_of
from tidegate.models.ensemble import Ensemble, Member, select_members
from tidegate.models.quality import average_precision


def noisy(labels, noise, seed):
    random = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-(labels * 2.0 - 1 + noise * random.normal(size=labels.size))))


LABELS = (np.random.default_rng(0).random(400) < 0.3).astype(np.int8)
WEIGHT = np.ones(400)


def test_models_that_err_independently_are_better_together():
    scores = {number: noisy(LABELS, 2.0, number) for number in range(4)}
    shares = select_members(scores, LABELS, WEIGHT, max_members=3)
    mean = sum(share * scores[number] for number, share in shares.items())
    alone = max(average_precision(LABELS, score, WEIGHT) for score in scores.values())
    assert 2 <= len(shares) <= 3
    assert average_precision(LABELS, mean, WEIGHT) > alone


def test_a_model_that_nothing_improves_serves_alone():
    scores = {0: LABELS.astype(float), 1: noisy(LABELS, 9.0, 1)}
    assert select_members(scores, LABELS, WEIGHT, max_members=3) == {0: 1.0}


def test_one_member_means_the_best_model():
    scores = {number: noisy(LABELS, 1.0 + number, number) for number in range(3)}
    assert select_members(scores, LABELS, WEIGHT, max_members=1) == {0: 1.0}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 50))
def test_shares_add_up_and_never_rank_worse_than_the_best(max_members, seed):
    scores = {number: noisy(LABELS, 3.0, seed + number) for number in range(5)}
    shares = select_members(scores, LABELS, WEIGHT, max_members=max_members)
    mean = sum(share * scores[number] for number, share in shares.items())
    alone = max(average_precision(LABELS, score, WEIGHT) for score in scores.values())
    assert sum(shares.values()) == pytest.approx(1)
    assert len(shares) <= max_members
    assert average_precision(LABELS, mean, WEIGHT) >= alone - 1e-12


class Constant:
    def __init__(self, score):
        self.score = score

    def predict_proba(self, X):
        return np.tile([1 - self.score, self.score], (X.rows, 1))

    def save(self, folder):
        (folder / "score.txt").write_text(str(self.score))


def test_it_scores_the_weighted_mean_and_is_the_same_after_loading(tmp_path):
    ensemble = Ensemble(
        [Member("a", 0.25, Constant(0.2)), Member("b", 0.75, Constant(0.6))],
    )
    X = blocks_of(np.zeros((3, 2)))
    assert ensemble.predict_proba(X) == pytest.approx(np.tile([0.5, 0.5], (3, 1)))
    ensemble.save(tmp_path)

    def load(name, folder):
        return Constant(float((folder / "score.txt").read_text()))

    again = Ensemble.load(tmp_path, load)
    assert again.predict_proba(X) == pytest.approx(ensemble.predict_proba(X))
    assert [member.algorithm for member in again.members] == ["a", "b"]
