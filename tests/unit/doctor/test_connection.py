"""`tidegate doctor --cluster` before an API server that is away, slow or shut; and its silence."""

import socket
import time

from typer.testing import CliRunner

from pipelines.cli import app
from tests.fake_kubernetes import TOKEN, write_kubeconfig
from tests.unit.doctor.clusters import bare, whole
from tidegate.doctor import api
from tidegate.doctor.cluster import check_cluster, examine


def test_an_api_server_that_is_gone_is_one_problem(tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        write_kubeconfig(tmp_path / "k", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "k"))
        (finding,) = check_cluster()
    assert (finding.name, finding.status) == ("cluster", "problem")
    assert finding.what.startswith("no connection to http://127.0.0.1")


def test_an_api_server_that_hangs_costs_one_time_out(cluster, monkeypatch):
    monkeypatch.setattr(api, "REQUEST_SECONDS", 0.2)
    cluster.slow = lambda path: True
    began = time.monotonic()
    (finding,) = check_cluster()
    assert time.monotonic() - began < 5
    assert "did not answer" in finding.what


def test_an_api_server_that_turns_slow_cannot_hold_the_doctor(cluster, monkeypatch):
    whole(cluster)
    monkeypatch.setattr(api, "REQUEST_SECONDS", 0.2)
    cluster.slow = lambda path: path not in ("/version", "/apis")
    began = time.monotonic()
    findings = examine(api.connect(total_seconds=0.7))
    assert time.monotonic() - began < 5
    told = {finding.name: finding.what for finding in findings if finding.status == "unknown"}
    assert "did not answer" in told["pipelines"]
    assert "no time left" in told["storage"]


def test_a_full_examination_ends_within_half_a_minute():
    """Loading the kubeconfig, all requests together, and one to the Pipelines API."""
    assert api._KUBECONFIG_SECONDS + api.TOTAL_SECONDS + api.REQUEST_SECONDS < 30


def test_an_expired_token_says_log_in_again(cluster, tmp_path):
    whole(cluster)
    write_kubeconfig(tmp_path / "kubeconfig", cluster.address, user={"token": "of-yesterday"})
    (finding,) = check_cluster()
    assert "401" in finding.what
    assert "log in again" in finding.mend


def test_a_missing_context_or_kubeconfig_is_told_by_name(cluster, monkeypatch, tmp_path):
    (finding,) = check_cluster(context="staging")
    assert "staging" in finding.what
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (finding,) = check_cluster()
    assert "no kubeconfig" in finding.what


def test_what_a_credential_plugin_prints_is_never_shown(cluster, tmp_path, caplog):
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", f"echo {TOKEN} >&2; exit 1"],
    }
    write_kubeconfig(tmp_path / "kubeconfig", cluster.address, user={"exec": plugin})
    (finding,) = check_cluster()
    assert finding.what == "the kubeconfig's credential plugin failed"
    assert TOKEN not in caplog.text


def test_no_secret_is_read_or_printed(cluster, tmp_path):
    whole(cluster)
    cluster.documents["/api/v1/namespaces/tidegate/secrets"] = {"items": []}
    path = tmp_path / "posts.yaml"
    path.write_text(
        "name: posts\ndata: {source: c.parquet, text: body, label: y}\n"
        "cluster: {object_store_secret: s3-keys, endpoint: 'http://me:pass-word@127.0.0.1:9'}\n"
    )
    result = CliRunner().invoke(app, ["doctor", "--cluster", "--config", str(path)])
    assert result.exit_code == 0, result.output
    assert "get secret s3-keys -o name" in " ".join(result.output.split())
    assert TOKEN not in result.output
    assert "pass-word" not in result.output
    assert not [path for _, path, _ in cluster.requests if "secret" in path]


def test_nothing_is_written_but_reviews(cluster):
    whole(cluster)
    check_cluster()
    written = {path.rpartition("/")[2] for method, path, _ in cluster.requests if method != "GET"}
    assert written == {"selfsubjectreviews", "selfsubjectaccessreviews"}


def test_problems_are_a_result_and_strict_makes_them_exit_3(cluster):
    bare(cluster)
    plain = CliRunner().invoke(app, ["doctor", "--cluster"])
    assert plain.exit_code == 0
    assert "problems" in plain.output
    assert CliRunner().invoke(app, ["doctor", "--cluster", "--strict"]).exit_code == 3
