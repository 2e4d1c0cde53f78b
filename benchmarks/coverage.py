"""How often each interval holds the truth, simulated where the truth is known.

A two-sided *interval* should cover as often as it says, give or take 1.5 points. A *promise* (a
one-sided bound, the figure promised of a chosen threshold, or an interval whose truth is the end of
its range) must hold at least as often, and may hold more often where counts are few. Gaps between
groups are in ``fairness_gate.py``, differences of two models in ``comparison.py``. Run as
``python benchmarks/coverage.py [--rounds 2000] [--confidence 0.95] [--only WORD]``.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tidegate.config import CostConfig, PolicyConfig
from tidegate.evaluation.calibration import calibration_error, reliability_curve
from tidegate.evaluation.intervals import exact_lower_bound, exact_upper_bound, wilson
from tidegate.evaluation.measurement import measure
from tidegate.evaluation.objectives import choose
from tidegate.evaluation.population import Stratum, estimate_prevalence, weighted_prevalence
from tidegate.evaluation.review import review_band
from tidegate.evaluation.segments import choose_by_segment

Rng = np.random.Generator
COSTS = CostConfig(wrong_removal=4.0, missed_violation=1.0)
PREVALENCE = 0.2


def rows(rng: Rng, count: int) -> tuple[Any, Any, Any]:
    """Violating scores are u ** 0.2, harmless ones 1 - u ** 0.25: every rate is a formula."""
    label = (rng.random(count) < PREVALENCE).astype(float)
    u = rng.random(count)
    return np.where(label == 1, u**0.2, 1 - u**0.25), label, np.ones(count)


def recall(cut: float) -> float:
    return 1 - float(np.clip(cut, 0, 1)) ** 5


def fpr(cut: float) -> float:
    return (1 - float(np.clip(cut, 0, 1))) ** 4


def precision(cut: float) -> float:
    right, wrong = PREVALENCE * recall(cut), (1 - PREVALENCE) * fpr(cut)
    return right / (right + wrong) if right + wrong > 0 else 1.0


def cost(cut: float) -> float:
    missed = PREVALENCE * (1 - recall(cut)) * COSTS.missed_violation
    return missed + (1 - PREVALENCE) * fpr(cut) * COSTS.wrong_flag


def held(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def proportion(kind: str) -> Callable[[Rng, float], bool]:
    def once(rng: Rng, confidence: float) -> bool:
        n, p = int(rng.integers(50, 1500)), float(rng.uniform(0.03, 0.97))
        hits = rng.binomial(n, p)
        if kind == "wilson":
            return held(wilson(hits, n, confidence), p)
        if kind == "lower":
            return bool(exact_lower_bound(hits, n, confidence) <= p)
        return bool(exact_upper_bound(hits, n, confidence) >= p)

    return once


def measured(name: str) -> Callable[[Rng, float], bool]:
    def once(rng: Rng, confidence: float) -> bool:
        import pandas as pd

        score, label, weight = rows(rng, 1000)
        table = pd.DataFrame({"score": score, "label": label, "weight": weight})
        found = measure(table, 0.7, confidence=confidence, costs=COSTS)
        if name == "recall" and found.recall_ci:
            return held(found.recall_ci, recall(0.7))
        if name == "precision":
            return (found.precision_lower_bound or 0.0) <= precision(0.7)
        if name == "fpr":
            return (found.fpr_lower_bound or 0.0) <= fpr(0.7)
        saving = PREVALENCE * COSTS.missed_violation - cost(0.7)
        low, _ = found.saving or (0.0, 0.0)
        return low <= saving

    return once


def sampled(table: Any, rng: Rng, cut: Any) -> Any:
    """Keep a fifth of the harmless posts below the cut; each stands for five."""
    left = ((table["label"] == 0) & (table["score"] < cut)).to_numpy()
    kept = ~left | (rng.random(len(table)) < 0.2)
    return table.assign(weight=np.where(left, 5.0, 1.0))[kept].reset_index(drop=True)


def weighted(name: str, few: bool = False) -> Callable[[Rng, float], bool]:
    """Audit a group at 0.7 whose rows were drawn by score, or have weights of 1, 4 and 16."""
    import pandas as pd

    from tidegate.evaluation.fairness import audit

    flagged = PREVALENCE * recall(0.7) + (1 - PREVALENCE) * fpr(0.7)
    violating, harmless = PREVALENCE * 5 / 6, (1 - PREVALENCE) / 5
    truth = {
        "fpr": fpr(0.7),
        "recall": recall(0.7),
        "precision": precision(0.7),
        "selection_rate": flagged,
        "calibration": violating + harmless - PREVALENCE,
    }[name]

    def once(rng: Rng, confidence: float) -> bool:
        score, label, _ = rows(rng, 1000 if few else 5000)
        table = pd.DataFrame({"score": score, "label": label.astype(int), "group": "g"})
        if few:
            table["weight"] = rng.choice([1.0, 4.0, 16.0], len(table))
        else:
            table = sampled(table, rng, 0.7)
        policy = PolicyConfig(confidence=confidence)
        (found,), _ = audit(table, groups=["group"], threshold=0.7, policy=policy)
        return held(getattr(found, f"{name}_ci"), truth)

    return once


def weighted_gap(rng: Rng, confidence: float) -> bool:
    """Audit two groups, one flagged from 0.5 and one from 0.7, both drawn by their score."""
    import pandas as pd

    from tidegate.evaluation.fairness import audit

    score, label, _ = rows(rng, 8000)
    group = np.where(rng.random(8000) < 0.3, "few", "many")
    table = pd.DataFrame({"score": score, "label": label.astype(int), "group": group})
    table = sampled(table, rng, np.where(group == "few", 0.5, 0.7))
    cuts = np.where(table["group"] == "few", 0.5, 0.7)
    _, found = audit(
        table, groups=["group"], threshold=cuts, policy=PolicyConfig(confidence=confidence)
    )
    interval = next(gap.gap_ci for gap in found.gaps if gap.metric == "fpr")
    return held(interval, fpr(0.5) - fpr(0.7))


def weighted_recall(rng: Rng, confidence: float) -> bool:
    import pandas as pd

    score, label, _ = rows(rng, 1500)
    table = pd.DataFrame({"score": score, "label": label})
    table["weight"] = rng.choice([1.0, 4.0, 16.0], len(table))
    found = measure(table, 0.7, confidence=confidence)
    return found.recall_ci is not None and held(found.recall_ci, recall(0.7))


def templates(rng: Rng, confidence: float) -> bool:
    """Test templates whose sentences mostly pass or fail together."""
    import pandas as pd

    from tidegate.evaluation.functional import functional_report

    right = rng.beta(1.2, 0.4, 40)
    passed = rng.random((40, 15)) < right[:, None]
    table = pd.DataFrame(
        {
            "_functionality": "plain",
            "_template": np.repeat([f"t{i}" for i in range(40)], 15),
            "_identity": "",
            "_expected": 1,
            "score": passed.ravel().astype(float),
        }
    )
    found = functional_report(table, 0.5, confidence=confidence)
    assert found is not None
    return held(found.functionalities[0].pass_rate_ci, 1.2 / 1.6)


def classes_promised(rng: Rng, confidence: float) -> bool:
    """Choose for two violating classes, each a tenth of the posts."""
    import pandas as pd

    from tidegate.evaluation.class_thresholds import class_thresholds

    def table(count: int) -> Any:
        name = np.array(["a", "b", "fine"])[np.digitize(rng.random(count), [0.1, 0.2])]
        own = {}
        for k in ("a", "b"):
            u = rng.random(count)
            own[f"score_{k}"] = np.where(name == k, u**0.2, 1 - u**0.25)
        score = np.maximum(own["score_a"], own["score_b"])
        label = (name != "fine").astype(int)
        return pd.DataFrame({"class": name, "label": label, "score": score, **own})

    policy = PolicyConfig(confidence=confidence, min_precision=0.7)
    found = class_thresholds(table(3000), table(500), policy)
    right = 0.1 * np.array([recall(c.threshold.value) if c.threshold else 1.0 for c in found])
    wrong = 0.9 * np.array([fpr(c.threshold.value) if c.threshold else 0.0 for c in found])
    return bool((right >= 0.7 * (right + wrong)).all())


def figure(name: str, apart: float = 2.0, share: float = PREVALENCE) -> Callable[..., bool]:
    """Score violating rows so far above the others, with normal noise."""
    import pandas as pd

    from tidegate.evaluation.measurement import quality

    def sample(rng: Rng, count: int) -> Any:
        label = (rng.random(count) < share).astype(int)
        z = apart * label - apart / 2 + rng.normal(size=count)
        return pd.DataFrame({"label": label, "score": 1 / (1 + np.exp(-1.5 * z))})

    truth = getattr(quality(sample(np.random.default_rng(1), 2_000_000), confidence=0.9), name)

    def once(rng: Rng, confidence: float) -> bool:
        table = sample(rng, 1000)
        return held(quality(table, confidence=confidence).intervals[name], truth)

    return once


def class_figure(name: str) -> Callable[[Rng, float], bool]:
    """Tell three classes of 10, 30 and 60 % apart; the figure is the rarest one's, or the mean."""
    import pandas as pd

    from tidegate.evaluation.classes import class_metrics, macro_f1

    def sample(rng: Rng, count: int) -> Any:
        truth = np.digitize(rng.random(count), [0.1, 0.4])
        logits = 2.5 * np.eye(3)[truth] + rng.normal(size=(count, 3)) + np.log([0.1, 0.3, 0.6])
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return pd.DataFrame({f"score_{k}": share[:, i] for i, k in enumerate("abc")}).assign(
            **{"class": np.array(list("abc"))[truth]}
        )

    def found(rng: Rng, count: int, confidence: float) -> tuple[float, Any]:
        table = sample(rng, count)
        if name == "macro_f1":
            value, interval = macro_f1(table, confidence=confidence) or (0.0, None)
            return value, interval
        rarest = class_metrics(table, confidence=confidence)[0]
        return getattr(rarest, name), rarest.intervals[name]

    truth = found(np.random.default_rng(1), 1_000_000, 0.9)[0]

    def once(rng: Rng, confidence: float) -> bool:
        return held(found(rng, 600, confidence)[1], truth)

    return once


