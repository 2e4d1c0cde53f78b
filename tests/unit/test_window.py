import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.check import compare_window
from tidegate.monitoring.window import read_comparable, write_window
from tidegate.store import read_table, write_table


class Columns:
    """A bundle without inputs that projects a frame to its own values and scores by the first."""

    manifest = SimpleNamespace(inputs=())

    @property
    def featurizer(self):
        return self

    def project(self, frame):
        return frame.to_numpy(np.float32)

    def score(self, frame):
        return 1 / (1 + np.exp(-frame.to_numpy()[:, 0]))


def components(rows, columns=3, seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return pd.DataFrame(values, columns=[f"component_{i:02d}" for i in range(columns)])


def test_a_window_has_the_columns_of_the_reference(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    write_window(Columns(), frame, tmp_path / "window.parquet")
    window = read_table(tmp_path / "window.parquet")
    assert list(window.columns) == ["component_00", "component_01", "score"]
    assert window[["component_00", "component_01"]].to_numpy().tolist() == [[1.0, 3.0], [2.0, 4.0]]
    write_window(Columns(), frame.assign(score=[0.25, 0.5]), tmp_path / "answered.parquet")
    assert read_table(tmp_path / "answered.parquet")["score"].tolist() == [0.25, 0.5]


def test_comparable_tables_come_back_as_float64(tmp_path):
    write_table(tmp_path / "r.parquet", components(30))
    write_table(tmp_path / "w.parquet", components(20, seed=1))
    reference, window = read_comparable(tmp_path / "r.parquet", tmp_path / "w.parquet", min_rows=20)
    assert (len(reference), len(window)) == (30, 20)
    assert set(window.dtypes) == {np.dtype("float64")}


def broken(frame, value):
    frame = frame.copy()
    frame.loc[3, "component_01"] = value
    return frame


@pytest.mark.parametrize(
    ("window", "says"),
    [
        (components(19), "has 19 rows, a drift check needs 20"),
        (components(30, columns=2), r"has not the columns of the reference \(component_02\)"),
        (
            components(30)[["component_01", "component_00", "component_02"]],
            r"has not the columns of the reference \(their order",
        ),
        (broken(components(30), np.nan), "component_01 has 1 values that are not finite"),
        (broken(components(30), np.inf), "component_01 has 1 values that are not finite"),
        (components(30).assign(component_02="x"), "component_02 is not numeric"),
    ],
)
def test_a_window_that_no_test_can_read_is_bad_input(tmp_path, window, says):
    write_table(tmp_path / "r.parquet", components(30))
    write_table(tmp_path / "w.parquet", window)
    with pytest.raises(BadInput, match=f"^window: {says}"):
        read_comparable(tmp_path / "r.parquet", tmp_path / "w.parquet", min_rows=20)


def test_a_missing_or_torn_reference_is_bad_input(tmp_path):
    write_table(tmp_path / "w.parquet", components(30))
    with pytest.raises(BadInput, match="no such table"):
        read_comparable(tmp_path / "r.parquet", tmp_path / "w.parquet", min_rows=20)
    (tmp_path / "r.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(BadInput, match="not a readable table"):
        read_comparable(tmp_path / "r.parquet", tmp_path / "w.parquet", min_rows=20)


def interpreter(folder: Path, script: str) -> Path:
    """Stand in for the drift environment's interpreter."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def check(tmp_path, python, rows=30):
    write_table(tmp_path / "r.parquet", components(30).assign(score=0.5))
    return compare_window(
        Columns(),
        components(rows, seed=1),
        reference=tmp_path / "r.parquet",
        bundle_version="v1",
        config=MonitorConfig(),
        python=python,
    )


def test_a_missing_drift_environment_names_make_setup(tmp_path):
    with pytest.raises(BadInput, match="no drift environment here; run `make setup`"):
        check(tmp_path, tmp_path / "nowhere" / "python")


def test_a_short_window_is_refused_before_the_environment_starts(tmp_path):
    python = interpreter(tmp_path, f"open({str(tmp_path / 'started')!r}, 'w')")
    with pytest.raises(BadInput, match="window: has 5 rows"):
        check(tmp_path, python, rows=5)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("raise ValueError('torn kernel')", RuntimeError, "failed: ValueError: torn kernel$"),
        ("import sys; sys.exit('monitor.x: wrong') ", RuntimeError, "monitor.x: wrong"),
        ("import sys; print('a: b; c', file=sys.stderr); sys.exit(2)", BadInput, "a: b; c"),
        ("import alibi_detect", BadInput, "has no Alibi Detect; run `make setup`"),
        ("import os; os.kill(os.getpid(), 9)", RuntimeError, "status -9, saying nothing"),
    ],
)
def test_a_failing_environment_says_its_last_line(tmp_path, script, error, says):
    with pytest.raises(error, match=says):
        check(tmp_path, interpreter(tmp_path, script))


def test_the_environment_sees_this_package_and_nothing_installed_around_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/elsewhere", "/other"]))
    script = (
        "import os, sys; path = os.environ['PYTHONPATH']\n"
        "sys.exit(f\"{os.listdir(path)} {os.environ['DO_NOT_TRACK']} {path.count(os.pathsep)}\")"
    )
    with pytest.raises(RuntimeError, match=r"failed: \['tidegate'\] 1 0$"):
        check(tmp_path, interpreter(tmp_path, script))
