"""The drift check's CronJob, its own command line run on a released bundle and a payload log."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from kfp import dsl

from components.monitor import monitor
from tests.toy_bundle import write_toy_bundle
from tidegate.config import RunConfig
from tidegate.models.bundle import load_bundle
from tidegate.records import Column, MonitorReport
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_json, read_record

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "name": "toy",
    "data": {"source": "posts.parquet", "text": "text", "label": "label"},
    "monitor": {"scales": [1], "max_rows": 100},
}


def posts(rows, seed):
    generator = np.random.default_rng(seed)
    words = ["lunch", "noon", "code", "tea", "prize", "free", "win", "cash"]
    texts = [" ".join(generator.choice(words, size=5)) for _ in range(rows)]
    return pd.DataFrame({"text": texts, "age": generator.exponential(30, size=rows)})


def violating(frame):
    return frame["text"].str.contains("win").to_numpy(np.int8)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace claim with one released bundle and two days of its payload log."""
    root = tmp_path_factory.mktemp("workspace")
    columns = (Column(name="text", kind="text"), Column(name="age", kind="numeric"))
    train, norm = posts(150, seed=0), posts(400, seed=1)
    write_toy_bundle(
        root,
        train=(train, violating(train)),
        norm=(norm, violating(norm)),
        columns=columns,
        max_rows=300,
    )
    ModelStore(root / "models").release(root / "bundle", run_digest="r")
    bundle = load_bundle(root / "bundle")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for ago in (3, 2):
        at = today - timedelta(days=ago) + timedelta(hours=5)
        rows = posts(120, seed=ago)
        served = rows.add_prefix("input_").assign(
            event_id=[f"e{ago}-{i}" for i in range(len(rows))],
            row_id=[f"r{ago}-{i}" for i in range(len(rows))],
            time=pd.to_datetime([at + timedelta(seconds=i) for i in range(len(rows))], utc=True),
            model_name="toy",
            model_version=bundle.manifest.version,
            score=bundle.score(rows),
        )
        folder = root / "payload" / f"date={at:%Y-%m-%d}" / f"hour={at:%H}"
        folder.mkdir(parents=True)
        served.to_parquet(folder / "part.parquet")
    return root


def run_pod(workspace, etc, **changes):
    """Run the job's one container as a process, with its configuration where it is mounted."""
    log = {"payload_log": {"uri": str(workspace / "payload")}}
    (etc / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "serving": log, **changes}))
    text = (ROOT / "manifests" / "components" / "drift-check" / "cron-job.yaml").read_text()
    [job] = yaml.safe_load_all(text)
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    words = [*container["command"], *container["args"]]
    for mounted, here in (("=/etc/tidegate/", f"={etc}/"), ("=/workspace", f"={workspace}")):
        words = [word.replace(mounted, here) for word in words]
    assert words[0] == "python"
    return subprocess.run(
        [sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def ended(workspace, tmp_path_factory):
    """The job, which has ended."""
    return run_pod(workspace, tmp_path_factory.mktemp("etc"))


def test_the_days_that_are_due_are_checked_and_the_report_names_the_bundle(workspace, ended):
    assert ended.returncode == 0, ended.stderr
    out = workspace / "monitor" / "toy"
    report = read_record(out / "drift.json", MonitorReport)
    version = load_bundle(workspace / "bundle").manifest.version
    assert report.bundle_version == version
    assert [(check.status, check.rows) for check in report.checks] == [("tested", 120)] * 2
    assert all(check.report.engine == "open" for check in report.checks)
    assert ended.stdout.count("window until") == 2
    assert read_json(out / "signals.json") == []


def test_the_pipelines_step_goes_on_where_the_job_ended(workspace, ended, tmp_path):
    log = {"payload_log": {"uri": str(workspace / "payload")}}
    watched = {**CONFIG["monitor"], "engine": "open"}
    config = RunConfig.model_validate({**CONFIG, "monitor": watched, "serving": log})
    made = {
        "page": dsl.HTML(uri=str(tmp_path / "page")),
        "report": dsl.Artifact(uri=str(tmp_path / "report")),
        "signals": dsl.Artifact(uri=str(tmp_path / "signals")),
        "metrics": dsl.Metrics(uri=str(tmp_path / "metrics")),
    }
    for artifact in made.values():
        artifact.path = artifact.uri
    monitor.python_func(config=config.model_dump_json(), workspace=str(workspace), **made)
    assert made["metrics"].metadata["checks"] == 0, "the job did all that is due"
    assert read_record(tmp_path / "report", MonitorReport).done_until is not None
    assert "<html" in (tmp_path / "page").read_text()
    assert read_json(tmp_path / "signals") == []


def test_a_model_that_is_not_in_service_is_said_in_one_line(workspace, tmp_path):
    done = run_pod(workspace, tmp_path, name="other")
    assert done.returncode == 2
    assert done.stderr == "error: other: no version of it is in service; release one first\n"
