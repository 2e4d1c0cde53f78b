"""Training rows as evidence: what they may say, and that they never lend the promise too much."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import PolicyConfig, RunConfig
from tidegate.errors import BadInput
from tidegate.evaluation.crossfit import (
    Fold,
    combined_counts,
    one_population,
    read_folds,
    surest_start,
)
from tidegate.evaluation.ranking import rank
from tidegate.evaluation.steps import evaluate_candidate
from tidegate.evaluation.threshold import choose_threshold
from tidegate.records import BaselineModel, Candidate
from tidegate.store import write_record, write_table

FLOOR = 0.8


def world(rng, rows, train_rows, folds=5, noise=0.3, chance=None):
    """A serving model that is right on the scale, and fold models that are noisier versions."""
    chance = chance or (lambda x: 0.02 + 0.96 * x**2)

    def made(count):
        x = rng.random(count)
        return x, (rng.random(count) < chance(x)).astype(float)

    x, y = made(rows)
    found = []
    for _ in range(folds):
        scale, tilt = rng.uniform(0.7, 1.3), noise * rng.normal()
        other, label = made(train_rows // folds)

        def score(values, scale=scale, tilt=tilt):
            return scale * values + tilt * np.sin(9 * values) / 9 + 0.1

        found.append(Fold(score(other), label, np.ones(other.size), score(x)))
    return x, y, tuple(found)


def true_precision(cut):
    return float((0.02 + 0.96 * np.linspace(cut, 1, 4001) ** 2).mean())


def chosen(x, y, folds, evidence, **options):
    return choose_threshold(
        x, y, folds=folds, evidence=evidence, **{"min_precision": FLOOR, **options}
    )


def test_combined_evidence_keeps_the_promise_and_finds_more():
    rng = np.random.default_rng(3)
    kept, alone, combined = [], [], []
    for _ in range(60):
        x, y, folds = world(rng, 600, 6000)
        first, second = chosen(x, y, (), "validation"), chosen(x, y, folds, "combined")
        kept.append(second is None or true_precision(second.value) >= FLOOR)
        alone.append(0.0 if first is None else 1 - first.value)
        combined.append(0.0 if second is None else 1 - second.value)
    assert np.mean(kept) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 60)
    assert np.mean(combined) > np.mean(alone) + 0.02


def test_errors_stay_within_the_level_when_every_threshold_is_a_hair_below_the_floor():
    rng = np.random.default_rng(4)
    errors = 0
    for _ in range(120):
        x, y, folds = world(rng, 500, 5000, chance=lambda x: np.where(x > 0.5, FLOOR - 1e-9, 0.2))
        errors += chosen(x, y, folds, "combined") is not None
    assert errors / 120 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 120)


def test_fold_models_that_are_nothing_like_the_serving_one_do_no_harm():
    rng = np.random.default_rng(5)
    kept, flagged = [], []
    for _ in range(100):
        x, y, folds = world(rng, 800, 4000)
        useless = tuple(
            Fold(rng.random(f.scores.size), f.labels, f.weights, rng.random(x.size)) for f in folds
        )
        found = chosen(x, y, useless, "combined")
        kept.append(found is None or true_precision(found.value) >= FLOOR)
        alone = chosen(x, y, (), "validation")
        flagged.append([0 if t is None else t.flagged for t in (found, alone)])
    assert np.mean(kept) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 100)
    with_folds, without = np.mean(flagged, axis=0)
    assert with_folds == pytest.approx(without, rel=0.1)


def test_fold_models_equal_to_the_serving_one_make_one_large_sample():
    rng = np.random.default_rng(6)
    x, y, folds = world(rng, 1000, 4000, noise=0.0)
    ranked = rank(x, y)
    cuts = ranked.grid(100)
    counts = combined_counts(ranked, cuts, (x, y, np.ones(x.size)), folds, FLOOR)
    assert counts.rows[-1] == pytest.approx(5000, rel=0.05)
    everything = y.sum() + sum(fold.labels.sum() for fold in folds)
    assert counts.hits[-1] / counts.rows[-1] == pytest.approx(everything / 5000, abs=1e-3)


def test_evidence_is_never_more_than_the_rows_there_are_and_never_less_than_validations():
    rng = np.random.default_rng(7)
    x, y, folds = world(rng, 300, 900)
    ranked = rank(x, y)
    cuts = ranked.grid(20)
    counts = combined_counts(ranked, cuts, (x, y, np.ones(x.size)), folds, FLOOR)
    mass = ranked.mass(cuts)
    assert (counts.rows >= mass - 1e-9).all()
    assert (counts.rows <= 4 * mass + 1e-9).all()
    assert ((counts.hits >= 0) & (counts.hits <= counts.rows)).all()


def test_the_order_of_validation_rows_does_not_matter():
    rng = np.random.default_rng(8)
    x, y, folds = world(rng, 700, 3000)
    order = rng.permutation(x.size)
    shuffled = tuple(Fold(f.scores, f.labels, f.weights, f.validation[order]) for f in folds)
    one, other = chosen(x, y, folds, "combined"), chosen(x[order], y[order], shuffled, "combined")
    assert one.value == other.value
    assert one.precision_lower_bound == pytest.approx(other.precision_lower_bound)


def test_equal_weights_are_no_weights():
    x, y, folds = world(np.random.default_rng(9), 700, 3000)
    halved = tuple(Fold(f.scores, f.labels, f.weights * 0.5, f.validation) for f in folds)
    one = chosen(x, y, folds, "combined")
    other = chosen(x, y, halved, "combined", weights=np.full(x.size, 0.5))
    assert one.value == other.value


def test_the_start_is_where_the_folds_are_surest_and_no_validation_label_moves_it():
    rng = np.random.default_rng(10)
    x = rng.random(20_000)
    # Precise between the very top, where annotators quarrel, and the middle.
    y = rng.random(x.size) < np.where(x > 0.98, 0.5, np.where(x > 0.7, 0.99, 0.1))
    share = surest_start((Fold(x, y.astype(float), np.ones(x.size), None),), 0.9)
    assert 0.2 <= share <= 0.3
    nowhere = (Fold(x, (rng.random(x.size) < 0.3).astype(float), np.ones(x.size), None),)
    assert surest_start(nowhere, 0.9) is None


def test_a_start_from_the_folds_finds_a_threshold_where_the_usual_start_fails():
    rng = np.random.default_rng(11)

    def made(count):
        x = rng.random(count)
        return x, (rng.random(count) < np.where(x > 0.95, 0.99, 0.55)).astype(float)

    found = {"validation": 0, "start": 0}
    for _ in range(50):
        (x, y), (other, label) = made(2000), made(10_000)
        folds = (Fold(other, label, np.ones(other.size), None),)
        for evidence in found:
            found[evidence] += chosen(x, y, folds, evidence, min_precision=0.9) is not None
    assert found["validation"] <= 2
    assert found["start"] >= 35


def test_training_rows_that_visibly_differ_are_not_combined():
    rng = np.random.default_rng(12)
    x, y, folds = world(rng, 800, 4000)
    assert one_population((x, y, np.ones(x.size)), folds)
    keep = [(f.labels == 1) | (rng.random(f.labels.size) < 0.3) for f in folds]
    sampled = tuple(
        Fold(f.scores[k], f.labels[k], f.weights[k], f.validation)
        for f, k in zip(folds, keep, strict=True)
    )
    assert not one_population((x, y, np.ones(x.size)), sampled)
    easy = {"min_precision": 0.6}
    assert chosen(x, y, sampled, "combined", **easy).evidence == "start"
    assert chosen(x, y, folds, "combined", **easy).evidence == "combined"
    assert not one_population((x, y, np.ones(x.size)), ())


def table(x, y, folds):
    parts = []
    for number, fold in enumerate(folds):
        parts.append(
            pd.DataFrame(
                {
                    "split": "train",
                    "id": range(fold.scores.size),
                    "label": fold.labels,
                    "weight": fold.weights,
                    "fold": number,
                    "score": fold.scores,
                }
            )
        )
        parts.append(
            pd.DataFrame(
                {
                    "split": "validation",
                    "id": range(x.size),
                    "label": y,
                    "weight": 1.0,
                    "fold": number,
                    "score": fold.validation,
                }
            )
        )
    return pd.concat(parts)


def test_the_folds_are_read_from_one_table():
    x, y, folds = world(np.random.default_rng(13), 100, 300, folds=3)
    validation = pd.DataFrame({"id": range(100), "label": y, "score": x})
    read = read_folds(table(x, y, folds), validation)
    assert len(read) == 3
    assert np.array_equal(read[1].scores, folds[1].scores)
    assert np.array_equal(read[2].validation, folds[2].validation)
    only_train = table(x, y, folds).query("split == 'train'")
    assert all(fold.validation is None for fold in read_folds(only_train, validation))


def test_folds_of_other_validation_rows_are_refused():
    x, y, folds = world(np.random.default_rng(14), 100, 300, folds=3)
    validation = pd.DataFrame({"id": range(1, 101), "label": y, "score": x})
    with pytest.raises(BadInput, match="validation rows other than"):
        read_folds(table(x, y, folds), validation)
    with pytest.raises(BadInput, match="needs a column 'fold'"):
        read_folds(table(x, y, folds).drop(columns="fold"), validation)


def test_a_split_by_time_refuses_combined_evidence():
    data = {"source": "x.csv", "label": "y", "time": "at", "split": {"by": "time"}}
    with pytest.raises(ValueError, match="another population"):
        RunConfig.model_validate(
            {"name": "a", "data": data, "policy": {"training_evidence": "combined"}}
        )


@pytest.mark.parametrize("evidence", ["start", "combined"])
def test_the_evaluation_step_reads_the_fold_scores_beside_the_candidate(tmp_path, evidence):
    x, y, folds = world(np.random.default_rng(15), 800, 4000)
    scored = pd.DataFrame({"id": range(800), "label": y.astype(int), "weight": 1.0, "score": x})
    for split in ("validation", "holdout"):
        write_table(tmp_path / "in" / "scored" / f"{split}.parquet", scored)
        write_table(tmp_path / "in" / "baseline" / f"{split}.parquet", scored)
    write_table(tmp_path / "in" / "scored" / "crossfit.parquet", table(x, y, folds))
    candidate = Candidate(
        name="a",
        algorithm="logistic",
        params={},
        groups=(),
        prevalence={"validation": 0.3},
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
    )
    write_record(tmp_path / "in" / "candidate.json", candidate)
    policy = PolicyConfig(min_precision=FLOOR, training_evidence=evidence)
    report = evaluate_candidate(tmp_path / "in", policy, tmp_path / "out")
    assert report.validation_threshold.evidence == evidence
    told = "models of their folds are part of the evidence" in " ".join(report.reasons)
    assert told == (evidence == "combined")
