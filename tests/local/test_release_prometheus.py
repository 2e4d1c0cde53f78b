"""The built-in queries on a real Prometheus that holds what two versions exported."""

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from tidegate.config import OpsConfig
from tidegate.records import ReleaseState
from tidegate.rollout.prometheus import PrometheusOps

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCRAPES, EVERY_SECONDS = 21, 15
NOW = BEGAN + timedelta(seconds=(SCRAPES - 1) * EVERY_SECONDS)
STATE = ReleaseState(
    name="comments",
    baseline="v1",
    candidate="v2",
    run_digest="0",
    steps=(0, 100),
    step=0,
    phase="progressing",
    began_at=BEGAN.isoformat(),
    step_began_at=BEGAN.isoformat(),
)
#: What each scrape adds: requests, failures, answers over 100 ms; the candidate restarts half way.
ADDED = {"v1": (90, 0, 3), "v2": (10, 1, 5)}


def exported():
    """Return the scrapes as OpenMetrics text, a series after the other."""
    series = {}
    for version, (requests, failures, slow) in ADDED.items():
        for scrape in range(SCRAPES):
            counted = scrape % 10 if version == "v2" else scrape
            names = f'model_name="comments",model_version="{version}"'
            pod = f'namespace="models",pod="comments-{version}"'
            protocol = f'{names},protocol="v1"'
            bucket = f"tidegate_request_seconds_bucket{{{protocol}"
            answered = counted * (requests - failures)
            for name, value in {
                f"tidegate_requests_total{{{protocol},{pod}}}": answered,
                f"tidegate_failed_requests_total{{{names},{pod}}}": counted * failures,
                f"tidegate_scored_rows_total{{{names},{pod}}}": answered,
                f'{bucket},le="0.1",{pod}}}': answered - counted * slow,
                f'{bucket},le="+Inf",{pod}}}': answered,
                f'container_memory_working_set_bytes{{container="kserve-container",{pod}}}': 1e8
                * (5 + 0.1 * scrape),
                'kube_pod_container_resource_limits{container="kserve-container",'
                f'resource="memory",{pod}}}': 1e9,
            }.items():
                at = (BEGAN + timedelta(seconds=scrape * EVERY_SECONDS)).timestamp()
                series.setdefault(name, []).append(f"{name} {value} {at:.0f}")
    return "\n".join(line for lines in series.values() for line in lines) + "\n# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        pytest.skip("prometheus and promtool are not installed here")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "exported.txt").write_text(exported())
    (folder / "config.yml").write_text("{}\n")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "exported.txt", "data"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder}/config.yml",
            f"--storage.tsdb.path={folder}/data",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{address}/-/ready", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def test_requests_errors_and_latencies_of_both_versions_are_counted(prometheus):
    found = PrometheusOps(OpsConfig(prometheus=prometheus)).ops(STATE, NOW)
    assert found.problem is None
    baseline, candidate = found.baseline, found.candidate
    assert baseline.requests == pytest.approx(20 * 90, rel=0.06)
    assert baseline.errors == 0
    assert baseline.slower[100.0] / baseline.requests == pytest.approx(3 / 90)
    # A restart sets the counters back to zero; what came after it counts all the same.
    assert candidate.requests == pytest.approx(19 * 10, rel=0.12)
    assert candidate.errors / candidate.requests == pytest.approx(0.1)
    assert candidate.slower[100.0] / candidate.requests == pytest.approx(5 / 9)


def test_memory_over_the_limit_is_read_over_the_whole_step(prometheus):
    found = PrometheusOps(OpsConfig(prometheus=prometheus)).ops(STATE, NOW)
    at, value = zip(*found.candidate.saturation, strict=True)
    assert (at[0], at[-1]) == (0, pytest.approx(300, abs=6))
    assert (value[0], value[-1]) == (0.5, pytest.approx(0.7, abs=0.011))
    assert len(found.candidate.saturation) >= 20


def test_a_version_that_nobody_scraped_has_no_figures(prometheus):
    state = STATE.model_copy(update={"candidate": "v3"})
    found = PrometheusOps(OpsConfig(prometheus=prometheus)).ops(state, NOW)
    assert (found.candidate, found.problem) == (None, None)
    later = NOW + timedelta(days=3)
    late = STATE.model_copy(update={"step_began_at": later.isoformat()})
    found = PrometheusOps(OpsConfig(prometheus=prometheus)).ops(late, later)
    assert (found.baseline, found.problem) == (None, None)


def test_a_query_that_prometheus_cannot_read_is_a_problem_in_its_words(prometheus):
    config = OpsConfig(prometheus=prometheus, queries={"requests": "sum(("})
    found = PrometheusOps(config).ops(STATE, NOW)
    assert found.problem.startswith("Prometheus answered 400: invalid parameter")
