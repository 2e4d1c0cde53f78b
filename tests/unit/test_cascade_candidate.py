"""A cascade from the search to the bundle: distilled, proven, judged by its own scores, served."""

import shutil

import numpy as np
import pandas as pd
import pytest

from tidegate.config import DataConfig, FeatureConfig, PolicyConfig, RunConfig, SearchConfig
from tidegate.data.ingest import ingest
from tidegate.errors import BadInput
from tidegate.evaluation.steps import evaluate_candidate
from tidegate.features.matrices import featurize
from tidegate.models.bundle import load_bundle, with_decision_rule
from tidegate.models.candidate import assemble_candidate, served_bundle
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.models.split_cascade import split_cascade
from tidegate.plan import plan_retrain
from tidegate.records import BaselineModel, SearchResult, Snapshot
from tidegate.search.finish import finish
from tidegate.search.tasks import Room
from tidegate.search.trial import run_trial
from tidegate.search.warmstart import warm_points
from tidegate.store import read_record, read_table, write_record

XGBOOST = algorithm("xgboost")
ASKED = {"max_recall_loss": 0.03, "overload_recall_loss": 0.2}


def policy(**cascade):
    return PolicyConfig.model_validate(
        {"min_precision": 0.8, "confidence": 0.9, "cascade": {**ASKED, **cascade}}
    )


@pytest.fixture(scope="module")
def candidate(tmp_path_factory, make_posts):
    """A candidate of one boosted trial with a distilled model, cross-fitted scores and a snapshot.

    Its folder is ``candidate``; the search's is ``search``.
    """
    root = tmp_path_factory.mktemp("cascade")
    make_posts(1600).to_parquet(root / "posts.parquet")
    make_posts(1200, seed=5).to_parquet(root / "more.parquet")
    told = {"text": "body", "label": "violating", "columns": "account_age_days"}
    config = DataConfig.model_validate(
        {
            **told,
            "source": str(root / "posts.parquet"),
            "unlabelled": str(root / "more.parquet"),
            "split": {"by": "random", "validation": 0.25, "holdout": 0.25},
            "history": "account_age_days",
        }
    )
    ingest(config, name="posts", source_digest="", out=root / "snapshot")
    features = FeatureConfig(embedding="none", max_inner_features=0, max_char_features=4000)
    featurize(root / "snapshot", features, root / "features")
    search = root / "search"
    (search / "trials" / "000").mkdir(parents=True)
    trial = run_trial(
        root / "features",
        XGBOOST,
        {**XGBOOST.defaults, "features": "words+chars"},
        number=0,
        setting=Setting(),
        out=search / "trials" / "000",
        report=lambda point: None,
    )
    result = SearchResult(trials=(trial,), best=0, benchmark=0, seconds=1, stopped_by="trials")
    settings = SearchConfig(trials=1, distill=True, crossfit_folds=2)
    room = Room(2, 1, lambda: 200)
    result = finish(result, root / "features", settings, search, room)
    write_record(search / "search.json", result)
    assemble_candidate(
        "posts",
        snapshot=root / "snapshot",
        features=root / "features",
        search=search,
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
        out=root / "candidate",
    )
    return root


def judged(root, out, **cascade):
    return evaluate_candidate(root / "candidate", policy(**cascade), out)


def test_rows_that_neither_model_learned_from_are_kept_as_pairs(candidate):
    kept = read_table(candidate / "candidate" / "light" / "agreement.parquet")
    train = len(read_table(candidate / "snapshot" / "train.parquet"))
    assert kept["source"].value_counts().to_dict() == {"unlabelled": 600, "training": train}
    assert kept[["light", "heavy"]].notna().all().all()
    for _, rows in kept.groupby("source"):
        assert 0.8 < np.corrcoef(rows["light"], rows["heavy"])[0, 1] < 1


@pytest.fixture(scope="module")
def served(candidate):
    """The evaluation's report, its folder, and the bundle that serves."""
    out = candidate / "evaluation"
    report = judged(candidate, out)
    folder = served_bundle(candidate / "candidate", report.cascade, candidate / "served")
    with_decision_rule(
        folder,
        candidate / "served",
        threshold=report.threshold,
        min_precision=report.min_precision,
        confidence=report.confidence,
    )
    return report, out, load_bundle(candidate / "served")


def test_the_bundle_scores_as_the_cascade_was_judged(candidate, served):
    report, out, bundle = served
    assert bundle.manifest.algorithm == "cascade"
    assert bundle.manifest.params["heavy"] == "xgboost"
    for split in ("validation", "holdout"):
        rows = read_table(candidate / "snapshot" / f"{split}.parquet")
        scored = read_table(out / "scored" / f"{split}.parquet")
        assert "_light" not in scored
        assert bundle.score(rows) == pytest.approx(scored["score"].to_numpy(), abs=1e-6)
    assert report.cascade.threshold == report.threshold == bundle.manifest.threshold
    assert report.cascade.pass_through == bundle.model.curve[0].pass_through


