"""A made-up run, for the tests of what is told of runs."""

import functools

import numpy as np
import pandas as pd

from tidegate.config import PolicyConfig
from tidegate.evaluation.audit import audit_record
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.evaluate import evaluate
from tidegate.evaluation.functional import functional_report
from tidegate.evaluation.golden_set import measure_golden_set
from tidegate.evaluation.mitigations import mitigation_report, untreated_report
from tidegate.evaluation.report import render_report
from tidegate.evaluation.slices import confident_errors, worst_slices
from tidegate.records import (
    Agreement,
    CascadeReport,
    ClassMetrics,
    ClassThreshold,
    Column,
    ColumnProfile,
    CurvePoint,
    DuplicateSummary,
    Expectation,
    FilterMeasurement,
    PassThroughPoint,
    PastEvaluation,
    SearchResult,
    Snapshot,
    SplitSummary,
    TreatedModel,
    TrialResult,
    ValidationReport,
)

HOSTILE = "</script><b>x</b>|&"


def scored(rows, seed, strength=6.0, weighted=False):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(int)
    return pd.DataFrame(
        {
            "id": [f"secret-row-{i}" for i in range(rows)],
            "label": labels,
            "weight": rng.choice([0.3, 1.0, 1.5], rows) if weighted else 1.0,
            "score": 1 / (1 + np.exp(-(strength * (labels - 0.5) + rng.normal(size=rows)))),
            "lang": np.where(rng.random(rows) < 0.5, "en", HOSTILE),
            "tiny": np.where(np.arange(rows) < 4, "rare", None),
        }
    )


@functools.cache
def evaluation_of(strength=6.0, weighted=False, prevalence=None):
    validation = scored(3000, 0, strength, weighted)
    holdout = scored(3000, 1, strength, weighted)
    found = evaluate(
        validation,
        holdout,
        baseline=Baseline("logistic", "benchmark_model", 0.5, holdout, note="First run."),
        policy=PolicyConfig(insufficient_fairness="allow", prevalence=prevalence),
        groups=("lang", "tiny"),
        name="comments",
        algorithm="xgboost",
        prevalence={"train": 0.49, "validation": 0.3, "holdout": 0.048},
    )
    return found, validation, holdout


POLICY = {"posts_per_day": 40_000, "review_capacity": 2_000, "segments": "lang"}


@functools.cache
def everything():
    """Return an evaluation in which no part is absent, and its tables.

    A model is in service, posts go to review, there are segments, functional tests, and a golden
    set with a history.
    """
    validation, holdout = scored(3000, 0, 3.0), scored(3000, 1, 3.0)
    holdout["_slice_body.length"] = np.where(holdout["label"] == 1, "long", "short")
    hard = holdout["id"].str.endswith("7").to_numpy()
    holdout["_slice_topic"] = np.where(hard, "hard", "plain")
    holdout.loc[hard, "score"] = 1 - holdout.loc[hard, "score"]
    before = holdout.assign(score=holdout["score"] ** 2)
    policy = PolicyConfig(
        insufficient_fairness="allow", min_precision=0.8, max_gaps={"fnr": 0.1}, **POLICY
    )
    found = evaluate(
        validation,
        holdout,
        baseline=Baseline("v7", "in_service", 0.4, before),
        policy=policy,
        groups=("lang", "tiny"),
        name="comments",
        algorithm="xgboost",
        prevalence={"train": 0.49, "validation": 0.3, "holdout": 0.3},
    )
    golden = scored(500, 5, 3.0)
    first = measure_golden_set(golden, 0.5, None, policy=policy).figures
    past = PastEvaluation(
        run_digest="r",
        evaluated_at="2026-01-02T03:04:05+00:00",
        algorithm="logistic",
        holdout_digest="h",
        decision="promote",
        average_precision=0.8,
        golden=first,
    )
    found = found.model_copy(
        update={
            "worst_slices": worst_slices(
                holdout, groups=("lang",), threshold=found.threshold, policy=policy
            ),
            "confident_errors": confident_errors(holdout, found.threshold),
            "functional": functional_report(_sentences(), found.threshold, confidence=0.95),
            "golden_set": measure_golden_set(
                golden,
                found.threshold,
                Baseline("v7", "in_service", 0.4, golden.assign(score=golden["score"] ** 2)),
                policy=policy,
                history=(past,),
            ),
            "holdout_uses": 3,
            "class_thresholds": _class_thresholds(found.validation_threshold),
            "cascade": CASCADE,
        }
    )
    return with_mitigations(found, validation, holdout), validation, holdout


