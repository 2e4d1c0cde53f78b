"""The doctor asks for exactly the rights that the manifests grant."""

from pathlib import Path

import pytest
import yaml

from tidegate.doctor.rights import PIPELINE_RIGHTS, RELEASE_RIGHTS, TRIGGER_RIGHTS

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"


ACCOUNTS = [
    ("tidegate-pipeline", PIPELINE_RIGHTS),
    ("tidegate-release", RELEASE_RIGHTS),
    ("tidegate-trigger", TRIGGER_RIGHTS),
]


def documents(kind):
    found = [d for path in MANIFESTS.rglob("*.yaml") for d in yaml.safe_load_all(path.read_text())]
    return [document for document in found if document and document.get("kind") == kind]


@pytest.mark.skipif(not MANIFESTS.is_dir(), reason="no manifests/ in this checkout")
@pytest.mark.parametrize(("account", "rights"), ACCOUNTS)
def test_what_the_doctor_asks_for_is_what_the_roles_of_an_account_grant(account, rights):
    bound = {
        binding["roleRef"]["name"]
        for binding in documents("RoleBinding")
        if account in [subject["name"] for subject in binding["subjects"]]
    }
    granted = {
        (group, resource, name, verb)
        for role in documents("Role")
        if role["metadata"]["name"] in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }
    mine = [right.of("moderation") for right in rights]
    asked = {(r.group, r.resource, r.only, verb) for r in mine for verb in r.verbs}
    assert asked == granted


@pytest.mark.parametrize(("account", "rights"), ACCOUNTS)
def test_no_right_is_asked_for_twice(account, rights):
    assert len({(r.group, r.resource, r.only) for r in rights}) == len(rights)
    assert all(right.used_by and right.verbs for right in rights)
