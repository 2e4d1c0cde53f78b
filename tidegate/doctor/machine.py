"""The machine we are on: what `tidegate run`, `serve` and `monitor` need of it."""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tidegate.config import RunConfig
from tidegate.doctor.findings import Finding, ok, problem, unknown, warning
from tidegate.search.local import available_cores

_GIB = 1 << 30
#: Below this a run of a few hundred thousand rows has ended for lack of room.
_LOW_DISK_GIB, _LOW_MEMORY_GIB = 2.0, 2.0
#: Below this even the demo does not run.
_NO_DISK_GIB, _NO_MEMORY_GIB = 0.3, 0.7
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)
_TESTED_PYTHON = (3, 11)
#: What `tidegate serve` listens on when it is not told otherwise.
_PORTS = {8080: "HTTP", 8081: "gRPC"}
_VERSIONS = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)


def check_machine(
    out: Path, *, monitor_python: Path, root: Path | None, config: RunConfig | None = None
) -> list[Finding]:
    """Look at this machine; nothing is left on it.

    Parameters
    ----------
    out : Path
        Where run directories would go.
    monitor_python : Path
        Interpreter of the drift environment.
    root : Path or None
        The checkout, whose locks say which packages are right; None for an installed package.
    config : RunConfig, optional
        A configuration to hold the machine against.
    """
    return [
        _python(),
        *_packages(root),
        _drift_environment(monitor_python, root),
        *_room(out),
        _memory(),
        _cores(config),
        *(_port(port, role) for port, role in _PORTS.items()),
        *_environment(os.environ),
    ]


def checkout() -> Path | None:
    """Return the checkout that this code runs from, or None when it was installed."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "requirements" / "dev.txt").is_file() else None


def _python() -> Finding:
    told = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if sys.version_info[:2] == _TESTED_PYTHON:
        return ok("python", told)
    tested = ".".join(map(str, _TESTED_PYTHON))
    return warning("python", f"{told}; the locks are for {tested}", f"use Python {tested}")


def _packages(root: Path | None) -> list[Finding]:
    installed = _canonical(
        (found.metadata["Name"], found.version) for found in importlib.metadata.distributions()
    )
    if root is None:
        declared = importlib.metadata.requires("tidegate") or []
        findings = [_against_requirements(declared, installed)]
    else:
        locked = _read_lock(root / "requirements" / "dev.txt")
        findings = [_against_lock("packages", locked, installed, "requirements/dev.txt")]
    if {"xgboost", "xgboost-cpu"} <= installed.keys():
        findings.append(
            problem(
                "xgboost",
                "both xgboost and xgboost-cpu are installed and overwrite each other",
                "remove both and install the one that the lock names",
            )
        )
    return findings


def _read_lock(path: Path) -> dict[str, str]:
    return _canonical(_LOCKED.findall(path.read_text(encoding="utf-8")))


def _canonical(packages: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in packages}


def _against_lock(
    name: str, locked: Mapping[str, str], installed: Mapping[str, str], lock: str
) -> Finding:
    missing = sorted(package for package in locked if package not in installed)
    # "2.13.0+cpu" is the same release, built for a machine without a GPU.
    other = sorted(
        f"{package} {installed[package]} (lock: {version})"
        for package, version in locked.items()
        if package in installed and installed[package].partition("+")[0] != version
    )
    if missing:
        return problem(name, f"not installed: {_some(missing)}", "run `make setup`")
    if other:
        return warning(name, f"not as {lock} has it: {_some(other)}", "run `make setup`")
    return ok(name, f"{len(locked)} as {lock} has them")


def _against_requirements(declared: Iterable[str], installed: Mapping[str, str]) -> Finding:
    wanted = [Requirement(line) for line in declared]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    missing = sorted(one.name for one in wanted if canonicalize_name(one.name) not in installed)
    other = sorted(
        f"{one.name} {installed[canonicalize_name(one.name)]} (needs {one.specifier})"
        for one in wanted
        if canonicalize_name(one.name) in installed
        and not one.specifier.contains(installed[canonicalize_name(one.name)], prereleases=True)
    )
    if missing or other:
        told = "; ".join(
            part
            for part in (
                f"not installed: {_some(missing)}" if missing else "",
                f"wrong version: {_some(other)}" if other else "",
            )
            if part
        )
        return problem("packages", told, "install tidegate again, with its requirements")
    return ok("packages", f"{len(wanted)} as tidegate's requirements ask")


def _drift_environment(python: Path, root: Path | None) -> Finding:
    name = "drift environment"
    without = "run `make setup`; without it all but `tidegate monitor` works"
    if not python.exists():
        return warning(name, f"{python} does not exist", without)
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", _VERSIONS],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return warning(name, f"{python} does not run: {type(error).__name__}", without)
    installed = _canonical(json.loads(answer).items())
    if "alibi-detect" not in installed:
        return warning(name, f"{python} has no Alibi Detect", without)
    if root is not None:
        locked = _read_lock(root / "requirements" / "monitor.txt")
        found = _against_lock(name, locked, installed, "requirements/monitor.txt")
        # Nothing but the drift check depends on it.
        return found.model_copy(update={"status": "warning"}) if found.mend else found
    return ok(name, f"Alibi Detect {installed['alibi-detect']}")


def _room(out: Path) -> list[Finding]:
    nearest = next(path for path in (out, *out.parents) if path.exists())
    elsewhere = "choose another folder with `tidegate run --out DIR`"
    try:
        with tempfile.TemporaryFile(dir=nearest):
            written = ok("run folder", f"{out} can be written")
    except OSError as error:
        written = problem("run folder", f"{nearest} cannot be written: {error.strerror}", elsewhere)
    free = shutil.disk_usage(nearest).free / _GIB
    told = f"{free:.1f} GiB free where {out} would be"
    if free < _NO_DISK_GIB:
        return [written, problem("disk", told, f"free some space, or {elsewhere}")]
    if free < _LOW_DISK_GIB:
        return [written, warning("disk", told, f"free some space, or {elsewhere}")]
    return [written, ok("disk", told)]


def _memory() -> Finding:
    limit = _memory_limit_bytes()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return unknown("memory", "the system does not say", "see that 2 GiB are free")
    usable = min(free, limit or free) / _GIB
    told = f"{usable:.1f} GiB usable" + (f", limit {limit / _GIB:.1f} GiB" if limit else "")
    mend = "end other programs, raise the container's limit, or lower search.parallel"
    if usable < _NO_MEMORY_GIB:
        return problem("memory", told, mend)
    if usable < _LOW_MEMORY_GIB:
        return warning("memory", told, mend)
    return ok("memory", told)


def _memory_limit_bytes() -> int | None:
    """Return the memory limit of this process's cgroup, version 2 or 1, if it has one."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limit = int((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii"))
            # Version 1 says "no limit" with a number near 2**63.
            return limit if limit < 1 << 60 else None
    return None


