"""Each right has a code path, and each code path its right: docs/security.md beside the Roles."""

import ast
import functools
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.unit.manifests.rendering import documents, needs_kubectl, of_kind

ROOT = Path(__file__).resolve().parents[3]
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
MANIFESTS = ROOT / "manifests"
#: What the one door to the Kubernetes client calls each verb.
METHODS = {
    "create": "create",
    "get": "get",
    "list": "find",
    "patch": "merge",
    "update": "replace",
    "delete": "delete",
}
DOOR = "tidegate.cluster_api"


def table(heading):
    """Return the rows of the table under a heading, header and rule left out."""
    section = SECURITY.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]
    return [[row[0], "" if row[1] == "core" else row[1], *row[2:]] for row in cells]


OURS = table("What our own code needs")
BESIDE = table("What the containers beside a step need")


def manifests(kind):
    files = [path for path in MANIFESTS.rglob("*.yaml") if path.name != "kustomization.yaml"]
    found = [d for path in files for d in yaml.safe_load_all(path.read_text()) if d]
    return [document for document in found if document["kind"] == kind]


def grants(roles):
    """Yield every single right: role, API group, resource, verb, name of the object or 'any'."""
    for role in roles:
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames", ["any"]):
                            yield role["metadata"]["name"], group, resource, verb, name


@functools.cache
def parsed(module):
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def function(code_path):
    """Return the syntax tree of ``module:Class.function``; LookupError when there is none."""
    module, _, dotted = code_path.partition(":")
    node = parsed(module)
    for name in dotted.split("."):
        named = [n for n in node.body if getattr(n, "name", None) == name]
        if not named:
            raise LookupError(code_path)
        [node] = named
    return node


def resources():
    """Return the resources that the client's door knows, by the constant's name."""
    found = {}
    for node in ast.walk(parsed(DOOR)):
        value = node.value if isinstance(node, ast.Assign) else None
        if isinstance(value, ast.Call) and getattr(value.func, "id", None) == "Resource":
            group, _, plural = (argument.value for argument in value.args)
            found[node.targets[0].id] = (group, plural)
    return found


def calls(node):
    """Yield the verb and the first argument of each call of the door's methods."""
    verbs = {method: verb for verb, method in METHODS.items()}
    for call in ast.walk(node):
        method = getattr(call.func, "attr", None) if isinstance(call, ast.Call) else None
        if method in verbs and call.args:
            yield verbs[method], call.args[0]


def test_the_tables_are_read():
    assert len(OURS) >= 7
    assert len(BESIDE) == 15
    assert set(resources().values()) >= {
        ("kubeflow.org", "experiments"),
        ("kubeflow.org", "trials"),
    }


def test_no_role_grants_what_no_row_needs_and_no_row_needs_what_no_role_grants():
    ours = {
        (role, group, resource.partition("/")[0], verb, resource.partition("/")[2] or "any")
        for role, group, resource, verb, _ in OURS
    }
    beside = {tuple(row[:5]) for row in BESIDE}
    # A right of ours cannot hide in the table that no code path backs.
    assert not {row[0] for row in ours} & {row[0] for row in beside}
    assert set(grants(manifests("Role"))) == ours | beside


@pytest.mark.parametrize("row", OURS, ids=lambda row: f"{row[2]}-{row[3]}-{row[4]}")
def test_a_code_path_is_there_and_makes_its_call(row):
    _, group, resource, verb, code_path = row
    resource = resource.partition("/")[0]
    module = code_path.partition(":")[0]
    made = [kind for called, kind in calls(function(code_path)) if called == verb]
    assert made, f"{code_path} calls no .{METHODS[verb]}(…)"
    if module == DOOR:
        # Inside the door the kind comes from its table of owners.
        words = {node.value for node in ast.walk(parsed(DOOR)) if isinstance(node, ast.Constant)}
        assert {group, resource} <= words
    else:
        assert (group, resource) in {resources().get(getattr(kind, "id", None)) for kind in made}


def test_a_code_path_that_is_not_there_is_found():
    with pytest.raises(LookupError):
        function(f"{DOOR}:ClusterApi.conquer")


def test_every_call_of_the_code_has_its_row():
    known, granted = resources(), {(r[1], r[2].partition("/")[0], r[3]) for r in OURS}
    asked = {
        (*known[kind.id], verb)
        for path in (ROOT / "tidegate").rglob("*.py")
        for verb, kind in calls(ast.parse(path.read_text(encoding="utf-8")))
        if getattr(kind, "id", None) in known
    }
    assert asked
    assert asked <= granted


def test_nothing_has_rights_outside_its_namespace_and_no_verb_is_a_wildcard():
    assert not manifests("ClusterRole")
    assert not manifests("ClusterRoleBinding")
    assert not any("*" in right for right in grants(manifests("Role")))


def test_a_token_is_mounted_only_where_a_role_is_bound():
    bound = {
        subject["name"] for binding in manifests("RoleBinding") for subject in binding["subjects"]
    }
    accounts = manifests("ServiceAccount")
    assert {a["metadata"]["name"] for a in accounts if a["automountServiceAccountToken"]} == bound
    for account in accounts:
        assert f"`{account['metadata']['name']}`" in SECURITY


def test_every_opening_of_the_network_is_told_and_none_that_is_not_there():
    section = SECURITY.split("## Network\n", 1)[1].split("\n## ", 1)[0]
    told = set(re.findall(r"^\| `([a-z-]+)` \|", section, flags=re.MULTILINE))
    there = {policy["metadata"]["name"] for policy in manifests("NetworkPolicy")}
    assert told == there - {"default-deny"}


@needs_kubectl
def test_a_pipeline_gets_the_controllers_rights_with_the_component_for_it_alone(tmp_path):
    def bound(*components):
        shutil.copytree(MANIFESTS, tmp_path / "manifests", dirs_exist_ok=True)
        named = [f"manifests/components/{name}" for name in components]
        (tmp_path / "kustomization.yaml").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "kustomize.config.k8s.io/v1beta1",
                    "kind": "Kustomization",
                    "resources": ["manifests/overlays/kind"],
                    "components": named,
                }
            )
        )
        return {
            binding["metadata"]["name"]
            for binding in of_kind(documents(tmp_path), "RoleBinding")
            if "tidegate-pipeline" in [subject["name"] for subject in binding["subjects"]]
        }

    before, after = bound(), bound("release-step")
    assert not any(name.startswith("tidegate-release") for name in before)
    assert after - before == {"tidegate-release", "tidegate-release-standard"}