def promised(kept: Callable[[float], bool], **policy: Any) -> Callable[[Rng, float], bool]:
    def once(rng: Rng, confidence: float) -> bool:
        wanted = PolicyConfig(confidence=confidence, **policy)
        threshold = choose(rows(rng, 1500), wanted).threshold
        return threshold is None or kept(threshold.value)

    return once


def cost_promised(rng: Rng, confidence: float) -> bool:
    wanted = PolicyConfig(confidence=confidence, objective="min_cost", costs=COSTS)
    threshold = choose(rows(rng, 3000), wanted).threshold
    if threshold is None or threshold.promised_bound is None:
        return True
    return cost(threshold.value) <= threshold.promised_bound


def segments_promised(rng: Rng, confidence: float) -> bool:
    wanted = PolicyConfig(confidence=confidence, min_precision=0.8)
    names = np.array(["a", "b", "c"])[rng.integers(0, 3, 3000)]
    found = choose_by_segment(rows(rng, 3000), names, wanted)
    return all(s.threshold is None or precision(s.threshold.value) >= 0.8 for s in found)


def reviews_promised(rng: Rng, confidence: float) -> bool:
    band = review_band(rows(rng, 1500), 0.9, posts_per_day=1000, capacity=80, confidence=confidence)
    if band is None:
        return True
    inside = PREVALENCE * (recall(band.threshold) - recall(0.9))
    inside += (1 - PREVALENCE) * (fpr(band.threshold) - fpr(0.9))
    return 1000 * inside <= 80


