"""The drift check's CronJob, its own two command lines run on a real bundle."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import write_bundle
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import BINARY, Setting
from tidegate.models.watched import drift_reference
from tidegate.records import Column, DriftReport
from tidegate.store import read_record, write_table

ROOT = Path(__file__).resolve().parents[2]
MONITOR_PYTHON = ROOT / ".venv-monitor" / "bin" / "python"

pytestmark = [
    pytest.mark.monitor,
    pytest.mark.skipif(not MONITOR_PYTHON.exists(), reason="no drift environment: `make setup`"),
]


def posts(rows, seed):
    generator = np.random.default_rng(seed)
    words = ["lunch", "noon", "code", "tea", "prize", "free", "win", "cash"]
    texts = [" ".join(generator.choice(words, size=5)) for _ in range(rows)]
    return pd.DataFrame({"text": texts, "age": generator.exponential(30, size=rows)})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace claim with one released bundle and the rows of a day."""
    root = tmp_path_factory.mktemp("workspace")
    frame = posts(150, seed=0)
    labels = frame["text"].str.contains("win").to_numpy(np.int8)
    columns = (Column(name="text", kind="text"), Column(name="age", kind="numeric"))
    featurizer = Featurizer.fit(frame, columns, labels, FeatureConfig(projection_components=4))
    (root / "featurizer").mkdir()
    featurizer.save(root / "featurizer")
    logistic = algorithm("logistic")
    model = logistic.build(logistic.defaults, Setting())
    model.fit(featurizer.transform(frame), labels, np.ones(len(labels)))
    write_bundle(
        root / "models" / "toy" / "versions" / "v7",
        name="toy",
        algorithm="logistic",
        params=logistic.defaults,
        model=model,
        featurizer_folder=root / "featurizer",
        columns=columns,
        snapshot_digest="d",
        drift_reference=drift_reference(
            featurizer,
            model,
            posts(400, seed=1),
            columns=columns,
            target=BINARY,
            max_rows=300,
            seed=0,
        ),
    )
    (root / "monitor").mkdir()
    return root


def run_pod(workspace, scratch, python_of):
    """Run the containers one after the other, as a pod does; return what each printed."""
    text = (ROOT / "manifests" / "components" / "drift-check" / "cron-job.yaml").read_text()
    job = next(yaml.safe_load_all(text))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    variables = {"$(MODEL)": "toy", "$(VERSION)": "v7", "=/workspace/": f"={workspace}/"}
    results = []
    for container in job["initContainers"] + job["containers"]:
        words = [*container["command"], *container["args"]]
        for name, value in {"=/tmp/": f"={scratch}/", **variables}.items():
            words = [word.replace(name, value) for word in words]
        assert words[0] == "python"
        words[0] = str(python_of[container["name"]])
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        results.append(done)
        if done.returncode:
            break
    return results


PYTHONS = {"project": sys.executable, "drift": MONITOR_PYTHON}


def test_a_days_rows_are_checked_and_the_report_names_the_bundle(workspace, tmp_path):
    write_table(workspace / "monitor" / "rows.parquet", posts(120, seed=2))
    results = run_pod(workspace, tmp_path, PYTHONS)
    assert [done.returncode for done in results] == [0, 0], results[-1].stderr
    report = read_record(workspace / "monitor" / "drift.json", DriftReport)
    assert (report.bundle_version, report.window_rows, report.drifted) == ("v7", 120, False)


def test_a_day_without_rows_fails_before_the_test_and_says_so_in_one_line(workspace, tmp_path):
    (workspace / "monitor" / "rows.parquet").unlink(missing_ok=True)
    [projected] = run_pod(workspace, tmp_path, PYTHONS)
    assert projected.returncode == 2
    assert projected.stderr.count("\n") == 1
    assert "rows.parquet" in projected.stderr
