"""Skaffold's file names what is there."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
PROFILES = {profile["name"]: profile for profile in CONFIG["profiles"]}
FOLDERS = [
    folder
    for section in (CONFIG, *PROFILES.values())
    for folder in section.get("manifests", {}).get("kustomize", {}).get("paths", ())
]


def artifacts():
    patched = [patch["value"] for found in PROFILES.values() for patch in found.get("patches", ())]
    return [*CONFIG["build"]["artifacts"], *patched]


@pytest.mark.parametrize("artifact", artifacts(), ids=lambda found: found["image"])
def test_an_artifact_has_a_dockerfile_and_its_target(artifact):
    dockerfile = (ROOT / artifact["docker"]["dockerfile"]).read_text(encoding="utf-8")
    assert artifact["image"] == f"tidegate/{Path(artifact['docker']['dockerfile']).stem}"
    if target := artifact["docker"].get("target"):
        assert f" AS {target}\n" in dockerfile


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomize_folder_builds(folder):
    assert (ROOT / folder / "kustomization.yaml").exists()
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    built = subprocess.run(
        ["kubectl", "kustomize", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr


def test_the_patch_of_reload_meets_the_model_server():
    [patch] = PROFILES["reload"]["patches"]
    index = int(patch["path"].rpartition("/")[2])
    assert CONFIG["build"]["artifacts"][index]["image"] == patch["value"]["image"]
    [rule] = patch["value"]["sync"]["manual"]
    dockerfile = (ROOT / "images" / "serving.Dockerfile").read_text(encoding="utf-8")
    assert f"ENV PYTHONPATH={rule['dest']}\n" in dockerfile
    assert list(ROOT.glob(rule["src"]))
