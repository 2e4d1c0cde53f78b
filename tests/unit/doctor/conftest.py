"""A kubeconfig that names a fake API server."""

import pytest

from tests.fake_kubernetes import FakeKubernetes, write_kubeconfig


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    with FakeKubernetes() as fake:
        write_kubeconfig(tmp_path / "kubeconfig", fake.address)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
        yield fake
