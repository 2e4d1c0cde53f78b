"""One drift check from this environment: project here, test in the drift environment."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import tidegate
from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.window import Projected, read_comparable, require_rows, write_window
from tidegate.records import DriftReport
from tidegate.store import read_record, write_record

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
    bundle: Projected,
    frame: Any,
    *,
    reference: Path,
    bundle_version: str,
    config: MonitorConfig,
    python: Path,
) -> DriftReport:
    """Project rows and test them in the drift environment; see `check_drift`."""
    _require_environment(python)
    require_rows(len(frame), "window", config.min_rows, "take a longer window")
    with tempfile.TemporaryDirectory(prefix="tidegate-drift-") as scratch:
        folder = Path(scratch)
        write_window(bundle, frame, folder / "window.parquet")
        # Bad input is found before the child spends seconds on its imports.
        read_comparable(reference, folder / "window.parquet", min_rows=config.min_rows)
        # Only this package may be seen from there, never the libraries installed around it.
        (folder / "path").mkdir()
        (folder / "path" / "tidegate").symlink_to(Path(tidegate.__file__).resolve().parent)
        command = [str(python), "-m", "tidegate.monitoring.drift"]
        command += ["--reference", str(reference), "--window", str(folder / "window.parquet")]
        command += ["--out", str(folder / "drift.json"), "--bundle-version", bundle_version]
        command += ["--settings", config.model_dump_json()]
        _run(command, path=folder / "path")
        return read_record(folder / "drift.json", DriftReport)


def _require_environment(python: Path) -> None:
    if not python.exists():
        raise BadInput(str(python), "no drift environment here", "run `make setup`")


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
