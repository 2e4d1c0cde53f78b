"""Real runs of Alibi Detect in its own environment."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tidegate.config import MonitorConfig
from tidegate.monitoring.check import compare_window
from tidegate.store import write_table

PYTHON = Path(__file__).resolve().parents[2] / ".venv-monitor" / "bin" / "python"

pytestmark = [
    pytest.mark.monitor,
    pytest.mark.skipif(not PYTHON.exists(), reason="no drift environment: run `make setup`"),
]

CONFIG = MonitorConfig(p_value=0.01, max_rows=150, permutations=199, moved_features=2)


def components(rows, seed, shift=()):
    values = np.random.default_rng(seed).normal(size=(rows, 6))
    for column, by in shift:
        values[:, column] += by
    return pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(6)])


class Columns:
    """A bundle that projects a frame to its own values."""

    @property
    def featurizer(self):
        return self

    def project(self, frame):
        return frame.to_numpy(np.float32)


def check(tmp_path, window):
    write_table(tmp_path / "reference.parquet", components(400, seed=0))
    return compare_window(
        Columns(),
        window,
        reference=tmp_path / "reference.parquet",
        bundle_version="v7",
        config=CONFIG,
        python=PYTHON,
    )


def test_a_window_like_the_reference_has_not_drifted(tmp_path):
    report = check(tmp_path, components(300, seed=1))
    assert not report.drifted
    assert (report.bundle_version, report.reference_rows, report.window_rows) == ("v7", 400, 300)
    features, kernel = report.tests
    assert not features.drifted
    assert not kernel.drifted
    assert features.threshold == pytest.approx(0.005 / 6), "half the level, over six features"
    assert kernel.threshold == pytest.approx(0.005)
    assert features.moved_features == ()
    assert kernel.p_value >= 1 / 200


def test_a_window_that_moved_has_drifted_and_names_what_moved_most(tmp_path):
    report = check(tmp_path, components(300, seed=1, shift=[(4, 1.5), (2, 0.8), (1, 0.5)]))
    assert report.drifted
    features, kernel = report.tests
    assert features.drifted
    assert features.moved_features == ("component_04", "component_02")
    assert kernel.drifted
    assert kernel.p_value == pytest.approx(1 / 200), "no permutation is as far"


def test_too_few_permutations_for_the_level_are_refused(tmp_path):
    write_table(tmp_path / "r.parquet", components(30, seed=0))
    done = subprocess.run(
        [
            *(str(PYTHON), "-m", "tidegate.monitoring.drift", "--bundle-version", "v1"),
            *("--reference", str(tmp_path / "r.parquet"), "--window", str(tmp_path / "r.parquet")),
            *("--out", str(tmp_path / "drift.json"), "--permutations", "100"),
        ],
        cwd=PYTHON.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "monitor.permutations: 100 cannot show a p-value of 0.005, half of monitor.p_value; "
        "write 199 or more"
    )
    assert not (tmp_path / "drift.json").exists()
