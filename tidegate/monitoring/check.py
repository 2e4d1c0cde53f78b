"""One drift check from this environment: project here, test in the drift environment."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tidegate
from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.detection import detect_drift
from tidegate.monitoring.online import OpenOnline
from tidegate.monitoring.online_state import Stepped, step
from tidegate.monitoring.open_tests import OpenTests
from tidegate.monitoring.window import Watched, read_comparable, require_rows, write_window
from tidegate.records import DriftReport, OnlineState
from tidegate.store import read_record, write_record, write_table

_NO_NETWORK = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}


def check_drift(
    bundle_folder: Path, frame: Any, *, config: MonitorConfig, out: Path, python: Path
) -> DriftReport:
    """Test rows against a bundle's training reference and write ``drift.json``.

    Parameters
    ----------
    bundle_folder : Path
        Bundle that served, or would serve, the rows.
    frame : pandas.DataFrame
        The window, with the bundle's input columns.
    config : MonitorConfig
        How the tests read it.
    out : Path
        Where the report goes, whole or not at all.
    python : Path
        Interpreter of the drift environment.

    Raises
    ------
    BadInput
        If the environment is missing, or the window or the reference cannot be tested.
    RuntimeError
        If the drift environment fails; the message ends in its last line.
    """
    from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle

    if config.engine == "alibi":
        _require_environment(python)
    bundle = load_bundle(bundle_folder)
    report = compare_window(
        bundle,
        frame,
        reference=bundle_folder / DRIFT_REFERENCE,
        bundle_version=bundle.manifest.version,
        config=config,
        python=python,
    )
    write_record(out, report)
    return report


def compare_window(
    bundle: Watched,
    frame: Any,
    *,
    reference: Path,
    bundle_version: str,
    config: MonitorConfig,
    python: Path,
    level: float | None = None,
) -> DriftReport:
    """Write what is watched of rows, and test it; see `check_drift`.

    Alibi Detect's tests run in the drift environment, the open ones here. `level` is the whole
    check's, `config.p_value` unless given.
    """
    if config.engine == "alibi":
        _require_environment(python)
    require_rows(len(frame), "window", config.min_rows, "take a longer window")
    level = config.p_value if level is None else level
    with tempfile.TemporaryDirectory(prefix="tidegate-drift-") as scratch:
        window = Path(scratch) / "window.parquet"
        write_window(bundle, frame, window)
        # Bad input is found before the child spends seconds on its imports.
        before, after = read_comparable(reference, window, min_rows=config.min_rows)
    return compare_tables(
        before, after, bundle_version=bundle_version, config=config, python=python, level=level
    )


def compare_tables(
    before: Any,
    after: Any,
    *,
    bundle_version: str,
    config: MonitorConfig,
    python: Path,
    level: float,
) -> DriftReport:
    """Test watched rows against watched rows, as `read_comparable` returns them."""
    if config.engine == "open":
        return detect_drift(
            before,
            after,
            engine=OpenTests(config.seed),
            level=level,
            config=config,
            bundle_version=bundle_version,
        )
    _require_environment(python)
    with _drift_environment(before, after) as (folder, path):
        command = [str(python), "-m", "tidegate.monitoring.drift", "--level", repr(level)]
        for name in ("reference", "window"):
            command += [f"--{name}", str(folder / f"{name}.parquet")]
        command += ["--out", str(folder / "drift.json"), "--bundle-version", bundle_version]
        command += ["--settings", config.model_dump_json()]
        _run(command, path=path)
        return read_record(folder / "drift.json", DriftReport)


def step_online(
    state: OnlineState | None,
    reference: Any,
    rows: Any,
    *,
    until: str,
    config: MonitorConfig,
    threshold: float | None,
    bundle_version: str,
    python: Path,
) -> Stepped:
    """Read rows with the online detectors of the configured engine; see `online_state.step`."""
    if config.engine == "open":
        return step(
            state,
            reference,
            rows,
            until=until,
            engine=OpenOnline(config.online),
            config=config,
            threshold=threshold,
            bundle_version=bundle_version,
        )
    _require_environment(python)
    with _drift_environment(reference, rows) as (folder, path):
        if state is not None:
            write_record(folder / "state.json", state)
        command = [str(python), "-m", "tidegate.monitoring.drift", "--until", until]
        command += ["--reference", str(folder / "reference.parquet")]
        command += ["--window", str(folder / "window.parquet"), "--online", str(folder)]
        command += ["--out", str(folder / "after.json"), "--bundle-version", bundle_version]
        command += ["--settings", config.model_dump_json()]
        if threshold is not None:
            command += ["--threshold", repr(threshold)]
        _run(command, path=path)
        after = read_record(folder / "after.json", OnlineState)
    before = () if state is None else state.alarms
    return Stepped(after, tuple(alarm for alarm in after.alarms if alarm not in before))


@contextlib.contextmanager
def _drift_environment(reference: Any, window: Any) -> Iterator[tuple[Path, Path]]:
    """Write two tables for the drift environment; give their folder, and what it may import."""
    with tempfile.TemporaryDirectory(prefix="tidegate-drift-") as scratch:
        folder = Path(scratch)
        for name, table in (("reference", reference), ("window", window)):
            write_table(folder / f"{name}.parquet", table)
        # Only this package may be seen from there, never the libraries installed around it.
        (folder / "path").mkdir()
        (folder / "path" / "tidegate").symlink_to(Path(tidegate.__file__).resolve().parent)
        yield folder, folder / "path"


def _require_environment(python: Path) -> None:
    if not python.exists():
        raise BadInput(
            str(python),
            "no drift environment here",
            "run `make setup`, or set monitor.engine: open",
        )


def _run(command: list[str], *, path: Path) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command,
        env={**inherited, **_NO_NETWORK, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else f"ended with status {done.returncode}, saying nothing"
    if done.returncode == 2:
        raise BadInput("drift check", last, "mend that and check again")
    if "No module named 'alibi_detect'" in last:
        raise BadInput(command[0], "the drift environment has no Alibi Detect", "run `make setup`")
    raise RuntimeError(f"the drift environment failed: {last}")
