"""The least Roles, asked of a real API server with the ServiceAccounts' own tokens."""

import pytest
from kubernetes import client

from tests.cluster.api_server.conftest import NAMESPACE, eventually
from tests.unit.manifests.rendering import needs_kubectl
from tests.unit.manifests.test_security import grants, manifests
from tidegate.cluster_api import (
    EXPERIMENTS,
    PODS,
    TRIALS,
    ClusterApi,
    ClusterError,
    Resource,
)
from tidegate.config import RunConfig
from tidegate.doctor.api import Api
from tidegate.doctor.cluster import check_cluster, examine
from tidegate.doctor.rights import PIPELINE_RIGHTS, TRIGGER_RIGHTS

pytestmark = [needs_kubectl, pytest.mark.usefixtures("namespace")]

ACCOUNTS = (
    "tidegate-pipeline",
    "tidegate-trigger",
    "tidegate-trial",
    "tidegate-serving",
    "tidegate-monitor",
    "tidegate-log-receiver",
)
CONFIG = RunConfig.model_validate(
    {
        "name": "posts",
        "data": {"source": "c.parquet", "text": "body", "label": "y"},
        "search": {"backend": "katib"},
    }
)


def rules(server, account):
    """Return (group, resource, only, verb) that a token may do, without what everybody may."""
    api = client.AuthorizationV1Api(client.ApiClient(server.configuration_as(account)))
    review = api.create_self_subject_rules_review({"spec": {"namespace": NAMESPACE}})
    return {
        (group, resource, only, verb)
        for rule in review.status.resource_rules
        if "authentication.k8s.io" not in rule.api_groups
        and "authorization.k8s.io" not in rule.api_groups
        for group in rule.api_groups
        for resource in rule.resources
        for only in rule.resource_names or [""]
        for verb in rule.verbs
    }


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_has_the_rights_that_the_doctor_knows_and_no_other(server, account):
    needed = {"tidegate-pipeline": PIPELINE_RIGHTS, "tidegate-trigger": TRIGGER_RIGHTS}
    rights = [right.of("moderation") for right in needed.get(account, ())]
    known = {(r.group, r.resource, r.only, verb) for r in rights for verb in r.verbs}
    assert rules(server, account) == known


def test_the_release_controller_has_the_rights_of_its_roles_and_no_other(server):
    ours = ("tidegate-release", "tidegate-release-standard")
    granted = {
        (group, resource, "" if only == "any" else only, verb)
        for role, group, resource, verb, only in grants(manifests("Role"))
        if role in ours
    }
    assert rules(server, "tidegate-release") == granted


def test_the_doctor_finds_the_namespace_ready_for_whoever_may_impersonate(server, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", server.kubeconfig)
    found = {finding.name: finding.status for finding in check_cluster(CONFIG)}
    expected = ("kubernetes", "pod security", "pod defaults", "katib label", "service account")
    assert {found[name] for name in (*expected, "rights", "quota")} == {"ok"}


def test_the_doctor_in_a_step_asks_for_its_own_rights(server):
    api = Api(client.ApiClient(server.configuration_as("tidegate-pipeline")))
    findings = {finding.name: finding for finding in examine(api, CONFIG)}
    assert findings["rights"].status == "ok"
    assert findings["nodes"].what == "may not get /api/v1/nodes"


def test_a_step_reads_no_secret_and_changes_no_trial(server):
    api = ClusterApi(lambda: server.configuration_as("tidegate-pipeline"))
    for refused in (
        lambda: api.find(Resource("", "v1", "secrets"), NAMESPACE, ""),
        lambda: api.delete(TRIALS, NAMESPACE, "any"),
        lambda: api.create(PODS, NAMESPACE, {"metadata": {"name": "any"}, "spec": {}}),
        lambda: api.find(EXPERIMENTS, "default", ""),
    ):
        with pytest.raises(ClusterError, match="apply Tidegate's Roles") as error:
            refused()
        assert error.value.status == 403


def test_a_token_that_was_taken_back_is_read_anew(server):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "session"}}
    made = server.core.create_namespaced_secret(NAMESPACE, secret)
    bound = {"apiVersion": "v1", "kind": "Secret", "name": "session", "uid": made.metadata.uid}
    tokens = [server.token("tidegate-pipeline", bound), server.token("tidegate-pipeline")]
    read = []

    def load():
        read.append(tokens[len(read)])
        return server.configuration_as("tidegate-pipeline", read[-1])

    api = ClusterApi(load)
    assert api.find(EXPERIMENTS, NAMESPACE, "") == []
    server.core.delete_namespaced_secret("session", NAMESPACE)
    # The server believes a token that it has seen for some seconds more.
    assert eventually(lambda: api.find(EXPERIMENTS, NAMESPACE, "") == [] and read == tokens)
