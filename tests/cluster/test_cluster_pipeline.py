"""The pipeline in its shape for a cluster, run whole on this machine by kfp.local."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.config import RunConfig
from tidegate.records import EvaluationReport, RunOutcome
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_record

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import json, sys, warnings
from kfp import local
from pipelines import retrain
warnings.filterwarnings("ignore", message=".*base image.*")
root, parameters = sys.argv[1], json.loads(sys.argv[2])
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root)
retrain._FIRST_WAIT = "0s"
retrain.build_retrain("tidegate", cluster=True)(**parameters)
"""


def run(folder: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    config = RunConfig.model_validate(
        {
            "name": "posts",
            "data": {
                "source": str(folder / "posts.parquet"),
                "id": "post",
                "text": "body",
                "label": "violating",
                "groups": "dialect",
                "ignore": "created_at",
            },
            "policy": {"min_precision": 0.8, "max_fpr_gap": 0.5, "min_group_rows": 20},
            "features": {"max_word_features": 500, "max_char_features": 500},
            "search": {"algorithms": ["logistic"], "trials": 1, "minutes": 2, "parallel": 1},
        }
        | changes
    )
    parameters = {"config": config.model_dump_json(), "workspace": str(folder / "workspace")}
    return subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "artifacts"), json.dumps(parameters)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture
def folder(tmp_path, make_posts):
    make_posts(1200).to_parquet(tmp_path / "posts.parquet")
    return tmp_path


def outcome(folder: Path) -> RunOutcome:
    (path,) = (folder / "workspace" / "outcomes").iterdir()
    return read_record(path, RunOutcome)


def test_it_plans_trains_releases_and_records_that_it_succeeded(folder):
    done = run(folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (report,) = (folder / "artifacts").glob("*/evaluate/evaluation/evaluation.json")
    assert read_record(report, EvaluationReport).decision == "promote"
    assert ModelStore(folder / "workspace" / "models").current("posts") is not None
    assert outcome(folder).state == "SUCCEEDED"


def test_a_run_that_fails_records_that_too(folder):
    (folder / "posts.parquet").unlink()
    assert run(folder).returncode != 0
    ended = outcome(folder)
    assert ended.state == "FAILED"
    assert ended.error
    assert ModelStore(folder / "workspace" / "models").current("posts") is None