def error_of_calibration(shift: float) -> Callable[[Rng, float], bool]:
    def once(rng: Rng, confidence: float) -> bool:
        score = rng.uniform(0.1, 0.8, 1500)
        label = (rng.random(1500) < score + shift).astype(float)
        return held(
            calibration_error((score, label, np.ones(1500)), confidence=confidence)[1], shift
        )

    return once


def reliability(rng: Rng, confidence: float) -> bool:
    score = rng.beta(1, 2, 1500)
    label = (rng.random(1500) < score).astype(float)
    curve = reliability_curve((score, label, np.ones(1500)), confidence=confidence)
    part = curve[int(rng.integers(len(curve)))]
    return held(part.violating_ci, part.score)


def world() -> tuple[Any, Any]:
    rng = np.random.default_rng(17)
    score = rng.beta(0.4, 4, 100_000)
    return score, (rng.random(score.size) < 0.9 * score).astype(float)


SCORE, LABEL = world()
STRATUM = np.digitize(SCORE, [0.1, 0.4])
MEMBERS = [*(np.flatnonzero(number == STRATUM) for number in range(3)), np.arange(LABEL.size)]
STRATA = [(members, float(SCORE[members].mean())) for members in MEMBERS]
TRUTH = float(LABEL.mean())
CHANCE = np.clip(0.004 + 0.06 * SCORE, 0, 1)


def prevalence(kind: str) -> Callable[[Rng, float], bool]:
    def once(rng: Rng, confidence: float) -> bool:
        if kind == "unequal":
            picked = rng.random(SCORE.size) < CHANCE
            return held(
                weighted_prevalence(
                    LABEL[picked], CHANCE[picked], population=LABEL.size, confidence=confidence
                ).interval,
                TRUTH,
            )
        strata = []
        for members, mean in STRATA[:3] if kind.startswith("strata") else STRATA[3:]:
            picked = members[rng.integers(0, members.size, 300)]
            strata.append(Stratum(members.size, LABEL[picked], SCORE[picked], mean))
        found = estimate_prevalence(strata, confidence=confidence)
        return held(found.interval if kind.endswith("scores") else found.classical_ci, TRUTH)

    return once


