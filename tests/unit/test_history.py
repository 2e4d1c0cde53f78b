"""What earlier retrains found is kept, counted and shown."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import PolicyConfig
from tidegate.errors import BadInput
from tidegate.evaluation.comparison import Baseline
from tidegate.evaluation.golden_set import measure_golden_set
from tidegate.evaluation.history import (
    add_to_history,
    earlier,
    holdout_uses,
    overuse,
    read_history,
    rows_digest,
)
from tidegate.evaluation.steps import evaluate_candidate
from tidegate.records import BaselineModel, Candidate, PastEvaluation
from tidegate.store import write_record, write_table


def entry(run, holdout="h", golden=None):
    return PastEvaluation(
        run_digest=run,
        evaluated_at="2026-01-01T00:00:00+00:00",
        algorithm="logistic",
        holdout_digest=holdout,
        decision="promote",
        average_precision=0.8,
        golden=golden,
    )


def scored(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.4).astype(int)
    score = np.clip(0.3 * label + 0.7 * rng.random(rows), 0, 1)
    return pd.DataFrame(
        {"id": [f"r{i}" for i in range(rows)], "label": label, "weight": 1.0, "score": score}
    )


def test_without_a_file_there_is_no_history(tmp_path):
    assert read_history(tmp_path / "none") == ()


def test_a_repeated_run_takes_the_place_of_its_own_line(tmp_path):
    for run in ("a", "b", "a"):
        add_to_history(tmp_path, entry(run))
    assert [e.run_digest for e in read_history(tmp_path)] == ["b", "a"]


def test_a_line_that_is_none_is_refused(tmp_path):
    (tmp_path / "evaluations.jsonl").write_text("{}\n")
    with pytest.raises(BadInput, match="a line that is no evaluation"):
        read_history(tmp_path)


def test_uses_count_the_other_decisions_on_the_same_holdout():
    history = [entry("a"), entry("b"), entry("c", holdout="other"), entry("d")]
    assert holdout_uses(earlier(history, "d"), "h") == 3
    assert overuse(3, 3) is None
    assert "used for 4 decisions (policy.max_holdout_uses: 3)" in overuse(4, 3)


def test_the_digest_is_of_rows_and_not_of_scores():
    frame = scored()
    assert rows_digest(frame) == rows_digest(frame.assign(score=0.5))
    assert rows_digest(frame) != rows_digest(frame.assign(label=1 - frame["label"]))
    assert rows_digest(frame) != rows_digest(frame.assign(id=frame["id"] + "x"))


def test_the_golden_set_shows_earlier_figures_of_the_same_rows_only():
    frame = scored()
    policy = PolicyConfig()
    first = measure_golden_set(frame, 0.6, None, policy=policy)
    past = [
        entry("a", golden=first.figures),
        entry("b", golden=first.figures.model_copy(update={"digest": "other"})),
        entry("c"),
    ]
    baseline = Baseline("old", "in_service", 0.5, frame.assign(score=1 - frame["score"]))
    again = measure_golden_set(frame, 0.6, baseline, policy=policy, history=past)
    assert [e.run_digest for e in again.history] == ["a"]
    assert again.figures == first.figures
    assert again.baseline.differences["average_precision"].difference > 0


def candidate_folder(folder, golden=False):
    tables = {"validation": scored(seed=1), "holdout": scored(seed=2)}
    if golden:
        tables["golden"] = scored(rows=120, seed=3)
    for split, table in tables.items():
        write_table(folder / "scored" / f"{split}.parquet", table)
        write_table(folder / "baseline" / f"{split}.parquet", table.assign(score=table["score"]))
    record = Candidate(
        name="comments",
        algorithm="logistic",
        params={},
        groups=(),
        prevalence={"train": 0.4, "validation": 0.4, "holdout": 0.4},
        baseline=BaselineModel(kind="benchmark_model", name="benchmark model"),
    )
    write_record(folder / "candidate.json", record)
    return folder


def test_every_evaluation_is_written_down_beside_the_releases(tmp_path):
    folder = candidate_folder(tmp_path / "candidate", golden=True)
    policy = PolicyConfig(min_precision=0.6, max_holdout_uses=2)
    reports = [
        evaluate_candidate(
            folder, policy, tmp_path / "out", model_store=tmp_path / "models", run_digest=run
        )
        for run in ("one", "two", "two", "three")
    ]
    assert [report.holdout_uses for report in reports] == [1, 2, 2, 3]
    assert [len(report.golden_set.history) for report in reports] == [0, 1, 1, 2]
    assert not any("max_holdout_uses" in reason for reason in reports[1].reasons)
    assert "used for 3 decisions" in reports[3].reasons[-1]
    assert reports[3].decision == reports[0].decision
    kept = read_history(tmp_path / "models" / "comments")
    assert [e.run_digest for e in kept] == ["one", "two", "three"]
    assert (tmp_path / "out" / "scored" / "golden.parquet").is_file()


def test_without_a_model_store_nothing_is_counted(tmp_path):
    folder = candidate_folder(tmp_path / "candidate")
    report = evaluate_candidate(folder, PolicyConfig(min_precision=0.6), tmp_path / "out")
    assert report.holdout_uses is None
    assert report.golden_set is None
