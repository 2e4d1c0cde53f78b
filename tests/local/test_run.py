"""`tidegate run` as a user meets it: a real pipeline, on this machine, from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree, ignore_patterns

import pandas as pd
import psutil
import pytest
import yaml

from pipelines.run import STEPS
from pipelines.run_record import RunRecord
from tidegate.models.bundle import load_bundle
from tidegate.records import ApprovalRequest, EvaluationReport
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_record

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "name": "posts",
    "data": {
        "source": "posts.parquet",
        "id": "post",
        "text": "body",
        "label": "violating",
        "groups": "dialect",
        "ignore": "created_at",
    },
    "policy": {"min_precision": 0.8, "max_fpr_gap": 0.5, "min_group_rows": 20},
    "features": {"max_word_features": 2000, "max_char_features": 3000, "embedding": "none"},
    "search": {
        "algorithms": ["logistic", "xgboost"],
        "trials": 3,
        "minutes": 2,
        "parallel": 1,
    },
}


def tidegate(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def start(*words: str | Path, code: Path = ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *map(str, words)],
        cwd=code,
        env=environment(code),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment(code: Path = ROOT) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def statuses(out: Path) -> dict[str, str]:
    return {step.name: step.status for step in read_record(out / "run.json", RunRecord).steps}


def write_config(folder: Path, **changes: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return path


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, make_posts) -> Path:
    """Return a folder with a table, a configuration and one finished run, `runs/first`."""
    folder = tmp_path_factory.mktemp("workshop")
    make_posts(1200).to_parquet(folder / "posts.parquet")
    done = tidegate("run", write_config(folder), "--out", folder / "runs" / "first", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def first(workshop: Path) -> Path:
    return workshop / "runs" / "first"


def test_the_run_directory_holds_what_the_design_promises(first):
    promised = (
        *("run.json", "evaluation.json", "scored/validation.parquet", "scored/holdout.parquet"),
        *("bundle/bundle.json", "report.html", "model_card.md", "audit.json"),
        *("validation", "logs"),
    )
    assert [name for name in promised if not (first / name).exists()] == []
    assert all((first / "logs" / f"{step}.log").is_file() for step in STEPS)


def test_the_run_says_what_it_decided_and_where_to_read_on(workshop, first):
    said = (workshop / "said.txt").read_text()
    report = read_record(first / "evaluation.json", EvaluationReport)
    assert f"decision  {report.decision}" in said
    assert f"threshold {report.threshold:.4f}" in said
    assert str(first / "report.html") in said


def test_the_run_record_tells_digests_versions_and_the_seconds_of_each_step(first):
    run = read_record(first / "run.json", RunRecord)
    assert run.status == "done"
    assert {"source", "code", "config", "run"} <= set(run.digests)
    assert run.versions["scikit-learn"].startswith("1.9")
    assert all(step.seconds is not None for step in run.steps if step.status == "done")


def test_the_evaluation_holds_every_promised_figure(first):
    found = json.loads((first / "evaluation.json").read_text())
    promised = {
        *("average_precision", "roc_auc", "log_loss", "threshold", "min_precision", "confidence"),
        *("precision", "precision_lower_bound", "recall", "recall_ci", "groups", "fairness"),
        *("baseline", "decision", "reasons"),
    }
    assert promised <= set(found)


def test_the_figures_follow_from_the_scored_table(first):
    report = read_record(first / "evaluation.json", EvaluationReport)
    scored = pd.read_parquet(first / "scored" / "holdout.parquet")
    assert {"id", "label", "score", "weight", "dialect"} <= set(scored.columns)
    flagged = scored[scored["score"] >= report.threshold]
    assert report.precision == pytest.approx(flagged["label"].mean())
    assert report.recall == pytest.approx(flagged["label"].sum() / scored["label"].sum())


def test_the_bundle_scores_as_the_run_did(workshop, first):
    posts = pd.read_parquet(workshop / "posts.parquet").set_index("post")
    scored = pd.read_parquet(first / "scored" / "holdout.parquet")
    again = load_bundle(first / "bundle").score(posts.loc[scored["id"]].reset_index())
    assert again == pytest.approx(scored["score"].to_numpy(), abs=1e-6)


def test_a_promoted_bundle_is_in_service(workshop, first):
    assert read_record(first / "run.json", RunRecord).decision == "promote"
    release = ModelStore(workshop / "runs" / ".tidegate" / "models").current("posts")
    assert release is not None
    assert release.version == load_bundle(first / "bundle").manifest.version


def test_score_writes_a_row_for_each_row(workshop, first):
    target = workshop / "scores.parquet"
    done = tidegate("score", first, workshop / "posts.parquet", "-o", target, cwd=workshop)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(target)) == 1200


def test_runs_shows_the_run_with_its_decision(workshop):
    done = tidegate("runs", workshop / "runs", cwd=workshop)
    assert done.returncode == 0
    assert "first" in done.stdout
    assert "promote" in done.stdout


def test_a_run_of_unchanged_work_takes_every_step_from_the_cache(workshop):
    out = workshop / "runs" / "again"
    done = tidegate("run", write_config(workshop), "--out", out, cwd=workshop)
    assert done.returncode == 0, done.stderr
    # The release is never cached: the store may have moved on.
    assert {s for name, s in statuses(out).items() if name != "release"} == {"cached"}
    assert (out / "evaluation.json").read_bytes() == (
        workshop / "runs" / "first" / "evaluation.json"
    ).read_bytes()


def test_a_run_that_wants_an_approval_asks_for_it_and_puts_nothing_in_service(workshop, first):
    out, models = workshop / "runs" / "asking", workshop / "asked"
    rollout = {"approval": "manual", "model_store": str(models)}
    done = tidegate("run", write_config(workshop, rollout=rollout), "--out", out, cwd=workshop)
    assert done.returncode == 0, done.stderr
    request = read_record(out / "approval_request.json", ApprovalRequest)
    assert request.candidate == load_bundle(first / "bundle").manifest.version
    assert request.run_digest == read_record(out / "run.json", RunRecord).run_digest
    assert f"tidegate approve {out}" in done.stdout
    assert ModelStore(models).current("posts") is None


def test_a_change_of_one_section_reruns_only_what_reads_it(workshop):
    policy = {**CONFIG["policy"], "min_precision": 0.75}
    out = workshop / "runs" / "policy"
    done = tidegate("run", write_config(workshop, policy=policy), "--out", out, cwd=workshop)
    assert done.returncode == 0, done.stderr
    assert [name for name, s in statuses(out).items() if s == "cached"] == [
        *("ingest", "validate", "featurize", "search"),
    ]


def test_a_change_of_the_data_behind_the_same_path_misses_the_cache(workshop, make_posts):
    folder = workshop / "changing"
    folder.mkdir()
    make_posts(300, seed=1).to_parquet(folder / "posts.parquet")
    search = {"algorithms": ["logistic"], "trials": 1}
    config = write_config(folder, search=search)
    tidegate("run", config, "--out", folder / "runs" / "a", cwd=folder)
    make_posts(300, seed=2).to_parquet(folder / "posts.parquet")
    done = tidegate("run", config, "--out", folder / "runs" / "b", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "cached" not in statuses(folder / "runs" / "b").values()


def test_a_change_of_the_code_misses_the_cache(workshop, make_posts):
    folder = workshop / "changed-code"
    for package in ("tidegate", "components", "pipelines"):
        copytree(ROOT / package, folder / package, ignore=ignore_patterns("__pycache__"))
    with (folder / "tidegate" / "models" / "linear.py").open("a") as source:
        source.write("\n# a change\n")
    config, out = write_config(workshop), workshop / "runs" / "code"
    process = start("run", config, "--out", out, code=folder)
    wait_for(out / "logs" / "ingest.log", process)
    process.terminate()
    process.communicate(timeout=60)
    assert "cached" not in statuses(out).values()


def test_the_kubeflow_ui_gets_figures_roc_curve_and_confusion_matrix(workshop, first):
    found = sorted((workshop / "runs" / ".tidegate" / "artifacts").glob("*/evaluate"))[0]
    executor = json.loads((found / "executor_output.json").read_text())
    metadata = {
        name: listed["artifacts"][0]["metadata"] for name, listed in executor["artifacts"].items()
    }
    report = read_record(first / "evaluation.json", EvaluationReport)
    assert metadata["metrics"]["recall"] == pytest.approx(report.recall)
    assert len(metadata["curves"]["confidenceMetrics"]) > 10
    matrix = [row["row"] for row in metadata["curves"]["confusionMatrix"]["rows"]]
    assert sum(map(sum, matrix)) == report.rows


def test_a_floor_out_of_reach_is_a_hold_with_the_best_point_and_not_an_error(workshop):
    policy = {**CONFIG["policy"], "min_precision": 1.0}
    config, out = write_config(workshop, policy=policy), workshop / "runs" / "strict"
    done = tidegate("run", config, "--out", out, "--fail-on-hold", cwd=workshop)
    assert done.returncode == 3, done.stderr
    report = read_record(out / "evaluation.json", EvaluationReport)
    assert report.decision != "promote"
    assert report.threshold is None
    assert report.best_reachable is not None
    assert statuses(out)["release"] == "skipped"
    assert tidegate("run", config, "--out", out, cwd=workshop).returncode == 0


def refused(folder: Path, words: Sequence[str | Path]) -> str:
    """Run a command that must be refused: exit 2, one message, no traceback."""
    done = tidegate(*words, cwd=folder)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_a_refused_column_names_it_and_leaves_nothing_that_looks_whole(workshop):
    out = workshop / "runs" / "refused"
    data = {**CONFIG["data"], "label": "violatin"}
    said = refused(workshop, ["run", write_config(workshop, data=data), "--out", out])
    assert "violatin" in said
    assert "'violating'" in said
    run = read_record(out / "run.json", RunRecord)
    assert run.status == "failed"
    assert run.error is not None
    assert sorted(path.name for path in out.iterdir()) == ["logs", "run.json"]


def test_a_failed_data_gate_names_expectation_column_and_count_and_keeps_the_docs(workshop):
    out = workshop / "runs" / "gate"
    config = write_config(workshop, validation={"prevalence_range": [0.9, 0.95]})
    said = refused(workshop, ["run", config, "--out", out])
    assert "expect_column_mean_to_be_between" in said
    assert "column 'violating' of train" in said
    assert "observed 0.28" in said
    assert list((out / "validation").rglob("index.html"))
    assert not (out / "evaluation.json").exists()


def test_a_missing_table_is_refused_before_anything_is_written(workshop):
    out = workshop / "runs" / "missing"
    config = write_config(workshop, data={**CONFIG["data"], "source": "nowhere.parquet"})
    assert "nowhere.parquet" in refused(workshop, ["run", config, "--out", out])
    assert not out.exists()


def test_an_unknown_algorithm_is_refused_before_anything_is_written(workshop):
    out = workshop / "runs" / "unknown"
    config = write_config(workshop, search={"algorithms": ["xgbost"]})
    assert "did you mean 'xgboost'?" in refused(workshop, ["run", config, "--out", out])
    assert not out.exists()


def test_an_output_folder_that_cannot_be_made_is_refused(workshop):
    config = write_config(workshop)
    said = refused(workshop, ["run", config, "--out", workshop / "posts.parquet" / "out"])
    assert "--out" in said


def test_a_full_disk_is_told_in_one_line(workshop):
    disk = workshop / "small-disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount the small disk that the test fills")
    try:
        said = refused(workshop, ["run", write_config(workshop), "--out", disk / "run"])
        assert not (disk / "run" / "evaluation.json").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert "disk is full" in said or "No space left" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_children_says_so_and_goes_on_from_the_cache(
    workshop, make_posts, number
):
    folder = workshop / f"interrupted-{number.name}"
    folder.mkdir()
    make_posts(600, seed=3).to_parquet(folder / "posts.parquet")
    config, out = write_config(folder), folder / "runs" / "posts"
    process = start("run", config, "--out", out)
    wait_for(out / "logs" / "search.log", process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert children
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert read_record(out / "run.json", RunRecord).status == "interrupted"
    assert statuses(out)["search"] == "interrupted"
    assert not (out / "evaluation.json").exists()
    if number == signal.SIGINT:
        done = tidegate("run", config, "--out", out, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert statuses(out)["featurize"] == "cached"


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < until
        time.sleep(0.05)