def cases() -> Iterator[tuple[str, str, Callable[[Rng, float], bool]]]:
    yield "Wilson interval of a proportion", "interval", proportion("wilson")
    yield "exact lower bound", "promise", proportion("lower")
    yield "exact upper bound", "promise", proportion("upper")
    yield "recall on the holdout", "interval", measured("recall")
    yield "precision on the holdout, lower", "promise", measured("precision")
    yield "FPR on the holdout, lower", "promise", measured("fpr")
    yield "saving on the holdout, lower", "promise", measured("saving")
    for name in ("average_precision", "roc_auc", "log_loss", "brier_score"):
        yield name.replace("_", " "), "interval", figure(name)
    yield "ROC-AUC of 0.99, 20 violating rows", "interval", figure("roc_auc", 3.29, 0.02)
    yield "ROC-AUC of 0.99, 50 violating rows", "interval", figure("roc_auc", 3.29, 0.05)
    near = figure("average_precision", 4.5, 0.02)
    yield "average precision of 0.98, 20 rows", "interval", near
    near = figure("average_precision", 4.0, 0.05)
    yield "average precision of 0.97, 50 rows", "interval", near
    for name in ("precision", "recall", "f1", "average_precision"):
        yield f"{name.replace('_', ' ')} of a class", "interval", class_figure(name)
    yield "macro-F1 of three classes", "interval", class_figure("macro_f1")
    yield "recall, unequal weights", "interval", weighted_recall
    for name in ("fpr", "recall", "precision", "selection_rate", "calibration"):
        title = f"a group's {name.replace('_', ' ')}, "
        # Few light hits among heavy misses, and scores that claim more spread than they have, are
        # met on the safe side.
        safe = "promise" if name in ("fpr", "calibration") else "interval"
        yield title + "drawn by score", safe, weighted(name)
        yield title + "unequal weights", safe, weighted(name, few=True)
    yield "gap of two groups, drawn by score", "promise", weighted_gap
    yield "pass rate over templates", "promise", templates
    yield "calibration error, calibrated", "promise", error_of_calibration(0.0)
    yield "calibration error, 3 points off", "interval", error_of_calibration(0.03)
    yield "calibration error, 10 points off", "interval", error_of_calibration(0.1)
    yield "bin of the reliability curve", "interval", reliability
    yield "prevalence, strata", "interval", prevalence("strata")
    yield "prevalence, strata and scores", "interval", prevalence("strata scores")
    yield "prevalence, simple and scores", "interval", prevalence("simple scores")
    yield "prevalence, unequal chances", "interval", prevalence("unequal")
    yield "max_recall", "promise", promised(lambda c: precision(c) >= 0.8, min_precision=0.8)
    yield (
        "max_precision",
        "promise",
        promised(lambda c: recall(c) >= 0.9, objective="max_precision", min_recall=0.9),
    )
    yield (
        "max_fpr",
        "promise",
        promised(lambda c: fpr(c) <= 0.02, objective="max_fpr", max_fpr=0.02),
    )
    yield "min_cost, bound on the cost", "promise", cost_promised
    yield "two classes together", "promise", classes_promised
    yield "three segments together", "promise", segments_promised
    yield "reviews within the capacity", "promise", reviews_promised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    started = time.process_time()
    figures = {}
    error = math.sqrt(asked.confidence * (1 - asked.confidence) / asked.rounds)
    print(f"nominal {asked.confidence:g}, {asked.rounds} rounds, standard error {error:.3f}\n")
    for name, kind, once in cases():
        if asked.only not in name:
            continue
        rng = np.random.default_rng(asked.seed)
        share = float(np.mean([once(rng, asked.confidence) for _ in range(asked.rounds)]))
        off = share - asked.confidence
        good = off >= -2 * error if kind == "promise" else abs(off) <= 0.015
        figures[name] = {"kind": kind, "coverage": share, "good": good}
        print(f"{name:<42}{kind:<10}{share:>7.3f}  {'' if good else 'OFF'}", flush=True)
    print()
    result = {"benchmark": "coverage", "confidence": asked.confidence, "rounds": asked.rounds}
    print(json.dumps({**result, "cases": figures, "cpu_seconds": time.process_time() - started}))


if __name__ == "__main__":
    main()
