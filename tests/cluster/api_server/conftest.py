"""A real Kubernetes API server, where ``TIDEGATE_TEST_KUBECONFIG`` names a kubeconfig for it.

The tests install the overlays and take them away again, so they skip where the namespace is in use.
"""

import contextlib
import os
import subprocess
import time

import pytest
import yaml

from tests.unit.manifests.rendering import MANIFESTS, documents

VARIABLE = "TIDEGATE_TEST_KUBECONFIG"
NAMESPACE = "tidegate"


class Server:
    """The API server, for an administrator and for the ServiceAccounts."""

    def __init__(self, kubeconfig):
        from kubernetes import client, config

        self.kubeconfig = kubeconfig
        self.client = config.new_client_from_config(kubeconfig)
        self.core = client.CoreV1Api(self.client)
        self.custom = client.CustomObjectsApi(self.client)

    def kubectl(self, *words, given=None):
        """Return what a command wrote; its warnings are not told."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *map(str, words)],
            input=None if given is None else yaml.safe_dump_all(given),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *words, given):
        with pytest.raises(AssertionError) as refused:
            self.kubectl(*words, given=given)
        return str(refused.value)

    def kinds(self):
        listed = self.kubectl("api-resources", "--no-headers").splitlines()
        return {line.split()[-1] for line in listed}

    def token(self, account, bound_to=None):
        """Return a token of a ServiceAccount; one bound to a Secret ends with it."""
        bound = {} if bound_to is None else {"boundObjectRef": bound_to}
        made = self.core.create_namespaced_service_account_token(
            account, NAMESPACE, {"spec": {"audiences": None, "expirationSeconds": 3600, **bound}}
        )
        return made.status.token

    def configuration_as(self, account, token=None):
        """Return the client's configuration of a pod that runs as a ServiceAccount."""
        from kubernetes import client

        configuration = client.Configuration()
        configuration.host = self.client.configuration.host
        configuration.ssl_ca_cert = self.client.configuration.ssl_ca_cert
        configuration.api_key = {"authorization": f"Bearer {token or self.token(account)}"}
        return configuration

    @contextlib.contextmanager
    def installed(self, folder):
        """Have an overlay, and take it away with all that is in its namespace."""
        try:
            self.kubectl("apply", "-k", folder)
            yield
        finally:
            self.kubectl("delete", "-k", folder, "--ignore-not-found", "--timeout=120s")


def eventually(look, seconds=30.0):
    """Return what `look` returns once that is true; controllers take their time."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > until:
            return found
        time.sleep(0.2)


@pytest.fixture(scope="session")
def server():
    kubeconfig = os.environ.get(VARIABLE)
    if not kubeconfig:
        pytest.skip(f"{VARIABLE} names no kubeconfig of a cluster to test on")
    server = Server(kubeconfig)
    spaces = {space.metadata.name for space in server.core.list_namespace().items}
    if NAMESPACE in spaces:
        pytest.skip(f"the namespace {NAMESPACE} is in use on that cluster")
    return server


@pytest.fixture(scope="session")
def installable(server):
    """Refuse an overlay by the kind that the cluster does not have."""

    def check(name):
        folder = MANIFESTS / "overlays" / name
        missing = {document["kind"] for document in documents(folder)} - server.kinds()
        if missing:
            pytest.skip(f"not served there: {', '.join(sorted(missing))}")
        return folder

    return check


@pytest.fixture(scope="module")
def namespace(server, installable):
    """The overlay `kind`, installed for the tests of a module."""
    with server.installed(installable("kind")):
        assert eventually(lambda: server.core.list_namespaced_service_account(NAMESPACE).items)
        yield
