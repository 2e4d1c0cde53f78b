"""A Kubeflow Pipelines API on this machine, and the command line in front of it."""

import sys

import pytest
import yaml

from pipelines import cli, kfp_connection, submit
from pipelines.compile import compile_pipeline
from tests.cluster.fake_kfp import FakeKfp, serving

IMAGE = "registry.example/tidegate/cpu@sha256:" + "0" * 64
CONFIG = {
    "name": "posts",
    "data": {"source": "s3://bucket/posts.parquet", "text": "body", "label": "violating"},
    "cluster": {"image": IMAGE},
}

#: Compiling looks at the whole stack for every setting of every step; under pytest that is seconds.
_COMPILED = {}


def compiled_once(name, cluster):
    gpus = cluster.search_resources.gpus
    key = (name, cluster.image, cluster.gpu_image, gpus, cluster.object_store_secret)
    if key not in _COMPILED:
        _COMPILED[key] = compile_pipeline(name, cluster)
    return _COMPILED[key]


@pytest.fixture
def kfp(monkeypatch):
    monkeypatch.setattr(submit, "compile_pipeline", compiled_once)
    for variable in ("KF_PIPELINES_ENDPOINT", kfp_connection.TOKEN_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(kfp_connection, "RETRY_DELAYS_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.01)
    with serving(FakeKfp()) as server:
        yield server


@pytest.fixture
def config(tmp_path):
    """Write a configuration with changes to its sections and return its path."""

    def write(**changes):
        document = {**CONFIG, **changes}
        document["cluster"] = {**CONFIG["cluster"], **changes.get("cluster", {})}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def tidegate(kfp, monkeypatch, capsys):
    """Run a command: its exit code, output and error; `refused` wants code 2 and one line."""

    def run(*words, endpoint=None):
        there = [] if endpoint == "" else ["--endpoint", endpoint or kfp.address]
        monkeypatch.setattr(sys, "argv", ["tidegate", *map(str, words), *there])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return ended.value.code or 0, said.out, said.err

    def refused(*words, endpoint=None):
        code, _, said = run(*words, endpoint=endpoint)
        assert code == 2
        assert len(said.strip().splitlines()) == 1
        return said

    run.refused = refused
    return run