def with_mitigations(found, validation, holdout):
    """Return an evaluation whose model stands beside one that was trained against its gap."""
    policy = PolicyConfig(
        insufficient_fairness="allow", min_precision=0.8, max_gaps={"fnr": 0.1}, **POLICY
    )
    softer = holdout.assign(
        score=holdout["score"] ** 1.1 * np.where(holdout["lang"] == "en", 1, 0.97)
    )
    untreated = Baseline("untreated", "configured", found.threshold, holdout)
    judged = evaluate(
        validation,
        softer,
        baseline=untreated,
        policy=policy,
        groups=("lang", "tiny"),
        name="comments",
        algorithm="xgboost",
        prevalence={},
    )
    treated = TreatedModel(name="group_robust", algorithm="xgboost", params={})
    return found.model_copy(
        update={
            "untreated": untreated_report(found),
            "mitigations": (mitigation_report(treated, judged, softer, untreated, policy),),
        }
    )


def _class_thresholds(threshold):
    shown = {"flagged": 100, "precision": 0.9, "precision_lower_bound": 0.84, "recall": 0.5}
    kept = ClassThreshold(
        name="hate|speech",
        n=300,
        risk=0.025,
        threshold=threshold,
        best_reachable=None,
        recall_ci=(0.44, 0.56),
        **shown,
    )
    broken = kept.model_copy(update={"name": "spam", "refuted": True})
    bare = {"flagged": None, "precision": None, "precision_lower_bound": None, "recall": None}
    none = {"name": "threat", "threshold": None, "recall_ci": None, **bare}
    return kept, broken, kept.model_copy(update=none)


CASCADE = CascadeReport(
    pass_through=0.0123,
    max_recall_loss=0.01,
    confidence=0.95,
    threshold=0.5,
    evidence={"validation": Agreement(rows=3000, flagged=800)},
    flagged_needed=299,
    loss_upper_bound=0.0072,
    share_saved=0.62,
    share_saved_ci=(0.6, 0.64),
    curve=(PassThroughPoint(load=0.5, max_loss=0.02, pass_through=0.03, lost=9),),
    holdout=FilterMeasurement(
        rows=3000,
        stopped=1860,
        flagged=790,
        flagged_lost=2,
        violating=900,
        recall_lost=0.001,
        recall_lost_upper_bound=0.005,
    ),
)


def _sentences():
    rng = np.random.default_rng(3)
    rows = [
        {
            "_functionality": kind,
            "_template": f"{kind} {template}",
            "_identity": identity,
            "_expected": expected,
            "score": float(np.clip(0.2 + 0.6 * expected + rng.normal(0, 0.2), 0, 1)),
        }
        for kind, expected in (("hostility_plain", 1), ("quoted_hostility", 0))
        for template in range(5)
        for identity in ("women", "men", "gay people")
    ]
    return pd.DataFrame(rows)


def search():
    curve = tuple(
        CurvePoint(
            step=step,
            train_log_loss=1 / step,
            validation_log_loss=0.5 + 0.01 * abs(step - 4),
            validation_average_precision=0.8,
        )
        for step in range(1, 9)
    )
    done = {"status": "succeeded", "curve": curve, "seconds": 2.0, "log_loss": 0.5}
    return SearchResult(
        trials=(
            TrialResult(
                number=0, algorithm="logistic", params={"C": 1.0}, average_precision=0.8, **done
            ),
            TrialResult(
                number=1, algorithm="xgboost", params={"depth": 6}, average_precision=0.85, **done
            ),
            TrialResult(
                number=2, algorithm="xgboost", params={}, status="failed", seconds=1.0, error="full"
            ),
        ),
        best=1,
        benchmark=0,
        seconds=5.0,
        stopped_by="trials",
    )


