"""The page about a bad candidate names what was found and everything that changed."""

import json
import re

import pytest

from tests.report_sample import HOSTILE, evaluation_of
from tidegate import store
from tidegate.records import (
    BundleManifest,
    Column,
    DecisionRule,
    Finding,
    ReleaseState,
    StepAnalysis,
)
from tidegate.rollout.root_cause import (
    Made,
    RootCause,
    read_made,
    root_cause,
    write_root_cause,
)

STATE = ReleaseState(
    name="comments",
    baseline="v1",
    candidate="v2",
    run_digest="0",
    steps=(0, 5, 100),
    step=1,
    phase="rolled_back",
    began_at="2026-03-01T12:00:00+00:00",
    step_began_at="2026-03-01T12:00:00+00:00",
    reason="flips: 31 % of 400 replayed rows are decided otherwise",
)
FLIPS = Finding(
    source="decisions",
    name="flips",
    verdict="rollback",
    says=f"31 % of 400 rows {HOSTILE}",
    candidate=0.31,
    interval=(0.2, 0.43),
    bound=0.1,
    rows=400,
)
FINE = Finding(source="ops", name="errors", verdict="advance", says="all is well")
ANALYSIS = StepAnalysis(verdict="rollback", findings=(FINE, FLIPS), candidate_requests=400)


def manifest(version, **changes):
    return BundleManifest(
        **{
            "name": "comments",
            "version": version,
            "format": 1,
            "created_at": "2026-03-01T11:00:00+00:00",
            "algorithm": "xgboost",
            "params": {"max_depth": 6, "eta": 0.1},
            "inputs": (Column(name="body", kind="text"),),
            "threshold": 0.8,
            "min_precision": 0.9,
            "confidence": 0.95,
            "snapshot_digest": "aaa",
            "files": {},
            "libraries": {"numpy": "2.4.0"},
            **changes,
        }
    )


def config(**changes):
    return {"data": {"source": "a.parquet"}, "features": {"text": {"words": 100}}, **changes}


BASELINE = Made(manifest("v1"), config=config(search={"trials": 40}), digests={"code": "c1"})


def test_every_kind_of_change_is_named_with_both_values():
    candidate = Made(
        manifest(
            "v2",
            params={"max_depth": 9, "eta": 0.1},
            snapshot_digest="bbb",
            threshold=0.4,
            rule=DecisionRule(review_threshold=0.2),
            inputs=(Column(name="body", kind="text"), Column(name="age", kind="numeric")),
            libraries={"numpy": "2.5.0", "scipy": "1.16"},
        ),
        config=config(search={"trials": 10}, features={"text": {"words": 50}}),
        digests={"code": "c2"},
    )
    cause = root_cause(STATE, ANALYSIS, candidate, BASELINE)
    found = {(c.part, c.key): (c.baseline, c.candidate) for c in cause.changes}
    assert found == {
        ("data", "snapshot"): ("aaa", "bbb"),
        ("data", "input.age"): (None, "numeric"),
        ("data", "digest.code"): ("c1", "c2"),
        ("features", "features.text.words"): ("100", "50"),
        ("hyperparameters", "max_depth"): ("6", "9"),
        ("decision rule", "threshold"): ("0.8", "0.4"),
        ("decision rule", "review_threshold"): ("None", "0.2"),
        ("configuration", "search.trials"): ("40", "10"),
        ("libraries", "numpy"): ("2.4.0", "2.5.0"),
        ("libraries", "scipy"): (None, "1.16"),
    }
    assert cause.unchanged == ()
    assert [finding.name for finding in cause.findings] == ["flips"]


def test_what_did_not_change_is_said_and_what_is_not_known_is_not_called_unchanged():
    same = root_cause(STATE, ANALYSIS, Made(manifest("v2")), BASELINE)
    assert same.unchanged == ("hyperparameters", "decision rule", "libraries")
    assert same.changed == ("data",)  # the baseline's run kept a digest, this one's did not
    alike = root_cause(STATE, None, BASELINE, BASELINE)
    assert alike.changes == ()
    assert len(alike.unchanged) == 6
    assert alike.findings == ()


def test_groups_come_with_the_figures_of_both_runs_largest_loss_first():
    strong = evaluation_of()[0]
    losing = (g.model_copy(update={"recall": 0.2}) for g in strong.groups)
    weak = strong.model_copy(update={"groups": (*strong.groups[1:], next(losing))})
    candidate = Made(manifest("v2"), evaluation=weak)
    cause = root_cause(STATE, ANALYSIS, candidate, Made(manifest("v1"), evaluation=strong))
    first = cause.groups[0]
    assert {g.column for g in cause.groups} == {"lang", "tiny"}
    assert (first.group, first.recall) == (strong.groups[0].group, 0.2)
    assert first.baseline_recall == strong.groups[0].recall


def test_the_page_holds_everything_is_safe_and_loads_nothing(tmp_path):
    candidate = Made(manifest("v2", threshold=0.4), evaluation=evaluation_of()[0])
    cause = root_cause(STATE, ANALYSIS, candidate, BASELINE)
    page = write_root_cause(tmp_path, cause).read_text()
    assert store.read_record(tmp_path / "root_cause.json", RootCause) == cause
    body = page[page.index("<body") : page.index("<footer")]
    assert "stopped at 5 % of traffic" in body
    assert "31 % of 400 rows &lt;/script&gt;" in body
    assert re.search(r"threshold</th><td>0.8</td><td>0.4</td>", body)
    assert HOSTILE not in body
    assert not re.search(r"<(link|img|iframe)|src=", body)


@pytest.mark.parametrize("whole", [True, False])
def test_a_version_is_read_from_its_bundle_and_its_run_if_that_is_kept(tmp_path, whole):
    store.write_record(tmp_path / "bundle" / "bundle.json", manifest("v2"))
    assert read_made(tmp_path / "bundle") == Made(manifest("v2"))
    run = {"config": config(), "digests": {"code": "c"}, "versions": {"python": "3.11"}}
    store.write_json(tmp_path / "run.json", run)
    if whole:
        store.write_record(tmp_path / "evaluation.json", evaluation_of()[0])
    else:
        (tmp_path / "evaluation.json").write_text(json.dumps({"from": "another release"}))
    made = read_made(tmp_path / "bundle", tmp_path)
    assert made.config == config()
    assert made.versions == {"python": "3.11"}
    assert (made.evaluation is not None) is whole
