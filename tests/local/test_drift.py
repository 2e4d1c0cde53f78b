"""Real runs of Alibi Detect in its own environment."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.toy_bundle import write_toy_bundle
from tidegate.config import MonitorConfig, OnlineConfig
from tidegate.monitoring.check import check_drift, compare_window, step_online
from tidegate.records import Column, DriftReport
from tidegate.store import read_record, write_table

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
    """A bundle without inputs that projects a frame to its own values and scores by the first."""

    manifest = SimpleNamespace(inputs=())

    @property
    def featurizer(self):
        return self

    def project(self, frame):
        return frame.to_numpy(np.float32)

    def score(self, frame):
        return 1 / (1 + np.exp(-frame.to_numpy()[:, 0]))


def check(tmp_path, window, engine="alibi"):
    reference = components(400, seed=0)
    write_table(tmp_path / "reference.parquet", reference.assign(score=Columns().score(reference)))
    return compare_window(
        Columns(),
        window,
        reference=tmp_path / "reference.parquet",
        bundle_version="v7",
        config=CONFIG.model_copy(update={"engine": engine}),
        python=PYTHON,
    )


WORDS = ["lunch", "noon", "code", "tea", "prize", "free", "win", "cash"]


def posts(rows, seed):
    """Synthetic posts and labels."""
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(WORDS, size=5)) for _ in range(rows)]
    frame = pd.DataFrame({"text": texts, "age": generator.exponential(30, size=rows)})
    return frame, np.array(["win" in text for text in texts], dtype=np.int8)


def test_rows_like_those_of_training_have_not_drifted_from_their_bundle(tmp_path):
    columns = (Column(name="text", kind="text"), Column(name="age", kind="numeric"))
    manifest = write_toy_bundle(
        tmp_path,
        train=posts(150, seed=0),
        norm=posts(400, seed=1),
        columns=columns,
        max_rows=300,
    )

    report = check_drift(
        tmp_path / "bundle",
        posts(200, seed=2)[0],
        config=CONFIG,
        out=tmp_path / "drift.json",
        python=PYTHON,
    )

    assert not report.drifted
    assert report.bundle_version == manifest.version
    assert (report.reference_rows, report.window_rows) == (300, 200)
    tests = {test.name: test for test in report.tests}
    assert tests["kolmogorov_smirnov_per_component"].threshold == pytest.approx(
        0.01 / len(tests) / 4
    ), "an even share of the level, over four features"
    assert tests["maximum_mean_discrepancy"].threshold == pytest.approx(0.01 / len(tests))
    assert {"score", "uncertainty", "number", "category", "classifier"} < set(tests)
    assert not any(test.moved_features for test in report.tests)
    assert read_record(tmp_path / "drift.json", DriftReport) == report


def test_a_window_that_moved_has_drifted_and_both_engines_name_what_moved_most(tmp_path):
    window = components(300, seed=1, shift=[(4, 1.5), (2, 0.8), (1, 0.5)])
    report = check(tmp_path, window)
    assert report.drifted
    tests = {test.name: test for test in report.tests}
    moved = tests["kolmogorov_smirnov_per_component"].moved_features
    assert moved == ("component_04", "component_02")
    kernel = tests["maximum_mean_discrepancy"]
    assert kernel.drifted
    assert kernel.p_value < kernel.threshold, "more permutations were made than configured"
    assert tests["classifier"].moved_features[0] == "component_04"
    open_report = check(tmp_path, window, engine="open")
    assert (report.engine, open_report.engine) == ("alibi", "open")
    for ours, theirs in zip(open_report.tests, report.tests, strict=True):
        assert (ours.name, ours.features, ours.threshold) == (
            theirs.name,
            theirs.features,
            theirs.threshold,
        )
        assert ours.drifted == theirs.drifted
        if ours.name not in ("maximum_mean_discrepancy", "classifier"):
            assert ours.distance == pytest.approx(theirs.distance, abs=1e-6)
            assert ours.moved_features == theirs.moved_features


def test_online_detectors_of_both_engines_have_the_same_statistics_and_alarms():
    """Rows jump after 40; Alibi Detect's statistics are its own, thresholds are shared."""
    moved = components(90, seed=3)
    moved.iloc[40:, 1] += 2.0
    rows = moved.assign(
        score=Columns().score(moved),
        id=[f"r{i}" for i in range(90)],
        time=[f"{i:03d}" for i in range(90)],
    )
    reference = components(400, seed=0)
    states = {}
    for engine in ("open", "alibi"):
        online = OnlineConfig(expected_run_rows=100, window_rows=(10, 20))
        found = step_online(
            None,
            reference.assign(score=Columns().score(reference)),
            rows.assign(score=rows["score"].where(rows.index < 40, 0.99)),
            until="then",
            config=CONFIG.model_copy(update={"engine": engine, "online": online}),
            threshold=0.9,
            bundle_version="v7",
            python=PYTHON,
        )
        states[engine] = found.state
    ours, theirs = states["open"], states["alibi"]
    assert ours.streams == theirs.streams
    assert {alarm.detector for alarm in ours.alarms} == {"mmd", "cvm", "fet"}
    for one, other in zip(ours.alarms, theirs.alarms, strict=True):
        assert one.model_dump(exclude={"statistic"}) == other.model_dump(exclude={"statistic"})
        assert one.statistic == pytest.approx(other.statistic, abs=1e-4)


def test_both_engines_spot_the_same_difference(tmp_path):
    window = components(300, seed=1, shift=[(4, 1.5)])
    reference = components(400, seed=0)
    write_table(tmp_path / "reference.parquet", reference.assign(score=Columns().score(reference)))
    for engine in ("open", "alibi"):
        report = compare_window(
            Columns(),
            window,
            reference=tmp_path / "reference.parquet",
            bundle_version="v7",
            config=CONFIG.model_copy(update={"engine": engine, "families": ("spot_the_diff",)}),
            python=PYTHON,
        )
        (test,) = report.tests
        assert test.drifted
        assert test.moved_features[0] == "component_04"


def test_settings_that_break_a_rule_are_refused(tmp_path):
    write_table(tmp_path / "r.parquet", components(30, seed=0))
    done = subprocess.run(
        [
            *(str(PYTHON), "-m", "tidegate.monitoring.drift", "--bundle-version", "v1"),
            *("--reference", str(tmp_path / "r.parquet"), "--window", str(tmp_path / "r.parquet")),
            *("--out", str(tmp_path / "drift.json"), "--settings", '{"permutations": 10}'),
        ],
        cwd=PYTHON.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "--settings permutations: Input should be greater than or equal to 20; "
        "write the monitor section"
    )
    assert not (tmp_path / "drift.json").exists()
