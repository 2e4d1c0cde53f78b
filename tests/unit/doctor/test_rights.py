"""The doctor asks for exactly the rights that the manifests grant."""

from pathlib import Path

import pytest
import yaml

from tidegate.doctor.rights import PIPELINE_RIGHTS

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"


@pytest.mark.skipif(not MANIFESTS.is_dir(), reason="no manifests/ in this checkout")
def test_what_the_doctor_asks_for_is_what_the_roles_of_pipeline_steps_grant():
    """The release controller's Roles have tests of their own, on each of its calls."""
    granted = {
        (group, resource, name, verb)
        for path in MANIFESTS.rglob("*.yaml")
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if document and document.get("kind") == "Role"
        if not document["metadata"]["name"].startswith("tidegate-release")
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }
    asked = {(r.group, r.resource, r.only, verb) for r in PIPELINE_RIGHTS for verb in r.verbs}
    assert asked == granted


def test_no_right_is_asked_for_twice():
    assert len({(r.group, r.resource, r.only) for r in PIPELINE_RIGHTS}) == len(PIPELINE_RIGHTS)
    assert all(right.used_by and right.verbs for right in PIPELINE_RIGHTS)
