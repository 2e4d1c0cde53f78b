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
from tidegate.records import BaselineModel, Candidate, SearchResult, TreatedModel
from tidegate.search.mitigate import mitigate
from tidegate.search.tasks import Room
from tidegate.search.trial import run_trial

ALL = ("reweight", "resample", "group_robust")
POLICY = PolicyConfig(
    min_precision=0.6, min_group_rows=20, mitigate=ALL, max_fpr_gap=0.1, confidence=0.9
)
STRICT = POLICY.model_copy(update={"min_precision": 0.8})


def posts(rows=1000):
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


def _run_here(tasks, room, *, preload=()):
    for task in tasks:
        task()


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
    with pytest.MonkeyPatch.context() as patch:
        # Where tasks run has tests of its own; a process takes seconds to start.
        patch.setattr("tidegate.search.mitigate.run_tasks", _run_here)
        assert (
            mitigate(result, folder / "features", config, search, Room(1, 1, lambda: 300)) is None
        )
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


def scored(seed, *, against_de, rows=1000):
    """Scores that tell violating posts, with those of group "de" shifted up by `against_de`."""
    rng = np.random.default_rng(seed)
    lang = np.where(rng.random(rows) < 0.5, "en", "de")
    label = (rng.random(rows) < 0.4).astype(int)
    z = 5 * (label - 0.5) + rng.normal(size=rows) + against_de * (lang == "de")
    columns = {"id": np.arange(rows), "label": label, "weight": 1.0, "lang": lang}
    return pd.DataFrame(columns | {"score": 1 / (1 + np.exp(-z))})


def judged_folder(folder, **treated):
    """Write a candidate that is unfair to "de", and models that are treated as told."""
    candidate = Candidate(
        name="posts",
        algorithm="logistic",
        params={},
        groups=("lang",),
        prevalence={},
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
    )
    store.write_record(folder / "candidate.json", candidate)
    models = {"scored": 2.5, "baseline": 2.5}
    for name, against_de in treated.items():
        told = TreatedModel(name=name, algorithm="logistic", params={})
        store.write_record(folder / "mitigated" / name / "treated.json", told)
        models[f"mitigated/{name}/scored"] = against_de
    for place, against_de in models.items():
        for seed, split in enumerate(("validation", "holdout")):
            table = scored(seed, against_de=against_de)
            store.write_table(folder / place / f"{split}.parquet", table)
    return folder


def test_a_treated_model_is_released_only_where_the_policy_lets_it(tmp_path):
    folder = judged_folder(tmp_path / "run", reweight=1.8, group_robust=0.0)
    shown = evaluate_candidate(folder, STRICT, tmp_path / "shown")
    assert (shown.decision, shown.mitigation) == ("hold", None)
    assert {x.name: x.fairness.verdict for x in shown.mitigations} == {
        "reweight": "fail",
        "group_robust": "pass",
    }
    assert model_folder(folder, shown) == folder

    wins = STRICT.model_copy(update={"mitigation_wins": True})
    report = evaluate_candidate(folder, wins, tmp_path / "wins")
    assert (report.decision, report.mitigation) == ("promote", "group_robust")
    assert any("policy.mitigation_wins" in reason for reason in report.reasons)
    assert report.untreated.fairness == shown.fairness
    assert report.untreated.decision == "hold"
    chosen = model_folder(folder, report)
    written = store.read_table(tmp_path / "wins" / "scored" / "holdout.parquet")
    treated = store.read_table(chosen / "scored" / "holdout.parquet")
    pd.testing.assert_frame_equal(written, treated)


def test_a_treated_model_that_fails_its_own_audit_is_never_released(tmp_path):
    folder = judged_folder(tmp_path / "run", reweight=1.8)
    wins = STRICT.model_copy(update={"mitigation_wins": True})
    report = evaluate_candidate(folder, wins, tmp_path / "wins")
    assert (report.decision, report.mitigation) == ("hold", None)
    assert [x.name for x in report.mitigations] == ["reweight"]


def test_groups_never_become_inputs_of_a_treated_model(candidate):
    for name in ALL:
        inputs = load_bundle(candidate / "mitigated" / name / "bundle").manifest.inputs
        assert [column.name for column in inputs] == ["text"]


def test_an_audit_that_passes_needs_no_mitigation(tmp_path):
    folder = judged_folder(tmp_path / "run", reweight=0.0)
    lenient = STRICT.model_copy(update={"max_fpr_gap": 1.0})
    report = evaluate_candidate(folder, lenient, tmp_path / "evaluation")
    assert report.fairness.verdict == "pass"
    assert (report.mitigations, report.untreated) == ((), None)
