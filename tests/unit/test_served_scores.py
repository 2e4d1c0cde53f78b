"""Threshold and pass-through score chosen in turn, and tables turned into what is served."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import PolicyConfig
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.served_scores import as_served, cascade_of
from tidegate.pass_through import stops
from tidegate.records import LIGHT


def table(rows, seed=0, noise=0.5):
    random = np.random.default_rng(seed)
    margin = random.normal(-1.5, 2.5, rows)
    score = 1 / (1 + np.exp(-margin))
    return pd.DataFrame(
        {
            "id": [f"{seed} {row}" for row in range(rows)],
            "label": (random.random(rows) < score).astype(int),
            "score": score,
            "weight": 1.0,
            LIGHT: 1 / (1 + np.exp(-margin + noise * random.normal(size=rows))),
        }
    )


def policy(**changes):
    cascade = {"max_recall_loss": 0.02, "overload_recall_loss": 0.1}
    told = {"min_precision": 0.8, "confidence": 0.9, "cascade": cascade}
    return PolicyConfig.model_validate(told | changes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_the_threshold_is_that_of_the_cascade_whose_proof_is_at_it(seed, noise):
    validation, holdout = table(2500, seed, noise), table(2500, 100 + seed, noise)
    report = cascade_of(validation, holdout, None, None, policy())
    served = as_served(validation, report)
    assert choose(rows_of(served, "validation"), policy()).threshold.value == report.threshold
    stopped = stops(validation[LIGHT].to_numpy(), report.pass_through)
    flagged = validation["score"] >= report.threshold
    assert (stopped & flagged).sum() == report.curve[0].lost
    assert not (served["score"][stopped] >= report.threshold).any()
    assert LIGHT not in served
    assert report.holdout.flagged == (holdout["score"] >= report.threshold).sum()


def test_further_rows_count_beside_validation():
    validation, further = table(400), table(4000, 1)
    agreement = pd.DataFrame(
        {"source": "unlabelled", "light": further[LIGHT], "heavy": further["score"]}
    )
    alone = cascade_of(validation, table(400, 2), None, None, policy())
    together = cascade_of(validation, table(400, 2), agreement, None, policy())
    assert alone.pass_through is None
    assert together.pass_through is not None
    assert set(together.evidence) == {"validation", "unlabelled"}


def test_without_being_asked_for_the_heavy_model_is_judged_alone():
    validation = table(400)
    assert cascade_of(validation, table(400, 1), None, None, policy(cascade=None)) is None
    pd.testing.assert_frame_equal(as_served(validation, None), validation.drop(columns=[LIGHT]))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"segments": "language"}, "policy.segments gives each segment its own"),
        ({"min_precision": 1.0}, "no threshold keeps the policy's promise"),
    ],
)
def test_what_cannot_be_proven_at_one_threshold_is_refused(changes, why):
    report = cascade_of(table(2500), table(400, 1), None, None, policy(**changes))
    assert report.pass_through is None
    assert why in report.reason
    assert report.curve == ()


def test_the_promise_holds_at_the_threshold_that_the_same_rows_chose():
    population = table(100_000, 10_000, 1.0)
    light, heavy = population[LIGHT].to_numpy(), population["score"].to_numpy()
    broken, rounds = 0, 150
    for seed in range(rounds):
        validation = table(2500, seed, 1.0)
        report = cascade_of(validation, validation, None, None, policy())
        flagged = light[heavy >= report.threshold]
        broken += stops(flagged, report.pass_through).mean() > 0.02
    assert broken / rounds <= 0.1 + 3 * np.sqrt(0.09 / rounds)
