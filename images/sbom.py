"""List what an image holds as a CycloneDX 1.6 document: Python and Debian packages.

``python images/sbom.py IMAGE VERSION SITE_PACKAGES ... > sbom.json``. The document has neither a
time nor a serial number, so the same contents give the same bytes.
"""

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote


def python_components(folders: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a component for each distribution in the folders."""
    for found in importlib.metadata.distributions(path=list(folders)):
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        component = {
            "type": "library",
            "name": name,
            "version": found.version,
            "purl": f"pkg:pypi/{name}@{quote(found.version)}",
        }
        licence = found.metadata.get("License-Expression") or found.metadata.get("License") or ""
        # Some projects put the whole text of the licence where its name belongs.
        if licence and "\n" not in licence:
            component["licenses"] = [{"license": {"name": licence}}]
        yield component


def debian_components() -> Iterator[dict[str, Any]]:
    """Yield a component for each installed Debian package; none where there is no dpkg."""
    try:
        listed = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\\n"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except FileNotFoundError:
        return
    for name, version, architecture in (line.split() for line in listed.splitlines()):
        yield {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}",
        }


def bill_of_materials(image: str, version: str, folders: Sequence[str]) -> dict[str, Any]:
    """Return the CycloneDX document of an image.

    Parameters
    ----------
    image, version : str
        What the document is about.
    folders : sequence of str
        The image's ``site-packages``.
    """
    components = [*python_components(folders), *debian_components()]
    for component in components:
        component["bom-ref"] = component["purl"]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image, "version": version}},
        "components": sorted(components, key=lambda component: component["purl"]),
    }


if __name__ == "__main__":
    json.dump(bill_of_materials(sys.argv[1], sys.argv[2], sys.argv[3:]), sys.stdout, indent=1)
