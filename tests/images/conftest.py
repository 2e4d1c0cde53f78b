"""Podman, a base made on this machine, and the images built from it."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("cpu", "serving", "monitor")
PUBLIC_BASE = "docker.io/library/python:3.11-slim-bookworm"
#: Not the public name: a stand-in must never be taken for the real base later.
LOCAL_BASE = "localhost/tidegate-test-base:bookworm-slim"
TAG = "0.1.0-test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: For machines where containers run inside a container, with small limits and without systemd.
NESTED = """
[engine]
runtime = "runc"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[network]
network_backend = "netavark"
"""
BASE_DOCKERFILE = """
FROM {imported}
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
RUN ln -s /usr/bin/python3.11 /usr/local/bin/python \\
 && ln -s /usr/bin/python3.11 /usr/local/bin/python3
"""


class Podman:
    """Podman with the settings that run a container here."""

    def __init__(self, settings: Path | None = None):
        self.environment = dict(os.environ)
        if settings is not None:
            self.environment["CONTAINERS_CONF"] = str(settings)

    def __call__(self, *arguments, check=True, **options):
        done = subprocess.run(
            ["podman", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )
        if check and done.returncode:
            raise AssertionError(f"podman {arguments[0]} failed: {done.stderr[-3000:]}")
        return done

    def run(self, image, *command, mounts=(), options=(), check=True):
        """Run a command as a pod would: read-only, without a network, with nothing allowed."""
        return self(
            *("run", "--rm", "--read-only", "--network", "none", "--no-healthcheck"),
            *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--tmpfs", "/tmp:rw,mode=1777"),
            *(word for path in mounts for word in ("--volume", f"{path}:{path}")),
            *options,
            image,
            *command,
            check=check,
        )


@pytest.fixture(scope="session")
def podman(tmp_path_factory):
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("podman")
    (folder / "containers.conf").write_text(NESTED)
    found = Podman()
    base = next(
        (name for name in (PUBLIC_BASE, LOCAL_BASE) if not _fails(found, "image", "exists", name)),
        None,
    )
    attempts = [found, Podman(folder / "containers.conf")]
    if base is None:
        _import_debian(found, folder)
    trial = base or f"{LOCAL_BASE}-imported"
    for attempt in attempts:
        tried = attempt("run", "--rm", "--network", "none", trial, "true", check=False)
        if tried.returncode == 0:
            break
    else:
        pytest.skip(f"containers do not run here: {(tried.stderr.splitlines() or ['?'])[-1]}")
    if base is None:
        (folder / "Dockerfile").write_text(BASE_DOCKERFILE.format(imported=trial))
        attempt("build", "--tag", LOCAL_BASE, "--file", folder / "Dockerfile", folder)
    attempt.environment["BASE"] = base or LOCAL_BASE
    return attempt


def _fails(podman, *arguments):
    return podman(*arguments, check=False).returncode != 0


def _import_debian(podman, folder):
    if shutil.which("mmdebstrap") is None:
        pytest.skip(f"no {PUBLIC_BASE} here, and no mmdebstrap to make a base with")
    packages = "python3.11,python3-pip,python3.11-venv,ca-certificates"
    # What Debian's slim images, under the public base, leave out.
    left_out = [
        f"--dpkgopt=path-{rule}"
        for rule in (
            *("exclude=/usr/share/doc/*", "include=/usr/share/doc/*/copyright"),
            *(f"exclude=/usr/share/{name}/*" for name in ("man", "info", "locale")),
        )
    ]
    made = subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}"),
            *(*left_out, "bookworm", str(folder / "base.tar")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"mmdebstrap cannot make a base: {(made.stderr.splitlines() or ['?'])[-1]}")
    podman("import", folder / "base.tar", f"{LOCAL_BASE}-imported")
    (folder / "base.tar").unlink()


@pytest.fixture(scope="session")
def images(podman, tmp_path_factory):
    """Build the roles and return their names."""
    pip = tmp_path_factory.mktemp("pip") / "pip.conf"
    options = _package_source(pip)
    built = subprocess.run(
        ["images/build.sh", *ROLES],
        cwd=ROOT,
        env={**podman.environment, "ENGINE": "podman", "TAG": TAG, "OPTIONS": options},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, (built.stdout + built.stderr)[-6000:]
    return {role: f"docker.io/tidegate/{role}:{TAG}" for role in ROLES}


def _package_source(target):
    """Write this machine's pip settings for the build, and return the mounts that it needs."""
    settings = configparser.RawConfigParser()
    settings["global"] = {}
    mounts = {target: "/etc/pip.conf"}
    if CERTIFICATES.exists():
        settings["global"]["cert"] = str(CERTIFICATES)
        mounts[CERTIFICATES] = str(CERTIFICATES)
    for name in ("index_url", "find_links"):
        if value := os.environ.get(f"PIP_{name.upper()}"):
            settings["global"][name.replace("_", "-")] = value
    for folder in os.environ.get("PIP_FIND_LINKS", "").split():
        if Path(folder).is_dir():
            mounts[Path(folder)] = folder
    with target.open("w") as file:
        settings.write(file)
    return " ".join(f"--volume {here}:{there}:ro" for here, there in mounts.items())