def test_the_drift_reference_holds_the_cascades_own_scores(candidate, served):
    _, _, bundle = served
    reference = read_table(candidate / "served" / "drift_reference.parquet")
    heavy = read_table(candidate / "candidate" / "bundle" / "drift_reference.parquet")
    rows = read_table(candidate / "snapshot" / "validation.parquet")
    assert reference["score"].to_numpy() == pytest.approx(bundle.score(rows), abs=1e-6)
    assert (reference["score"] != heavy["score"]).any()
    assert reference.drop(columns="score").equals(heavy.drop(columns="score"))


def test_what_a_new_account_lacks_is_the_bundles_own_statement(candidate, served):
    assert read_record(candidate / "snapshot" / "snapshot.json", Snapshot).history == (
        "account_age_days",
    )
    for folder in (candidate / "candidate" / "bundle", candidate / "served"):
        assert load_bundle(folder).manifest.paths["new_account"] == ("body",)


def test_a_row_that_stops_is_not_flagged_and_a_row_that_passes_scores_as_the_heavy_model(
    candidate, served
):
    report, out, bundle = served
    rows = read_table(candidate / "snapshot" / "holdout.parquet")
    heavy = load_bundle(candidate / "candidate" / "bundle").score(rows)
    found = bundle.model.route(bundle.featurizer.transform(rows))
    score = read_table(out / "scored" / "holdout.parquet")["score"].to_numpy()
    assert found.stopped.any()
    assert (score[found.stopped] < report.threshold).all()
    assert score[~found.stopped] == pytest.approx(heavy[~found.stopped], abs=1e-6)


def test_a_filter_and_a_heavy_model_apart_answer_as_the_cascade_does(candidate, served, tmp_path):
    report, out, bundle = served
    split_cascade(candidate / "served", tmp_path / "filter", tmp_path / "heavy")
    light, heavy = (load_bundle(tmp_path / name) for name in ("filter", "heavy"))
    assert light.manifest.name == "posts-filter"
    assert heavy.manifest.threshold == bundle.manifest.threshold
    rows = read_table(candidate / "snapshot" / "holdout.parquet")
    passed = light.score(rows) >= light.manifest.threshold
    apart = np.where(passed, heavy.score(rows), light.score(rows))
    served_score = read_table(out / "scored" / "holdout.parquet")["score"]
    assert apart == pytest.approx(served_score.to_numpy(), abs=1e-6)
    assert passed.sum() == report.cascade.holdout.rows - report.cascade.holdout.stopped
    with pytest.raises(BadInput, match="holds a model of 'logistic', no cascade"):
        split_cascade(tmp_path / "filter", tmp_path / "a", tmp_path / "b")


def test_the_holdout_says_what_is_saved_and_lost(served):
    report, _, _ = served
    found = report.cascade.holdout
    assert found.rows == report.rows
    assert found.violating == report.violating
    assert found.stopped / found.rows == pytest.approx(report.cascade.share_saved, abs=0.1)
    assert found.flagged_lost <= 0.1 * found.flagged
    assert found.flagged - found.flagged_lost == report.flagged


def test_a_promise_that_the_rows_cannot_show_leaves_the_heavy_model_alone(candidate, tmp_path):
    report = judged(candidate, tmp_path / "e", max_recall_loss=1e-4)
    assert report.cascade.pass_through is None
    assert "rows that the model flags" in report.cascade.reason
    folder = served_bundle(candidate / "candidate", report.cascade, tmp_path / "served")
    assert folder == candidate / "candidate" / "bundle"
    assert not (tmp_path / "served").exists()
    plain = evaluate_candidate(
        candidate / "candidate",
        policy().model_copy(update={"cascade": None}),
        tmp_path / "plain",
    )
    assert plain.threshold == report.threshold
    assert plain.cascade is None


def test_a_search_without_a_light_model_is_a_refusal(candidate, tmp_path):
    shutil.copytree(candidate / "candidate", tmp_path / "candidate")
    for table in (tmp_path / "candidate" / "scored").glob("*.parquet"):
        read_table(table).drop(columns=["_light"], errors="ignore").to_parquet(table)
    report = evaluate_candidate(tmp_path / "candidate", policy(), tmp_path / "e")
    assert report.cascade.pass_through is None
    assert "no light model" in report.cascade.reason


def test_the_next_search_starts_from_the_heavy_models_point(candidate, served):
    settings = SearchConfig(warm_start=str(candidate / "served"))
    points = warm_points(settings, [algorithm("logistic"), XGBOOST])
    trial = read_record(candidate / "search" / "search.json", SearchResult).trials[0]
    assert points == {"logistic": [], "xgboost": [dict(trial.params)]}


def test_the_policy_asks_the_search_for_a_light_model(tmp_path):
    pd.DataFrame({"text": ["a"], "y": [1]}).to_parquet(tmp_path / "posts.parquet")
    data = {"source": str(tmp_path / "posts.parquet"), "text": "text", "label": "y"}

    def searched(**policy):
        config = RunConfig.model_validate({"name": "x", "data": data, "policy": policy})
        return plan_retrain(config, tmp_path / "models").arguments["search_settings"]

    assert '"distill":true' in searched(cascade={})
    assert searched(cascade={}) == searched(cascade={"max_recall_loss": 0.01})
    assert '"distill":false' in searched()
