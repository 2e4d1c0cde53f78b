"""Each class has a threshold of its own, and all their promises are kept together."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import PolicyConfig
from tidegate.errors import BadInput
from tidegate.evaluation.class_thresholds import class_thresholds
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.served_rule import served_rule

NAMES = ("fine", "rude", "hate")
POLICY = PolicyConfig(min_precision=0.8, confidence=0.9)


def classes(rows, seed, spread=1.0):
    """Posts of three classes whose probabilities are right; `spread` blurs what is told."""
    rng = np.random.default_rng(seed)
    logits = 2.5 * rng.normal(size=(rows, 3)) + [1.5, 0, -0.5]
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    told = np.exp(logits * spread)
    told /= told.sum(axis=1, keepdims=True)
    of = (rng.random((rows, 1)) > chance.cumsum(axis=1)).sum(axis=1)
    table = pd.DataFrame({"id": np.arange(rows), "label": (of > 0).astype(int), "weight": 1.0})
    table["score"] = told[:, 1:].sum(axis=1)
    table["class"] = [NAMES[number] for number in of]
    return table.assign(**{f"score_{name}": told[:, i] for i, name in enumerate(NAMES)})


def tasks(rows, seed):
    rng = np.random.default_rng(seed)
    score, insult = rng.random(rows), rng.random(rows)
    label = (rng.random(rows) < score).astype(int)
    return pd.DataFrame(
        {
            "label": label,
            "weight": 1.0,
            "score": score,
            "label_y": label,
            "score_y": score,
            "label_insult": (rng.random(rows) < insult**2).astype(int),
            "score_insult": insult,
        }
    )


def test_violating_classes_get_thresholds_and_share_the_risk():
    found = class_thresholds(classes(4000, 0), classes(4000, 1), POLICY)
    assert [of.name for of in found] == ["rude", "hate"]
    assert sum(of.risk for of in found) == pytest.approx(0.1)
    for of in found:
        assert of.threshold.precision_lower_bound >= 0.8
        assert of.threshold.confidence == pytest.approx(0.95)
        assert of.precision > 0.75
        assert 0 < of.recall_ci[0] < of.recall < of.recall_ci[1]
        assert not of.refuted


def test_a_class_can_have_a_floor_of_its_own():
    strict = POLICY.model_copy(update={"class_min_precision": {"hate": 0.9}})
    plain = class_thresholds(classes(4000, 0), classes(4000, 1), POLICY)
    found = class_thresholds(classes(4000, 0), classes(4000, 1), strict)
    assert found[0] == plain[0]
    assert found[1].threshold.value > plain[1].threshold.value
    with pytest.raises(BadInput, match="no violating class or task 'fine'"):
        class_thresholds(
            classes(400, 0),
            classes(400, 1),
            POLICY.model_copy(update={"class_min_precision": {"fine": 0.9}}),
        )


def test_the_task_that_is_the_label_keeps_the_scores_threshold():
    found = class_thresholds(tasks(3000, 0), tasks(3000, 1), POLICY)
    assert [of.name for of in found] == ["insult"]
    assert found[0].risk == pytest.approx(0.1)


def test_tables_of_two_classes_have_no_thresholds_of_classes():
    plain = tasks(300, 0)[["label", "score", "weight"]]
    assert class_thresholds(plain, plain, POLICY) == ()


def test_all_classes_promises_are_kept_together():
    rounds, kept = 80, 0
    truth = classes(100_000, 99)
    told = {name: truth[f"score_{name}"].to_numpy() for name in NAMES}
    true = {name: (truth["class"] == name).to_numpy() for name in NAMES}
    for seed in range(rounds):
        found = class_thresholds(classes(600, seed), truth.head(500), POLICY)
        cuts = {of.name: of.threshold.value for of in found if of.threshold is not None}
        kept += all(true[name][told[name] >= cut].mean() >= 0.8 for name, cut in cuts.items())
    # Two standard errors below 0.9.
    assert kept / rounds >= 0.9 - 2 * np.sqrt(0.09 / rounds)


def test_a_promise_that_the_holdout_breaks_is_told_and_not_served():
    # Half of the hate of the holdout is called fine there.
    holdout = classes(6000, 1)
    wrong = (holdout["class"] == "hate") & (holdout["id"] % 2 == 0)
    holdout = holdout.assign(**{"class": holdout["class"].where(~wrong, "fine")})
    report = evaluate(
        classes(6000, 0),
        holdout,
        baseline=Baseline("old", "benchmark_model", None, holdout),
        policy=POLICY,
        groups=[],
        name="posts",
        algorithm="logistic",
        prevalence={},
    )
    rude, hate = report.class_thresholds
    assert (rude.refuted, hate.refuted) == (False, True)
    served = served_rule(report, POLICY).class_thresholds
    assert served == {"rude": rude.threshold.value, "hate": None}


def test_a_stated_prevalence_below_the_samples_raises_the_thresholds():
    rare = POLICY.model_copy(update={"prevalence": 0.05})
    here = class_thresholds(classes(6000, 0), classes(6000, 1), POLICY)
    there = class_thresholds(classes(6000, 0), classes(6000, 1), rare)
    for one, two in zip(here, there, strict=True):
        assert two.threshold is None or two.threshold.value > one.threshold.value
