"""The bill of materials that a build writes."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "images" / "sbom.py"


def listed(folder):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "tidegate/toy", "1.0", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_package_has_one_name_an_escaped_address_and_its_licence(tmp_path):
    for name, version, licence in (
        ("Some_Package", "1.0+local", "License-Expression: MIT"),
        ("wordy", "2", "License: first line\n        second line"),
    ):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{licence}\n"
        )
    document = json.loads(listed(tmp_path))
    assert document["metadata"]["component"]["name"] == "tidegate/toy"
    first, second = (c for c in document["components"] if c["purl"].startswith("pkg:pypi/"))
    assert first["purl"] == "pkg:pypi/some-package@1.0%2Blocal"
    assert first["licenses"] == [{"license": {"name": "MIT"}}]
    assert (second["name"], second["version"]) == ("wordy", "2")
    assert "licenses" not in second, "a whole text is no name"


def test_the_same_contents_give_the_same_bytes(tmp_path):
    assert listed(tmp_path) == listed(tmp_path)
