"""`tidegate doctor` on this machine."""

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from tidegate.config import RunConfig
from tidegate.doctor import machine
from tidegate.doctor.findings import Finding, summary
from tidegate.doctor.machine import check_machine, checkout

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def look(tmp_path):
    """Examine this machine as a checkout with two locks would see it."""

    def examine(*, dev="pytest==0.0.1\n", monitor="pytest==0.0.1\n", config=None, out=None):
        (tmp_path / "requirements").mkdir(exist_ok=True)
        (tmp_path / "requirements" / "dev.txt").write_text(dev)
        (tmp_path / "requirements" / "monitor.txt").write_text(monitor)
        findings = check_machine(
            out or tmp_path / "runs",
            monitor_python=tmp_path / "no-such-python",
            root=tmp_path,
            config=config,
        )
        return {finding.name: finding for finding in findings}

    return examine


def test_this_checkout_has_its_lock():
    assert checkout() == ROOT


def test_every_finding_that_is_not_ok_says_what_to_do(look):
    assert all(finding.mend for finding in look().values() if finding.status != "ok")


def test_a_package_of_another_version_is_a_warning_and_a_missing_one_a_problem(look):
    installed = f"pytest=={pytest.__version__}"
    assert look(dev=f"{installed}\n")["packages"].status == "ok"
    other = look(dev="pytest==0.0.1  # via -r dev.in\n")["packages"]
    assert (other.status, other.mend) == ("warning", "run `make setup`")
    assert other.what.endswith(f"pytest {pytest.__version__} (lock: 0.0.1)")
    missing = look(dev=f"{installed}\nno-such-package==1.0\n")["packages"]
    assert (missing.status, missing.what) == ("problem", "not installed: no-such-package")


def test_a_local_build_of_a_locked_version_is_that_version():
    found = machine._against_lock("packages", {"torch": "2.13.0"}, {"torch": "2.13.0+cpu"}, "lock")
    assert found.status == "ok"


def test_an_installed_tidegate_is_held_against_its_own_requirements():
    declared = ["numpy>=2", "kfp==2.17.0", 'mypy>=2; extra == "dev"', "tqdm>=4"]
    found = machine._against_requirements(declared, {"numpy": "1.26.4", "kfp": "2.17.0"})
    assert found.status == "problem"
    assert found.what == "not installed: tqdm; wrong version: numpy 1.26.4 (needs >=2)"
    present = {"numpy": "2.4.1", "kfp": "2.17.0", "tqdm": "4.70"}
    assert machine._against_requirements(declared, present).status == "ok"


def test_a_missing_drift_environment_costs_only_the_drift_check(look):
    found = look()["drift environment"]
    assert found.status == "warning"
    assert "all but `tidegate monitor` works" in found.mend


def test_an_interpreter_without_alibi_detect_is_no_drift_environment(tmp_path):
    found = machine._drift_environment(Path(sys.executable), None)
    assert (found.status, found.what) == ("warning", f"{sys.executable} has no Alibi Detect")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert "does not run" in machine._drift_environment(broken, None).what


def test_a_run_folder_that_cannot_be_written_is_a_problem(look, monkeypatch):
    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    found = look()["run folder"]
    assert found.status == "problem"
    assert found.what.endswith("cannot be written: Read-only file system")


def test_looking_leaves_nothing_behind(look, tmp_path):
    look()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["requirements"]


@pytest.mark.parametrize(("gib", "status"), [(0.1, "problem"), (1.0, "warning"), (50.0, "ok")])
def test_little_room_is_told_before_a_run_fills_it(look, monkeypatch, gib, status):
    used = machine.shutil._ntuple_diskusage(100 << 30, 0, int(gib * (1 << 30)))
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: used)
    assert look()["disk"].status == status


@pytest.mark.parametrize(("gib", "status"), [(0.5, "problem"), (1.5, "warning")])
def test_a_containers_memory_limit_counts_not_the_hosts_memory(look, monkeypatch, gib, status):
    monkeypatch.setattr(machine, "_memory_limit_bytes", lambda: int(gib * (1 << 30)))
    found = look()["memory"]
    assert found.status == status
    assert f"limit {gib:.1f} GiB" in found.what


def test_more_parallel_trials_than_cores_are_told(look):
    data = {"source": "c.parquet", "text": "body", "label": "y"}
    config = RunConfig.model_validate({"name": "p", "data": data, "search": {"parallel": 4096}})
    assert look(config=config)["cores"].status == "warning"
    assert look()["cores"].status == "ok"


def test_a_port_in_use_says_how_to_take_another():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        taken = machine._port(port, "HTTP")
    assert (taken.status, taken.mend.endswith("`tidegate serve --port PORT`")) == ("warning", True)
    assert machine._port(port, "HTTP").status == "ok"


def test_telemetry_and_too_many_threads_are_told():
    def statuses(**environ):
        return [finding.status for finding in machine._environment(environ)]

    assert statuses() == ["ok", "ok"]
    assert statuses(GX_ANALYTICS_ENABLED="True", OMP_NUM_THREADS="4096") == ["warning", "warning"]


def test_the_summary_counts_problems_even_when_there_are_none():
    def found(status):
        return Finding(name="n", status=status, what="w")

    assert summary([found("ok"), found("ok")]) == "0 problems, 2 ok"
    every = [found(status) for status in ("problem", "unknown", "warning", "ok")]
    assert summary(every) == "1 problem, 1 warning, 1 unknown, 1 ok"


def test_the_command_examines_this_machine_and_takes_no_context_for_it():
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "run folder" in result.output
    assert "--cluster" in str(CliRunner().invoke(app, ["doctor", "--context", "kind"]).exception)