def snapshot():
    return Snapshot(
        name="comments",
        digest="ab" * 32,
        columns=(Column(name="body|raw", kind="text"),),
        groups=("lang", "tiny"),
        splits={
            "train": SplitSummary(
                rows=9000, violating=4410, prevalence=0.49, time_start="2001", time_end="2002"
            ),
            "validation": SplitSummary(rows=3000, violating=900, prevalence=0.3),
            "holdout": SplitSummary(rows=3000, violating=144, prevalence=0.048),
        },
        label_values={"spam": 1, "ham": 0},
        duplicates=DuplicateSummary(
            exact_within_train=12,
            exact_train_validation=3,
            exact_train_holdout=5,
            near_train_validation=7,
            near_train_holdout=1234,
            dropped_validation=3,
            dropped_holdout=5,
            near_similarity=0.9,
        ),
        notices=("Five rows without text were dropped.",),
        profiles={
            "body|raw": ColumnProfile(null_share=0.01, minimum=1, mean=80.5, maximum=900),
            "_group_lang": ColumnProfile(null_share=0, categories=("en", HOSTILE)),
        },
    )


def checks():
    return ValidationReport(
        passed=True,
        expectations=(
            Expectation(
                split="holdout",
                name="prevalence_between",
                column="label",
                severity="warning",
                passed=False,
                observed="0.048",
                expected="0.39 to 0.59",
            ),
            Expectation(
                split="train", name="ids_unique", column="id", severity="critical", passed=True
            ),
        ),
    )


CONFIG = {
    "name": "comments",
    "data": {
        "source": ["comments.parquet"],
        "label": "verdict",
        "violating": ["spam"],
        "label_source": "judge",
        "label_weights": {"appeal": 1.0, "report": 0.3},
    },
    "policy": {"min_precision": 0.9, "prevalence": None},
    "cluster": {"image": "tidegate/cpu@sha256:" + "ef" * 32},
}
DIGESTS = {"data": "ab" * 32, "code": "cd" * 32}


def rendered(strength=6.0, weighted=False, classes=False, **policy):
    """Return the evaluation, its page, and the holdout behind them."""
    found, validation, holdout = evaluation_of(strength, weighted, policy.get("prevalence"))
    found = with_classes(found) if classes else found
    page = render_report(
        evaluation=found,
        validation_scored=validation,
        holdout_scored=holdout,
        search=search(),
        data_validation=checks(),
        snapshot=snapshot(),
        config=CONFIG | {"policy": CONFIG["policy"] | policy},
        digests=DIGESTS,
        search_cost="0.5 EUR (12 CPU h, 24 GiB h, 0 GPU h requested)",
    )
    return found, page, holdout


def rendered_whole(texts=None):
    """Return the evaluation in which nothing is absent, and its page."""
    found, validation, holdout = everything()
    page = render_report(
        evaluation=found,
        validation_scored=validation,
        holdout_scored=holdout,
        search=search(),
        data_validation=checks(),
        snapshot=snapshot(),
        config=CONFIG | {"policy": {"min_precision": 0.8, "max_holdout_uses": 10, **POLICY}},
        digests=DIGESTS,
        cleaning={"body|raw:urls": 1200, "body|raw:emoji": 45},
        texts=texts,
    )
    return found, page, holdout


def with_classes(found):
    """Return an evaluation as that of a model of two classes."""
    hate = ClassMetrics(
        name="hate", n=40, precision=0.81, recall=0.62, f1=0.702, average_precision=None
    )
    spam = ClassMetrics(
        name="spam|ads", n=90, precision=0.9, recall=0.8, f1=0.847, average_precision=0.913
    )
    return found.model_copy(
        update={"classes": (hate, spam), "macro_f1": 0.7745, "roc_auc_ovo": None}
    )


def audited(strength=6.0, classes=False):
    found, _, _ = evaluation_of(strength)
    found = with_classes(found) if classes else found
    return audit_record(
        evaluation=found,
        snapshot=snapshot(),
        data_validation=checks(),
        config=CONFIG,
        digests=DIGESTS,
    )
