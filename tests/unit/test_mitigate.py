"""Models trained against an unfairness, judged and shown beside the untreated one."""

import numpy as np
import pandas as pd
import pytest

from tidegate import store
from tidegate.config import DataConfig, FeatureConfig, PolicyConfig, SearchConfig
from tidegate.data.ingest import ingest
from tidegate.evaluation.steps import evaluate_candidate, model_folder
from tidegate.features.matrices import featurize
from tidegate.models.bundle import load_bundle
from tidegate.models.candidate import assemble_candidate
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Setting
from tidegate.records import BaselineModel, SearchResult
from tidegate.search.finish import finish
from tidegate.search.tasks import Room
from tidegate.search.trial import run_trial

ALL = ("reweight", "resample", "group_robust")
POLICY = PolicyConfig(
    min_precision=0.6, min_group_rows=20, mitigate=ALL, max_fpr_gap=0.1, confidence=0.9
)


def posts(rows=2400):
    """Posts that mention their group; group "de" violates more often in what was labelled."""
    rng = np.random.default_rng(0)
    lang = rng.choice(["en", "de"], rows)
    label = (rng.random(rows) < np.where(lang == "de", 0.75, 0.15)).astype(int)
    words = np.array(["nice", "lunch", "sun", "rain", "bad", "worse"])
    telling = rng.random(rows) < np.where(label == 1, 0.8, 0.15)
    text = [
        f"{'german' if g == 'de' else 'english'} {words[4 + rng.integers(2)] if t else ''} "
        f"{' '.join(rng.choice(words[:4], 3))} w{rng.integers(500)}"
        for g, t in zip(lang, telling, strict=True)
    ]
    return pd.DataFrame({"text": text, "y": label, "lang": lang})


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    """A candidate's folder whose search trained all mitigated models."""
    folder = tmp_path_factory.mktemp("run")
    posts().to_parquet(folder / "posts.parquet")
    data = DataConfig.model_validate(
        {"source": str(folder / "posts.parquet"), "text": "text", "label": "y", "groups": "lang"}
    )
    ingest(data, name="posts", source_digest="", out=folder / "snapshot")
    featurize(folder / "snapshot", FeatureConfig(embedding="none"), folder / "features")
    search = folder / "search"
    (search / "trials" / "000").mkdir(parents=True)
    logistic = algorithm("logistic")
    trial = run_trial(
        folder / "features",
        logistic,
        logistic.defaults,
        setting=Setting(),
        out=search / "trials" / "000",
        report=lambda point: None,
    )
    result = SearchResult(trials=(trial,), best=0, benchmark=0, seconds=1, stopped_by="trials")
    config = SearchConfig(trials=1, mitigate=ALL)
    result = finish(result, folder / "features", config, search, Room(1, 1, lambda: 300))
    store.write_record(search / "search.json", result)
    assemble_candidate(
        "posts",
        snapshot=folder / "snapshot",
        features=folder / "features",
        search=search,
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
        out=folder / "candidate",
    )
    return folder / "candidate"


def test_each_mitigation_is_judged_beside_the_untreated_model(candidate, tmp_path):
    report = evaluate_candidate(candidate, POLICY, tmp_path / "evaluation")
    assert report.fairness.verdict == "fail"
    assert report.mitigation is None
    shown = {found.name: found for found in report.mitigations}
    assert set(shown) == set(ALL)
    untreated = next(gap.gap for gap in report.fairness.gaps if gap.metric == "fpr")
    for found in shown.values():
        difference = found.differences["average_precision"]
        assert difference.baseline == pytest.approx(report.average_precision)
        low, high = difference.difference_ci
        assert low <= difference.difference <= high
    treated = next(gap.gap for gap in shown["reweight"].fairness.gaps if gap.metric == "fpr")
    assert treated < untreated
    again = store.read_record(tmp_path / "evaluation" / "evaluation.json", type(report))
    assert again == report


def test_a_treated_model_is_released_only_where_the_policy_lets_it(candidate, tmp_path):
    lets = POLICY.model_copy(
        update={"mitigation_wins": True, "max_fpr_gap": 0.25, "non_inferiority_margin": 0.3}
    )
    report = evaluate_candidate(candidate, lets, tmp_path / "evaluation")

    assert report.mitigation in ALL
    assert report.decision == "promote"
    assert report.fairness.verdict == "pass"
    assert any("policy.mitigation_wins" in reason for reason in report.reasons)
    chosen = model_folder(candidate, report)
    holdout = store.read_table(tmp_path / "evaluation" / "scored" / "holdout.parquet")
    treated = store.read_table(chosen / "scored" / "holdout.parquet")
    pd.testing.assert_frame_equal(holdout, treated)
    bundle = load_bundle(chosen / "bundle")
    assert bundle.manifest.algorithm == report.algorithm


def test_groups_never_become_inputs_of_a_treated_model(candidate):
    for name in ALL:
        inputs = load_bundle(candidate / "mitigated" / name / "bundle").manifest.inputs
        assert [column.name for column in inputs] == ["text"]


def test_an_audit_that_passes_needs_no_mitigation(candidate, tmp_path):
    lenient = POLICY.model_copy(update={"max_fpr_gap": 1.0})
    report = evaluate_candidate(candidate, lenient, tmp_path / "evaluation")
    assert report.fairness.verdict == "pass"
    assert report.mitigations == ()
