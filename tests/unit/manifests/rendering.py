"""Overlays as `kubectl kustomize` renders them."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MANIFESTS = ROOT / "manifests"
OVERLAYS = sorted(folder.name for folder in (MANIFESTS / "overlays").iterdir())
#: It goes into KFP's own namespace, which is not ours to restrict.
GUEST = "kind-single-user"

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")


def rendered(folder):
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def documents(folder):
    return list(yaml.safe_load_all(rendered(folder)))


def keyed(found):
    return {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in found}


def of_kind(found, kind):
    return [document for document in found if document["kind"] == kind]
