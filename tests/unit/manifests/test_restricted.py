"""Pods of Katib and Kubeflow Pipelines in a restricted namespace, with the policy's defaults."""

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.manifests.foreign_pods import STEP, SUGGESTION, TRIAL
from tests.unit.manifests.pod_security import GOOD, changed, restricted_violations

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"


@pytest.mark.parametrize(
    "spec",
    [
        {**GOOD, "securityContext": {}},
        {**GOOD, "securityContext": {"runAsNonRoot": True}},
        {**GOOD, "securityContext": {**GOOD["securityContext"], "runAsUser": 0}},
        {**GOOD, "hostNetwork": True},
        {**GOOD, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        {**GOOD, "initContainers": [{"name": "bare"}]},
        changed(securityContext={"allowPrivilegeEscalation": False}),
        changed(securityContext={"capabilities": {"drop": ["ALL"]}}),
        changed(ports=[{"containerPort": 1, "hostPort": 1}]),
    ],
)
def test_the_check_of_pod_security_finds_what_restricted_refuses(spec):
    assert restricted_violations(GOOD) == []
    assert restricted_violations(spec)


def as_plain_cel(expression):
    """Write the messages of admission policies as maps, which any CEL evaluator knows."""
    plain = re.sub(r"\b(?:JSONPatch|Object(?:\.\w+)*)\{", "{", expression)
    return re.sub(r"([{,]\s*)(\w+):", r'\1"\2":', plain)


def with_defaults(pod):
    """Return a pod as the admission policy leaves it."""
    cel = pytest.importorskip("cel")
    policy = MANIFESTS / "components" / "restricted-defaults" / "policy.yaml"
    mutations = next(yaml.safe_load_all(policy.read_text()))["spec"]["mutations"]
    pod = yaml.safe_load(yaml.safe_dump(pod))
    for mutation in mutations:
        expression = as_plain_cel(mutation["jsonPatch"]["expression"])
        for patch in cel.evaluate(expression, {"object": pod}):
            assert patch["op"] == "add"
            *parents, last = patch["path"].strip("/").split("/")
            target = pod
            for key in parents:
                target = target[int(key)] if isinstance(target, list) else target[key]
            assert last not in target
            target[last] = patch["value"]
    return pod


@pytest.mark.parametrize(
    "pod", [SUGGESTION, TRIAL, STEP, {"metadata": {}, "spec": SUGGESTION["spec"]}]
)
def test_pods_of_katib_and_of_pipelines_are_admitted_with_the_defaults_and_not_without(pod):
    assert restricted_violations(pod["spec"])
    assert restricted_violations(with_defaults(pod)["spec"]) == []


@pytest.mark.parametrize("key", ["runAsUser", "fsGroup"])
def test_only_katibs_own_pods_are_told_a_user_and_their_volumes_group(key):
    assert with_defaults(SUGGESTION)["spec"]["securityContext"][key] == 10001
    assert key not in with_defaults(STEP)["spec"]["securityContext"]


@pytest.mark.parametrize(
    "spec",
    [
        changed(securityContext={"privileged": True}),
        {**GOOD, "securityContext": {**GOOD["securityContext"], "runAsUser": 0}},
        {**GOOD, "securityContext": {**GOOD["securityContext"], "runAsNonRoot": False}},
        {**GOOD, "hostNetwork": True},
    ],
)
def test_what_a_pod_says_for_itself_is_left_to_pod_security(spec):
    assert with_defaults({"metadata": {}, "spec": spec})["spec"] == spec
    assert restricted_violations(spec)