def _cores(config: RunConfig | None) -> Finding:
    cores = available_cores()
    told = f"{cores} usable"
    if config is not None and config.search.parallel > cores:
        return warning(
            "cores",
            f"{told}, search.parallel is {config.search.parallel}",
            f"nothing: {cores} trials run at a time; or write search.parallel: {cores}",
        )
    return ok("cores", told)


def _port(port: int, role: str) -> Finding:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            mend = "end what listens there, or `tidegate serve --port PORT`"
            return warning(f"port {port}", f"{role}: {error.strerror}", mend)
    return ok(f"port {port}", f"free for {role}")


def _environment(environ: Mapping[str, str]) -> list[Finding]:
    """Look at variables that change how the libraries behave; a run sets its own for its steps."""
    findings = []
    if environ.get("GX_ANALYTICS_ENABLED", "false").lower() in {"1", "true", "yes", "on"}:
        findings.append(
            warning(
                "telemetry",
                "GX_ANALYTICS_ENABLED is on; runs turn it off for their own steps only",
                "export GX_ANALYTICS_ENABLED=false",
            )
        )
    else:
        findings.append(ok("telemetry", "runs turn Great Expectations' analytics off"))
    threads = environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > available_cores():
        findings.append(
            warning(
                "OpenMP",
                f"OMP_NUM_THREADS is {threads}, above the {available_cores()} cores",
                "unset OMP_NUM_THREADS",
            )
        )
    elif environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        findings.append(
            ok(
                "OpenMP",
                "runs set OMP_WAIT_POLICY=PASSIVE and GOMP_SPINCOUNT=0; on shared cores do so too "
                "for `tidegate score` and `serve`",
            )
        )
    else:
        findings.append(ok("OpenMP", "waits without spinning"))
    return findings


def _some(names: list[str], most: int = 4) -> str:
    told = ", ".join(names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most} more"
